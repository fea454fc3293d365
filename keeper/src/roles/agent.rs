//! The agent's role: bids for jobs, hands work to providers, brings results, disputes what does not hold.

mod avoid;
mod objection;
mod outlook;
mod ride;

use std::collections::HashMap;

use contracts::{
    classes::HardwareClass,
    ids::{AgreementId, BookId},
    params::Params,
    price,
    units::Amount,
};
use indexer::rows::{AgreementRow, Status};

use self::{
    avoid::Standing,
    objection::objection,
    outlook::Outlook,
    ride::{attend_own, ride},
};
use super::{Wish, act};
use crate::{
    config::StrategyConfig,
    event::Intent,
    job::{Job, JobState, Priority},
    ledger::{Ledger, REFUTED},
    market::{AgentView, BookView, Funds},
    spec::sha256,
    strategy::{Decision, Situation},
};

/// Most bids for one job: each failed rental costs the agent little, but not nothing.
const MAX_BIDS: usize = 12;
/// Most bids that are placed together: what a transaction carries by default.
const BIDS_AT_ONCE: usize = 20;
/// A bid rests this long, then it is priced anew, seconds.
const BID_LIFETIME_S: u64 = 60;
/// An agent moves a rental on when its provider has not done so for this long, seconds.
const COURTESY_S: u64 = 3;

/// What the role looks at besides the market.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Jobs that are not over, and those whose rentals are not.
    pub jobs: &'a [Job],
    /// What is under way.
    pub ledger: &'a Ledger,
    /// Pricing.
    pub strategy: &'a StrategyConfig,
    /// The market's clocks.
    pub params: Params,
    /// Number of the newest block.
    pub head: u64,
    /// Time of the newest block.
    pub chain_s: u64,
    /// Unix seconds here.
    pub now_s: u64,
    /// No new bids while set.
    pub paused: bool,
    /// Confirmed rentals whose providers are known to be too slow, and in which words.
    pub slow: &'a HashMap<AgreementId, String>,
}

/// What the agent wants now.
pub fn wishes(view: &AgentView, desk: &Desk<'_>) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for row in view.agreements.iter().filter(|row| row.is_live()) {
        tend(view, desk, row, &mut wishes);
    }
    // Bids are placed together, each priced on what those before it leave. While some are on their way no others follow: they
    // would wait for their turn, and be priced on books that are gone by then.
    let mut room = if desk.ledger.any_unseen("bid/", desk.head) { 0 } else { BIDS_AT_ONCE };
    let mut outlook = Outlook::of(view);
    for job in desk.jobs.iter().filter(|job| job.state == JobState::Active) {
        wishes.extend(pursue(view, desk, job, &mut outlook, &mut room));
    }
    wishes
}

/// Moves one live agreement of the wallet on.
fn tend(view: &AgentView, desk: &Desk<'_>, row: &AgreementRow, wishes: &mut Vec<Wish>) {
    let rental = row.id;
    let job = desk.jobs.iter().find(|job| job.spec_hash == row.spec_hash);
    let due = |at_s: u64| desk.chain_s >= at_s;
    if let Some(job) = job.filter(|job| job.state == JobState::Cancelled)
        && call_off_now(row, desk)
    {
        wishes.push(act(Intent::Cancel { rental, job: job.id }, "the job was called off"));
        return;
    }
    let mut say = |text: String| wishes.extend(job.map(|job| Wish::Say { job: job.id, text }));
    match row.status {
        Status::Open if due(row.expiry_s) => wishes.push(act(Intent::Advance { rental }, "the bid expired")),
        Status::Open => say(format!("bid {rental} waits at tick {}", rental.tick())),
        Status::Confirmed => {
            let Some(matched) = &row.matched else { return };
            if due(matched.start_deadline_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "nobody started it in time"));
            } else if let Some(job) = job.filter(|job| job.state != JobState::Cancelled) {
                let standing = Standing::of(view, desk, row, job);
                if let Standing::Avoided(why) = standing {
                    say(format!("rental {rental}: {why}; it is called off before the start, and another bid follows"));
                    wishes.push(act(Intent::Cancel { rental, job: job.id }, why));
                } else if view.endpoints.get(&matched.provider).is_some_and(|endpoint| !endpoint.is_empty()) {
                    say(format!("rental {rental} confirmed by provider {}{standing}", matched.provider));
                    wishes.push(act(Intent::Deliver { rental, job: job.id }, "the provider needs the work"));
                }
            }
        }
        Status::Running => {
            let Some(started) = &row.started else { return };
            if runs_own_spec(row) {
                say(format!("rental {rental} runs"));
                wishes.extend(job.and_then(|job| attend_own(desk, row, job)));
            } else {
                say(format!(
                    "rental {rental} was started for another spec, {}; its result will not count",
                    started.spec_hash
                ));
            }
            if due(started.end_time_s + desk.params.submit_grace_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "no result came"));
            }
        }
        Status::Submitted => {
            let Some(submitted) = &row.submitted else { return };
            let fetch = Intent::Fetch { rental, job: job.map(|job| job.id).unwrap_or_default() };
            match (job, objection(desk, row, submitted, &fetch)) {
                (_, Some(reason)) => {
                    let intent = Intent::Dispute { rental, reason_hash: sha256(reason.as_bytes()) };
                    wishes.push(act(intent, format!("the result does not hold: {reason}")));
                }
                // What the wallet itself cancelled brings no result, only its bill; what was refuted is not asked for again.
                (Some(job), None)
                    if is_to_be_checked(desk, job, &fetch)
                        && !submitted.cancelled
                        && runs_own_spec(row)
                        && desk.ledger.error(&fetch.key()).is_none_or(|error| !error.starts_with(REFUTED)) =>
                {
                    wishes.push(act(fetch, "a result was submitted"));
                }
                _ => {}
            }
            if due(submitted.challenge_end_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "the challenge window is over"));
            }
        }
        Status::Disputed if row.dispute.as_ref().is_some_and(|dispute| due(dispute.timeout_s + COURTESY_S)) => {
            wishes.push(act(Intent::Advance { rental }, "the arbiter was silent"));
        }
        _ => {}
    }
}

/// Whether a submitted result is brought and checked. Of a rental that was kept warm the job may be over: its results were
/// there before its end, and are now held against the chain.
fn is_to_be_checked(desk: &Desk<'_>, job: &Job, fetch: &Intent) -> bool {
    match job.state {
        JobState::Active => true,
        JobState::Cancelled => false,
        JobState::Finished { .. } | JobState::Failed { .. } => {
            job.spec.keep_warm_s > 0 && !desk.ledger.is_done(&fetch.key())
        }
    }
}

/// Whether the market lets the wallet cancel `row` now, and cancelling is not dearer than waiting.
fn call_off_now(row: &AgreementRow, desk: &Desk<'_>) -> bool {
    let before = |at_s: u64| desk.chain_s < at_s;
    match row.status {
        // A bid rests for a while first; one that expired is moved on for nothing.
        Status::Open => !before(row.placed_time_s + desk.params.min_bid_lifetime_s) && before(row.expiry_s),
        Status::Confirmed => row.matched.as_ref().is_some_and(|matched| before(matched.start_deadline_s)),
        Status::Running => row.started.as_ref().is_some_and(|started| before(started.end_time_s)),
        _ => false,
    }
}

/// Whether the start was countersigned for the spec that was bid; the market takes any that a key of the wallet signed.
fn runs_own_spec(row: &AgreementRow) -> bool {
    row.started.as_ref().is_none_or(|started| started.spec_hash == row.spec_hash)
}

/// Bids for a job that has no live agreement while there is `room` for a bid, or ends it.
fn pursue(view: &AgentView, desk: &Desk<'_>, job: &Job, outlook: &mut Outlook, room: &mut usize) -> Vec<Wish> {
    let agreements = view.of_spec(job.spec_hash);
    if agreements.iter().any(|row| row.is_live()) {
        return Vec::new();
    }
    let paid = agreements.iter().rev().find(|row| row.status == Status::Settled && runs_own_spec(row));
    if let Some(row) = paid {
        return vec![collect_late(desk, job, row.id)];
    }
    if let Some(wish) = ride(view, desk, job).filter(|_| !desk.paused) {
        return vec![wish];
    }
    let fail = |reason: String| Wish::End { job: job.id, state: JobState::Failed { reason } };
    if agreements.len() >= MAX_BIDS {
        return vec![fail(format!("{MAX_BIDS} bids brought no result; look at `keeper journal` for what went wrong"))];
    }
    if desk.chain_s >= job.deadline_s {
        let reason = "no rental was won before the deadline; raise --max-price or --priority, or try another --class";
        return vec![fail(reason.into())];
    }
    if desk.paused {
        return vec![Wish::Say { job: job.id, text: "bidding is paused; `keeper resume` goes on".into() }];
    }
    match bid(view, outlook, desk, job, agreements.len() as u32) {
        Ok(bid) => {
            let failed = desk.ledger.error(&bid.intent.key());
            let say = failed.map(|error| format!("the last bid did not go through: {error}"));
            let mut wishes: Vec<_> = say.map(|text| Wish::Say { job: job.id, text }).into_iter().collect();
            if *room > 0 {
                // One that waits to be tried again takes nothing from the others.
                if desk.ledger.may_plan(&bid.intent, desk.head, desk.now_s) {
                    *room -= 1;
                    outlook.place(bid.book, bid.tick, bid.escrow);
                }
                wishes.push(act(bid.intent, bid.why));
            }
            wishes
        }
        Err(NoBid::Wait(text)) => vec![Wish::Say { job: job.id, text }],
        Err(NoBid::Never(reason)) => vec![fail(reason)],
    }
}

/// The rental was paid before its result was here: the data plane serves it for a grace period.
fn collect_late(desk: &Desk<'_>, job: &Job, rental: AgreementId) -> Wish {
    let fetch = Intent::Fetch { rental, job: job.id };
    let fail = |reason: String| Wish::End { job: job.id, state: JobState::Failed { reason } };
    if let Some(reason) = desk.ledger.error(&fetch.key()).and_then(|error| error.strip_prefix(REFUTED)) {
        return fail(format!("rental {rental} was settled with a result that does not hold: {reason}"));
    }
    if desk.chain_s >= job.deadline_s {
        return fail(format!("rental {rental} was settled, but its result could not be brought in time"));
    }
    act(fetch, "the rental is settled, its result is not here yet")
}

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
struct PricedBid {
    intent: Intent,
    why: String,
    book: BookId,
    tick: u8,
    escrow: Amount,
}

enum NoBid {
    Wait(String),
    Never(String),
}

fn bid(view: &AgentView, outlook: &Outlook, desk: &Desk<'_>, job: &Job, attempt: u32) -> Result<PricedBid, NoBid> {
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
fn within_limits(escrow: Amount, wallet: &indexer::rows::WalletRow, key: &indexer::rows::KeyRow) -> Result<(), NoBid> {
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
fn within_funds(escrow: Amount, funds: Option<Funds>) -> Result<(), NoBid> {
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

/// The class asked for, or the one that suits the priority: the fastest with a free slot when it is pressing, the
/// cheapest for its speed otherwise.
fn choose<'a>(outlook: &'a Outlook, job: &Job) -> Result<(HardwareClass, BookId, &'a BookView), NoBid> {
    let bucket = BookId::for_duration(1, job.max_duration_s, false)
        .ok_or_else(|| NoBid::Never(format!("{} s is no rental: use 1 s to 24 h", job.max_duration_s)))?
        .bucket;
    let book = |class: HardwareClass| outlook.book(class.number(), bucket).map(|(id, book)| (class, id, book));
    if let Some(class) = job.class {
        return book(class).ok_or_else(|| NoBid::Never(format!("the market has no class {class}")));
    }
    let affordable = |(class, _, book): &(HardwareClass, BookId, &BookView)| {
        book.floor.is_some_and(|floor| max_tick(job, *class, book).is_some_and(|max| floor <= max))
    };
    let open: Vec<_> = HardwareClass::ALL.into_iter().filter_map(book).filter(affordable).collect();
    let pressing = matches!(job.priority, Priority::Urgent | Priority::Critical | Priority::High);
    let cost = |class: HardwareClass, book: &BookView| {
        let tick = book.best_waiting.max(book.floor).unwrap_or_default();
        price::price_at(book.base_price, tick).map_or(f64::MAX, |price| price as f64) / class.relative_speed()
    };
    let best = if pressing {
        open.into_iter().max_by_key(|(class, id, _)| (outlook.free_floor(*id).is_some(), class.number()))
    } else {
        open.into_iter().min_by(|(a, _, left), (b, _, right)| cost(*a, left).total_cmp(&cost(*b, right)))
    };
    best.ok_or_else(|| NoBid::Wait("no open offer is within the highest price".into()))
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

#[cfg(test)]
mod tests;
