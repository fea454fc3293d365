//! Answers about one thing.

use alloy::primitives::Address;
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use contracts::{ids::AgreementId, units::Amount};

use super::{
    Api, ApiState,
    problem::Problem,
    query::{self, BookQuery, Query, bucket_name, class_name},
    wire::{
        AgreementInfo, Answer, BookInfo, BookLevels, ClassInfo, Health, KeyInfo, LevelInfo, Price, Readiness,
        StatusInfo, WalletInfo, price_text,
    },
};
use crate::{
    Snapshot,
    follow::now_s,
    store::rows::{ClassRow, WalletRow},
};

/// Bids and countings listed with a wallet.
const RECENT: usize = 20;
/// Offers of a class that utilisation is counted over.
const OFFERS_COUNTED: usize = 5_000;
const DAY_S: u64 = 86_400;

/// The index, its market and what the market holds.
#[utoipa::path(get, path = "/v1/status", responses(
    (status = 200, body = Answer<StatusInfo>), (status = 503, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn status(State(api): Api) -> Result<Json<Answer<StatusInfo>>, Problem> {
    api.answer(|snapshot, api| {
        let index = api.index.config();
        let (chain_head, _) = api.index.chain_head();
        let head = snapshot.head().map_or(0, |head| head.number);
        let (config, totals) = (snapshot.config()?, snapshot.totals()?);
        Ok(StatusInfo {
            chain_id: index.chain_id,
            market: index.market,
            factory: index.factory,
            start_block: index.start_block,
            chain_head,
            lag_blocks: chain_head.saturating_sub(head),
            fee_bps: config.fee_bps,
            treasury: config.treasury,
            arbiter: config.arbiter,
            paused: config.paused,
            escrow_held: totals.escrow,
            bonds_held: totals.bonds,
            deposits_held: totals.deposits,
            credits: totals.credits,
            fees: totals.fees,
            agreements: totals.agreements,
            settled: totals.settled,
        })
    })
    .await
}

/// Demand and supply of every hardware class.
#[utoipa::path(get, path = "/v1/classes", responses(
    (status = 200, body = Answer<Vec<ClassInfo>>), (status = 503, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn classes(State(api): Api) -> Result<Json<Answer<Vec<ClassInfo>>>, Problem> {
    api.answer(|snapshot, _| {
        let classes = snapshot.classes()?.into_iter();
        classes.map(|(class, row)| Ok(class_info(snapshot, class, row)?)).collect()
    })
    .await
}

fn class_info(snapshot: &Snapshot<'_>, class: u8, row: ClassRow) -> crate::Result<ClassInfo> {
    let books = snapshot.books(class)?;
    let offers = snapshot.offers(class, OFFERS_COUNTED)?;
    let slots = offers.iter().map(|offer| u64::from(offer.slots)).sum();
    let used = offers.iter().map(|offer| u64::from(offer.used)).sum();
    let now_s = snapshot.head().map_or(0, |head| head.timestamp);
    let best = books.iter().filter_map(|(_, row)| row.best_tick()).max();
    Ok(ClassInfo {
        class: class_name(class),
        number: class,
        base_price: row.base_price.to_string(),
        queue_depth: books.iter().map(|(_, row)| row.live).sum(),
        escrowed_seconds: books.iter().map(|(_, row)| row.seconds).sum(),
        escrow: books.iter().map(|(_, row)| row.escrow).sum(),
        best: best.map(|tick| Price { tick, price: price_text(row.base_price, tick) }),
        last_clearing: row.last_clearing.map(Into::into),
        oldest_age_s: snapshot.oldest_bid(class)?.map(|bid| now_s.saturating_sub(bid.placed_time_s)),
        slots,
        used,
        utilisation: (slots > 0).then(|| used as f64 / slots as f64),
        books: books
            .into_iter()
            .map(|(book, row)| BookInfo {
                bucket: bucket_name(book.bucket).to_owned(),
                preemptible: book.preemptible,
                queue_depth: row.live,
                escrowed_seconds: row.seconds,
                best_tick: row.best_tick(),
            })
            .collect(),
    })
}

/// One book with its price levels, best first.
#[utoipa::path(get, path = "/v1/books/{class}/{bucket}",
    params(
        ("class" = String, Path, description = "Hardware class: name or number"),
        ("bucket" = String, Path, description = "Duration bucket: 0 to 3, or 10m, 1h, 6h, 24h"),
        BookQuery,
    ),
    responses(
        (status = 200, body = Answer<BookLevels>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn book(
    State(api): Api,
    Path((class, bucket)): Path<(String, String)>,
    Query(asked): Query<BookQuery>,
) -> Result<Json<Answer<BookLevels>>, Problem> {
    let (class, bucket) = (query::class(&class)?, query::bucket(&bucket)?);
    let book = query::book(class, bucket, asked.preemptible.unwrap_or(false));
    api.answer(move |snapshot, _| {
        let base = snapshot.class_base(class)?;
        let base = base.ok_or_else(|| {
            Problem::not_found(format!("the market has no class {}; /v1/classes lists them", class_name(class)))
        })?;
        let row = snapshot.book(book)?;
        let levels = snapshot.levels(book)?;
        Ok(BookLevels {
            class: class_name(class),
            bucket: bucket_name(bucket).to_owned(),
            preemptible: book.preemptible,
            queue_depth: row.live,
            escrowed_seconds: row.seconds,
            escrow: row.escrow,
            levels: levels.iter().map(|(tick, level)| LevelInfo::new(base, *tick, level)).collect(),
        })
    })
    .await
}

/// One bid or rental.
#[utoipa::path(get, path = "/v1/rentals/{id}",
    params(("id" = String, Path, description = "0x and 22 hex digits")),
    responses(
        (status = 200, body = Answer<AgreementInfo>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rental(State(api): Api, Path(id): Path<String>) -> Result<Json<Answer<AgreementInfo>>, Problem> {
    let id: AgreementId = id.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    api.answer(move |snapshot, _| {
        let row = snapshot.agreement(id)?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no bid or rental {id} as of this block")))?;
        Ok(AgreementInfo::new(snapshot, row)?)
    })
    .await
}

/// One wallet: limits, keys, what it spent and holds reserved, newest bids.
#[utoipa::path(get, path = "/v1/wallets/{address}",
    params(("address" = String, Path, description = "0x and 40 hex digits")),
    responses(
        (status = 200, body = Answer<WalletInfo>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn wallet(State(api): Api, Path(address): Path<String>) -> Result<Json<Answer<WalletInfo>>, Problem> {
    let address: Address = query::parse("wallet", &address)?;
    api.answer(move |snapshot, _| {
        let row = snapshot.wallet(address)?.ok_or_else(|| {
            Problem::not_found(format!("{address} is no wallet of this market's factory as of this block"))
        })?;
        Ok(wallet_info(snapshot, address, row)?)
    })
    .await
}

fn wallet_info(snapshot: &Snapshot<'_>, address: Address, row: WalletRow) -> crate::Result<WalletInfo> {
    let since_s = snapshot.head().map_or(0, |head| head.timestamp).saturating_sub(DAY_S);
    let mut keys = Vec::new();
    let mut credit = Amount::ZERO;
    for (agent, key) in snapshot.keys(address, query::MAX_LIMIT)? {
        let account = snapshot.key_account(agent)?;
        // A key that another wallet authorised too has its account with the one it bid for.
        credit = account.iter().filter(|account| account.wallet == address).fold(credit, |sum, own| sum + own.credit);
        keys.push(KeyInfo::new(agent, &key, snapshot.is_key_alive(address, agent)?, account));
    }
    let recent = snapshot.agreements_by_wallet(address, false, RECENT)?.into_iter();
    Ok(WalletInfo {
        address,
        owner: row.owner,
        pending_owner: row.pending_owner,
        paused: row.paused,
        daily_limit: row.daily,
        per_bid_limit: row.per_bid,
        lifetime_limit: row.lifetime,
        reserved: row.reserved,
        spent: row.spent,
        spent_24h: spent_since(snapshot, address, since_s)?,
        credit,
        withdrawn: row.withdrawn,
        bids: row.bids,
        created_block: row.created_block,
        keys,
        recent: recent.map(|row| AgreementInfo::new(snapshot, row)).collect::<crate::Result<_>>()?,
        spends: snapshot.spends(address, RECENT)?.into_iter().map(Into::into).collect(),
    })
}

/// Newest first, so the sum stops at the first that is too old.
fn spent_since(snapshot: &Snapshot<'_>, wallet: Address, since_s: u64) -> crate::Result<Amount> {
    let spends = snapshot.spends(wallet, OFFERS_COUNTED)?;
    Ok(spends.iter().take_while(|spend| spend.time_s > since_s).map(|spend| spend.spent).sum())
}

/// Whether the service runs.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether answers are fresh: the chain answers and the index is close behind it.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(super) async fn readyz(State(api): Api) -> Result<(StatusCode, Json<Readiness>), Problem> {
    let ApiState { index, max_lag_blocks, max_silence_s } = api;
    let index_head = index.snapshot()?.head().map(|head| head.number);
    let (chain_head, answered_s) = index.chain_head();
    let silent_s = (answered_s > 0).then(|| now_s().saturating_sub(answered_s));
    let lag_blocks = chain_head.saturating_sub(index_head.unwrap_or(0));
    let ready = index_head.is_some()
        && lag_blocks <= max_lag_blocks
        && silent_s.is_some_and(|silent_s| silent_s <= max_silence_s);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((code, Json(Readiness { ready, index_head, chain_head, lag_blocks, silent_s })))
}
