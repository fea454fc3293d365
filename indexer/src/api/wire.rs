//! What is sent. Amounts are decimal strings of token units, prices decimal strings of token units per second × 1e18,
//! times Unix seconds.

use alloy::primitives::{Address, B256, U256};
use contracts::{ids::AgreementId, price::price_at, units::Amount};
use serde::Serialize;
use utoipa::ToSchema;

use super::query::{bucket_name, class_name};
use crate::{
    Head, Provider, Snapshot,
    error::Result,
    store::rows::{AgreementRow, Clearing, KeyRow, LevelRow, OfferRow, SpendRow, status_name},
};

/// The block that an answer is about.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash.
    #[schema(value_type = String)]
    pub hash: B256,
    /// Its time.
    pub timestamp_s: u64,
    /// How long ago that was when the answer was made.
    pub age_s: u64,
}

impl BlockRef {
    pub(super) fn new(head: Head, now_s: u64) -> Self {
        let Head { number, hash, timestamp } = head;
        Self { number, hash, timestamp_s: timestamp, age_s: now_s.saturating_sub(timestamp) }
    }
}

/// One thing as of one block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answer<T> {
    /// As of.
    pub block: BlockRef,
    /// The thing.
    pub data: T,
}

/// A page of a list as of one block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// As of.
    pub block: BlockRef,
    /// What was found; a page may hold fewer than asked for and still have a next one.
    pub items: Vec<T>,
    /// Pass it as `cursor` to go on; null at the end.
    pub next_cursor: Option<String>,
}

/// The index and its market.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatusInfo {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The market.
    #[schema(value_type = String)]
    pub market: Address,
    /// The wallets' factory.
    #[schema(value_type = String)]
    pub factory: Address,
    /// First block indexed.
    pub start_block: u64,
    /// Height of the chain when it last answered.
    pub chain_head: u64,
    /// Blocks that the index is behind it.
    pub lag_blocks: u64,
    /// Fee of new bids, basis points of the provider's gross pay.
    pub fee_bps: u16,
    /// Receives fees.
    #[schema(value_type = String)]
    pub treasury: Address,
    /// Rules on disputes.
    #[schema(value_type = String)]
    pub arbiter: Address,
    /// Whether new bids, offers and matches are stopped.
    pub paused: bool,
    /// Escrow of live bids and rentals.
    #[schema(value_type = String)]
    pub escrow_held: Amount,
    /// Bonds of offers.
    #[schema(value_type = String)]
    pub bonds_held: Amount,
    /// Deposits of open disputes.
    #[schema(value_type = String)]
    pub deposits_held: Amount,
    /// Credits not pulled yet.
    #[schema(value_type = String)]
    pub credits: Amount,
    /// Fees so far.
    #[schema(value_type = String)]
    pub fees: Amount,
    /// Bids ever placed.
    pub agreements: u64,
    /// Rentals that ended with a result.
    pub settled: u64,
}

/// A price that somebody bids or pays.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Price {
    /// Tick.
    pub tick: u8,
    /// Token units per second × 1e18.
    pub price: String,
}

/// A match as a price.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClearingInfo {
    /// The rental.
    #[schema(value_type = String)]
    pub rental: AgreementId,
    /// Tick.
    pub tick: u8,
    /// Token units per second × 1e18.
    pub price: String,
    /// Block of the match.
    pub block: u64,
    /// Its time.
    pub time_s: u64,
}

impl From<Clearing> for ClearingInfo {
    fn from(clearing: Clearing) -> Self {
        let Clearing { id, tick, price, block, time_s } = clearing;
        Self { rental: id, tick, price: price.to_string(), block, time_s }
    }
}

/// Demand and supply of a hardware class.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClassInfo {
    /// Name.
    pub class: String,
    /// Number on chain.
    pub number: u8,
    /// Price of tick 0.
    pub base_price: String,
    /// Open bids.
    pub queue_depth: u64,
    /// Seconds that they ask for at most.
    pub escrowed_seconds: u64,
    /// Escrow behind them.
    #[schema(value_type = String)]
    pub escrow: Amount,
    /// Highest open bid.
    pub best: Option<Price>,
    /// Newest match.
    pub last_clearing: Option<ClearingInfo>,
    /// Age of the oldest open bid as of the block.
    pub oldest_age_s: Option<u64>,
    /// Slots of the offers that take bids.
    pub slots: u64,
    /// Those of them that hold a rental.
    pub used: u64,
    /// `used / slots`; null without slots.
    pub utilisation: Option<f64>,
    /// The books.
    pub books: Vec<BookInfo>,
}

/// Sums of one book.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookInfo {
    /// Duration bucket: 10m, 1h, 6h, 24h.
    pub bucket: String,
    /// Whether its rentals give way.
    pub preemptible: bool,
    /// Open bids.
    pub queue_depth: u64,
    /// Seconds that they ask for at most.
    pub escrowed_seconds: u64,
    /// Highest tick with open bids.
    pub best_tick: Option<u8>,
}

/// One book with its levels.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookLevels {
    /// Hardware class.
    pub class: String,
    /// Duration bucket: 10m, 1h, 6h, 24h.
    pub bucket: String,
    /// Whether its rentals give way.
    pub preemptible: bool,
    /// Open bids.
    pub queue_depth: u64,
    /// Seconds that they ask for at most.
    pub escrowed_seconds: u64,
    /// Escrow behind them.
    #[schema(value_type = String)]
    pub escrow: Amount,
    /// Non-empty levels, best first.
    pub levels: Vec<LevelInfo>,
}

/// One price level.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LevelInfo {
    /// Tick.
    pub tick: u8,
    /// Token units per second × 1e18.
    pub price: String,
    /// Open bids.
    pub bids: u64,
    /// Seconds that they ask for at most.
    pub escrowed_seconds: u64,
    /// Escrow behind them.
    #[schema(value_type = String)]
    pub escrow: Amount,
}

impl LevelInfo {
    pub(super) fn new(base_price: u128, tick: u8, row: &LevelRow) -> Self {
        Self {
            tick,
            price: price_text(base_price, tick),
            bids: row.live,
            escrowed_seconds: row.seconds,
            escrow: row.escrow,
        }
    }
}

/// A bid, and the rental it becomes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgreementInfo {
    /// Id of both.
    #[schema(value_type = String)]
    pub id: AgreementId,
    /// open, confirmed, running, submitted, disputed, settled, resolved, preempted, expired, failed or cancelled.
    pub status: String,
    /// Hardware class.
    pub class: String,
    /// Duration bucket: 10m, 1h, 6h, 24h.
    pub bucket: String,
    /// Whether it gives way.
    pub preemptible: bool,
    /// Price tick.
    pub tick: u8,
    /// Token units per second × 1e18.
    pub price: String,
    /// Wallet that pays.
    #[schema(value_type = String)]
    pub wallet: Address,
    /// Session key that placed the bid.
    #[schema(value_type = String)]
    pub agent: Address,
    /// Seconds paid for at most.
    pub max_duration_s: u32,
    /// From then on the bid cannot be matched.
    pub expiry_s: u64,
    /// Basis points.
    pub fee_bps: u16,
    /// Spec template.
    pub template_id: u16,
    /// Locked.
    #[schema(value_type = String)]
    pub escrow: Amount,
    /// SHA-256 of the spec.
    #[schema(value_type = String)]
    pub spec_hash: B256,
    /// Hash of the policy that priced it.
    #[schema(value_type = String)]
    pub policy_hash: B256,
    /// Block of the bid.
    pub placed_block: u64,
    /// Its time.
    pub placed_time_s: u64,
    /// The match.
    pub matched: Option<MatchInfo>,
    /// The start.
    pub started: Option<StartInfo>,
    /// The result.
    pub submitted: Option<SubmissionInfo>,
    /// The dispute.
    pub dispute: Option<DisputeInfo>,
    /// The payment.
    pub payment: Option<PaymentInfo>,
    /// Block in which it ended.
    pub final_block: Option<u64>,
    /// Time of that block.
    pub final_time_s: Option<u64>,
}

/// A provider took the bid.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MatchInfo {
    /// The offer.
    pub offer_id: u64,
    /// Its provider.
    #[schema(value_type = String)]
    pub provider: Address,
    /// Last moment for the start.
    pub start_deadline_s: u64,
    /// Block of the match.
    pub block: u64,
    /// Its time.
    pub time_s: u64,
}

/// The rental runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StartInfo {
    /// Start of the metered time.
    pub time_s: u64,
    /// End of the paid time.
    pub end_time_s: u64,
    /// Digest of the image.
    #[schema(value_type = String)]
    pub image_digest: B256,
    /// Block of the start.
    pub block: u64,
}

/// A result was submitted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubmissionInfo {
    /// Seconds to bill.
    pub billable_s: u64,
    /// Hash of the result.
    #[schema(value_type = String)]
    pub result_hash: B256,
    /// Root over the receipts.
    #[schema(value_type = String)]
    pub receipt_root: B256,
    /// End of the challenge window.
    pub challenge_end_s: u64,
    /// Whether the provider gave way.
    pub preempted: bool,
    /// Block of the submission.
    pub block: u64,
}

/// The result is or was disputed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DisputeInfo {
    /// Who filed it.
    #[schema(value_type = String)]
    pub initiator: Address,
    /// Hash of the reason.
    #[schema(value_type = String)]
    pub reason_hash: B256,
    /// Deposit.
    #[schema(value_type = String)]
    pub deposit: Amount,
    /// From then on the default ruling applies.
    pub timeout_s: u64,
    /// Gross pay ruled; null while open.
    #[schema(value_type = Option<String>)]
    pub ruled_pay: Option<Amount>,
    /// Bond taken by the ruling; null while open.
    #[schema(value_type = Option<String>)]
    pub ruled_slash: Option<Amount>,
    /// Whether the ruling was the default.
    pub timed_out: Option<bool>,
}

/// How escrow and bond were shared out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentInfo {
    /// To the provider.
    #[schema(value_type = String)]
    pub pay: Amount,
    /// To the treasury.
    #[schema(value_type = String)]
    pub fee: Amount,
    /// Back to the wallet.
    #[schema(value_type = String)]
    pub refund: Amount,
    /// Lost by the wallet for a missing start.
    #[schema(value_type = String)]
    pub penalty: Amount,
    /// Bond given back.
    #[schema(value_type = String)]
    pub bond_returned: Amount,
    /// Bond taken.
    #[schema(value_type = String)]
    pub slash: Amount,
}

impl AgreementInfo {
    pub(super) fn new(snapshot: &Snapshot<'_>, row: AgreementRow) -> Result<Self> {
        let price = match &row.matched {
            Some(matched) => matched.price.to_string(),
            None => price_text(snapshot.class_base(row.id.class())?.unwrap_or_default(), row.id.tick()),
        };
        let (bucket, preemptible) = row.id.book().map_or((0, false), |book| (book.bucket, book.preemptible));
        Ok(Self {
            id: row.id,
            status: status_name(row.status).to_owned(),
            class: class_name(row.id.class()),
            bucket: bucket_name(bucket).to_owned(),
            preemptible,
            tick: row.id.tick(),
            price,
            wallet: row.wallet,
            agent: row.agent,
            max_duration_s: row.max_duration_s,
            expiry_s: row.expiry_s,
            fee_bps: row.fee_bps,
            template_id: row.template_id,
            escrow: row.escrow,
            spec_hash: row.spec_hash,
            policy_hash: row.policy_hash,
            placed_block: row.placed_block,
            placed_time_s: row.placed_time_s,
            matched: row.matched.map(|matched| MatchInfo {
                offer_id: matched.offer_id,
                provider: matched.provider,
                start_deadline_s: matched.start_deadline_s,
                block: matched.block,
                time_s: matched.time_s,
            }),
            started: row.started.map(|started| StartInfo {
                time_s: started.time_s,
                end_time_s: started.end_time_s,
                image_digest: started.image_digest,
                block: started.block,
            }),
            submitted: row.submitted.map(|submitted| SubmissionInfo {
                billable_s: submitted.billable_s,
                result_hash: submitted.result_hash,
                receipt_root: submitted.receipt_root,
                challenge_end_s: submitted.challenge_end_s,
                preempted: submitted.preempted,
                block: submitted.block,
            }),
            dispute: row.dispute.map(|dispute| DisputeInfo {
                initiator: dispute.initiator,
                reason_hash: dispute.reason_hash,
                deposit: dispute.deposit,
                timeout_s: dispute.timeout_s,
                ruled_pay: dispute.ruling.as_ref().map(|ruling| ruling.pay),
                ruled_slash: dispute.ruling.as_ref().map(|ruling| ruling.slash),
                timed_out: dispute.ruling.as_ref().map(|ruling| ruling.timed_out),
            }),
            payment: row.payment.map(|payment| PaymentInfo {
                pay: payment.pay,
                fee: payment.fee,
                refund: payment.refund,
                penalty: payment.penalty,
                bond_returned: payment.bond_returned,
                slash: payment.slash,
            }),
            final_block: row.ended.as_ref().map(|ended| ended.block),
            final_time_s: row.ended.as_ref().map(|ended| ended.time_s),
        })
    }
}

/// A provider's standing offer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OfferInfo {
    /// Id.
    pub id: u64,
    /// Its provider.
    #[schema(value_type = String)]
    pub provider: Address,
    /// Hardware class.
    pub class: String,
    /// Books it serves, as bucket and kind: `1h/firm`, `1h/preemptible`.
    pub books: Vec<String>,
    /// Rentals it can hold at once.
    pub slots: u16,
    /// Rentals it holds.
    pub used: u16,
    /// Lowest tick it takes.
    pub reserve_tick: u8,
    /// Lowest price it takes.
    pub reserve_price: String,
    /// Bond behind every slot.
    #[schema(value_type = String)]
    pub bond_per_slot: Amount,
    /// From then on it takes no bids.
    pub valid_until_s: u64,
    /// Whether it takes bids as of the block.
    pub open: bool,
    /// Block in which it was posted.
    pub posted_block: u64,
}

impl OfferInfo {
    pub(super) fn new(snapshot: &Snapshot<'_>, row: &OfferRow) -> Result<Self> {
        let now_s = snapshot.head().map_or(0, |head| head.timestamp);
        let served = (0..8u8).filter(|bit| row.book_mask >> bit & 1 == 1);
        let kind = |bit: u8| if bit & 1 == 1 { "preemptible" } else { "firm" };
        let books = served.map(|bit| format!("{}/{}", bucket_name(bit >> 1), kind(bit))).collect();
        Ok(Self {
            id: row.id,
            provider: row.provider,
            class: class_name(row.class),
            books,
            slots: row.slots,
            used: row.used,
            reserve_tick: row.reserve_tick,
            reserve_price: price_text(snapshot.class_base(row.class)?.unwrap_or_default(), row.reserve_tick),
            bond_per_slot: row.bond_per_slot,
            valid_until_s: row.valid_until_s,
            open: row.is_open_at(now_s),
            posted_block: row.posted_block,
        })
    }
}

/// A provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProviderInfo {
    /// Address.
    #[schema(value_type = String)]
    pub address: Address,
    /// Whether it may post offers.
    pub authorized: bool,
    /// Where its keeper serves blobs; empty until published. Written by the provider: do not trust it.
    pub endpoint: String,
    /// Keys that act for it.
    #[schema(value_type = Vec<String>)]
    pub operators: Vec<Address>,
    /// Rentals that ended with payment.
    pub settled: u64,
    /// Rentals that failed after their start.
    pub failed: u64,
    /// Net pay so far.
    #[schema(value_type = String)]
    pub earned: Amount,
    /// Bonds lost so far.
    #[schema(value_type = String)]
    pub slashed: Amount,
    /// What it may pull.
    #[schema(value_type = String)]
    pub credit: Amount,
    /// Block in which it was first seen.
    pub since_block: u64,
}

impl ProviderInfo {
    pub(super) fn new(snapshot: &Snapshot<'_>, provider: Provider) -> Result<Self> {
        let Provider { address, row, operators } = provider;
        Ok(Self {
            address,
            authorized: row.authorized,
            endpoint: row.endpoint,
            operators,
            settled: row.settled,
            failed: row.failed,
            earned: row.earned,
            slashed: row.slashed,
            credit: snapshot.credit(address)?,
            since_block: row.since_block,
        })
    }
}

/// An agent's wallet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WalletInfo {
    /// Address.
    #[schema(value_type = String)]
    pub address: Address,
    /// Owner.
    #[schema(value_type = String)]
    pub owner: Address,
    /// Offered the ownership.
    #[schema(value_type = Option<String>)]
    pub pending_owner: Option<Address>,
    /// No new bids while set.
    pub paused: bool,
    /// Most that may be spent plus reserved in 24 hours.
    #[schema(value_type = String)]
    pub daily_limit: Amount,
    /// Most that one bid may reserve.
    #[schema(value_type = String)]
    pub per_bid_limit: Amount,
    /// Most that may ever be spent plus reserved.
    #[schema(value_type = String)]
    pub lifetime_limit: Amount,
    /// Reserved by live bids and rentals.
    #[schema(value_type = String)]
    pub reserved: Amount,
    /// Spent since creation.
    #[schema(value_type = String)]
    pub spent: Amount,
    /// Spent in the last 24 hours before the block, exactly; the wallet itself counts in steps and may hold more.
    #[schema(value_type = String)]
    pub spent_24h: Amount,
    /// What it may pull from the market, and what bids use first.
    #[schema(value_type = String)]
    pub credit: Amount,
    /// Taken out by the owner.
    #[schema(value_type = String)]
    pub withdrawn: Amount,
    /// Bids ever placed.
    pub bids: u64,
    /// Block in which it was created.
    pub created_block: u64,
    /// Session keys, the first 500 by address.
    pub keys: Vec<KeyInfo>,
    /// Newest bids and rentals.
    pub recent: Vec<AgreementInfo>,
    /// Newest ended reservations.
    pub spends: Vec<SpendInfo>,
}

/// A session key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyInfo {
    /// The key.
    #[schema(value_type = String)]
    pub agent: Address,
    /// The key that delegated to it; null when the owner authorised it.
    #[schema(value_type = Option<String>)]
    pub parent: Option<Address>,
    /// Whether it may act as of the block.
    pub alive: bool,
    /// From then on it is dead.
    pub expiry_s: u64,
    /// Rights: bid, cancel, dispute, delegate.
    pub permissions: Vec<&'static str>,
    /// Highest tick per class it may bid in.
    pub max_ticks: Vec<ClassCap>,
    /// Whether only listed providers may be countersigned.
    pub provider_list: bool,
    /// Most that may be spent plus reserved in 24 hours.
    #[schema(value_type = String)]
    pub daily_limit: Amount,
    /// Most that one bid may reserve.
    #[schema(value_type = String)]
    pub per_bid_limit: Amount,
    /// Most that may ever be spent plus reserved.
    #[schema(value_type = String)]
    pub lifetime_limit: Amount,
    /// Reserved by it and the keys below it.
    #[schema(value_type = String)]
    pub reserved: Amount,
    /// Spent by it and the keys below it.
    #[schema(value_type = String)]
    pub spent: Amount,
}

/// Highest tick of a class.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClassCap {
    /// Hardware class.
    pub class: String,
    /// Tick.
    pub max_tick: u8,
}

impl KeyInfo {
    pub(super) fn new(agent: Address, row: &KeyRow, alive: bool) -> Self {
        let rights = [(1, "bid"), (2, "cancel"), (4, "dispute"), (8, "delegate")];
        let allowed = (1..32u8).filter(|class| row.class_mask >> class & 1 == 1);
        let cap = |class: u8| (row.max_ticks >> (usize::from(class) * 8) & U256::from(0xff)).to::<u8>();
        Self {
            agent,
            parent: row.parent,
            alive,
            expiry_s: row.expiry_s,
            permissions: rights.iter().filter(|(bit, _)| row.permissions & bit != 0).map(|(_, name)| *name).collect(),
            max_ticks: allowed.map(|class| ClassCap { class: class_name(class), max_tick: cap(class) }).collect(),
            provider_list: row.provider_list,
            daily_limit: row.daily,
            per_bid_limit: row.per_bid,
            lifetime_limit: row.lifetime,
            reserved: row.reserved,
            spent: row.spent,
        }
    }
}

/// A reservation that ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SpendInfo {
    /// The bid or rental.
    #[schema(value_type = String)]
    pub id: AgreementId,
    /// The key.
    #[schema(value_type = String)]
    pub agent: Address,
    /// Spent.
    #[schema(value_type = String)]
    pub spent: Amount,
    /// Released.
    #[schema(value_type = String)]
    pub released: Amount,
    /// When.
    pub time_s: u64,
}

impl From<(AgreementId, SpendRow)> for SpendInfo {
    fn from((id, row): (AgreementId, SpendRow)) -> Self {
        Self { id, agent: row.agent, spent: row.spent, released: row.released, time_s: row.time_s }
    }
}

/// Whether the service runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
}

/// Whether answers are fresh.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether they are.
    pub ready: bool,
    /// Newest block indexed.
    pub index_head: Option<u64>,
    /// Height of the chain when it last answered.
    pub chain_head: u64,
    /// Blocks between them.
    pub lag_blocks: u64,
    /// Seconds since the chain last answered; null when it never did.
    pub silent_s: Option<u64>,
}

/// Price of a tick, as text.
pub(super) fn price_text(base_price: u128, tick: u8) -> String {
    price_at(base_price, tick).unwrap_or(u128::MAX).to_string()
}
