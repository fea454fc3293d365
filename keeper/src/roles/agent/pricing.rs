//! What is bid for a job now: class, tick and escrow, within what user, wallet, key and money allow.

use contracts::{classes::HardwareClass, ids::BookId, price, units::Amount};
use indexer::rows::{KeyRow, WalletRow};

use super::{BID_LIFETIME_S, Desk, outlook::Outlook};
use crate::{
    config::StrategyConfig,
    event::Intent,
    job::{Job, Priority},
    market::{AgentView, BookView, Funds},
    strategy::{Decision, Situation},
};

/// The bid that would be placed for `job` now, or why there is none.
///
/// # Errors
/// One line with the remedy.
pub fn quote(view: &AgentView, desk: &Desk<'_>, job: &Job) -> Result<(Intent, String), String> {
    let priced = bid(view, &Outlook::of(view), desk, job, 0).map_err(|none| match none {
        NoBid::Wait(text) | NoBid::Never(text) => text,
    })?;
    Ok((priced.intent, priced.why))
}

/// A bid, and what it takes from the market.
pub(super) struct PricedBid {
    pub(super) intent: Intent,
    pub(super) why: String,
    pub(super) book: BookId,
    pub(super) tick: u8,
    pub(super) escrow: Amount,
}

/// Why none is placed.
pub(super) enum NoBid {
    /// That may change.
    Wait(String),
    /// That will not.
    Never(String),
}

/// The bid for `job` on what `outlook` leaves.
pub(super) fn bid(
    view: &AgentView,
    outlook: &Outlook,
    desk: &Desk<'_>,
    job: &Job,
    attempt: u32,
) -> Result<PricedBid, NoBid> {
    let wallet = view.wallet.as_ref().ok_or_else(|| NoBid::Wait("the index does not know the wallet yet".into()))?;
    let key = view.key.as_ref().ok_or_else(|| NoBid::Wait("the wallet has not authorised this session key".into()))?;
    if wallet.paused {
        return Err(NoBid::Wait("the wallet is paused by its owner".into()));
    }
    if let Some(account) = &view.account
        && account.wallet != view.address
    {
        let text = format!("the session key belongs to wallet {} for good; authorise a key of its own", account.wallet);
        return Err(NoBid::Never(text));
    }
    let (class, book_id, book) = choose(outlook, job)?;
    let allowed = key.max_ticks.byte(usize::from(class.number()));
    let max_tick = max_tick(job, class, book).map(|tick| tick.min(allowed)).ok_or_else(|| {
        NoBid::Never(format!("the highest price is below the lowest tick of {class}; raise --max-price"))
    })?;
    let situation = Situation {
        // Whoever is avoided may still take the bid, but a bid that only those can take would be in vain.
        free_floor: outlook
            .liked_floor(book_id)
            .filter(|tick| *tick <= max_tick)
            .or_else(|| outlook.free_floor(book_id)),
        floor: book.floor,
        best_waiting: book.best_waiting,
        depth: book.depth,
        recent: book.recent.clone(),
        max_tick,
        elapsed: elapsed(job, desk.chain_s),
    };
    let StrategyConfig::PatientBook(strategy) = desk.strategy;
    let (tick, why) = match strategy.decide(&situation) {
        Decision::Bid { tick, why } => (tick, why),
        Decision::Wait { why } => return Err(NoBid::Wait(why)),
    };
    let escrow = price::price_at(book.base_price, tick)
        .and_then(|price| price::cost_of(price, job.max_duration_s))
        .map(Amount)
        .ok_or_else(|| NoBid::Never(format!("tick {tick} of {class} is beyond what the market can hold")))?;
    within_limits(escrow, wallet, key)?;
    within_funds(escrow, outlook.funds)?;
    let lifetime_s = BID_LIFETIME_S.max(desk.params.min_bid_lifetime_s + desk.params.block_time_s * 5);
    let intent = Intent::Bid {
        job: job.id,
        attempt,
        class: class.number(),
        tick,
        max_duration_s: job.max_duration_s,
        expiry: desk.chain_s + lifetime_s,
        spec_hash: job.spec_hash,
    };
    Ok(PricedBid { intent, why: format!("{class}: {why}, escrow {escrow}"), book: book_id, tick, escrow })
}

/// A limit that no bid can meet will not change by waiting: the job ends and says what to raise.
fn within_limits(escrow: Amount, wallet: &WalletRow, key: &KeyRow) -> Result<(), NoBid> {
    let limits = [
        ("the wallet's daily limit", wallet.daily),
        ("the wallet's limit per bid", wallet.per_bid),
        ("the session key's daily limit", key.daily),
        ("the session key's limit per bid", key.per_bid),
    ];
    for (name, limit) in limits {
        if escrow > limit {
            let text = format!("{name} is {limit}, but the cheapest bid needs {escrow}; the owner can raise it");
            return Err(NoBid::Never(text));
        }
    }
    Ok(())
}

/// Money may come: rentals end, owners pay in.
pub(super) fn within_funds(escrow: Amount, funds: Option<Funds>) -> Result<(), NoBid> {
    let Some(Funds { tokens, credit, available }) = funds else { return Ok(()) };
    if escrow <= available {
        return Ok(());
    }
    let text = if escrow > tokens + credit {
        format!("the wallet holds {tokens} and the key's credit is {credit}, but the bid needs {escrow}; pay in")
    } else {
        format!("the limits leave {available} for now, but the bid needs {escrow}; the owner can raise them")
    };
    Err(NoBid::Wait(text))
}

/// The class asked for, or the one that suits the priority: the fastest with a free slot when it is pressing, the cheapest for its
/// speed with a free slot normally, and the cheapest, slot or not, for work that has the time to wait.
fn choose<'a>(outlook: &'a Outlook, job: &Job) -> Result<(HardwareClass, BookId, &'a BookView), NoBid> {
    let bucket = BookId::for_duration(1, job.max_duration_s, false)
        .ok_or_else(|| NoBid::Never(format!("{} s is no rental: use 1 s to 24 h", job.max_duration_s)))?
        .bucket;
    let book = |class: HardwareClass| outlook.book(class.number(), bucket).map(|(id, book)| (class, id, book));
    if let Some(class) = job.class {
        return book(class).ok_or_else(|| NoBid::Never(format!("the market has no class {class}")));
    }
    // With what makes it fit: whether it has a free slot, and what work costs there.
    let open = HardwareClass::ALL.into_iter().filter_map(book).filter_map(|found @ (class, id, book)| {
        let max = max_tick(job, class, book)?;
        book.floor.filter(|floor| *floor <= max)?;
        let free = outlook.free_floor(id).filter(|tick| *tick <= max);
        let price = price::price_at(book.base_price, free.or(book.best_waiting.max(book.floor))?)?;
        Some((found, free.is_some(), price as f64 / class.relative_speed()))
    });
    let best = match job.priority {
        Priority::Urgent | Priority::Critical | Priority::High => {
            open.max_by_key(|((class, ..), is_free, _)| (*is_free, class.number()))
        }
        Priority::Normal => {
            open.min_by(|(_, one_free, one_cost), (_, free, cost)| free.cmp(one_free).then(one_cost.total_cmp(cost)))
        }
        Priority::Low => open.min_by(|(.., one_cost), (.., cost)| one_cost.total_cmp(cost)),
    };
    let (best, ..) = best.ok_or_else(|| NoBid::Wait("no open offer is within the highest price".into()))?;
    Ok(best)
}

/// Highest tick that the user's price, or the priority's share of the reference price, allows.
fn max_tick(job: &Job, class: HardwareClass, book: &BookView) -> Option<u8> {
    let by_priority = || class.reference_per_hour() * u128::from(job.priority.price_cap_percent()) / 100;
    let per_hour = job.max_price_per_hour.map_or_else(by_priority, |price| price.0);
    let per_second = per_hour.checked_mul(price::PRICE_SCALE)? / 3_600;
    price::tick_at_most(book.base_price, per_second)
}

/// Share of the job's patience that is used up.
fn elapsed(job: &Job, chain_s: u64) -> f64 {
    let total_s = job.deadline_s.saturating_sub(job.created_s).max(1);
    chain_s.saturating_sub(job.created_s) as f64 / total_s as f64
}
