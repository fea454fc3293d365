//! What is sent. Amounts are decimal strings of token units, prices decimal strings of token units per second × 1e18,
//! times Unix seconds.

mod agreement;
mod books;
mod supply;
mod wallet;

use alloy::primitives::{Address, B256};
use contracts::{price::price_at, units::Amount};
use serde::Serialize;
use utoipa::ToSchema;

pub use self::{
    agreement::{AgreementInfo, DisputeInfo, MatchInfo, PaymentInfo, StartInfo, SubmissionInfo},
    books::{BookInfo, BookLevels, ClassInfo, ClearingInfo, LevelInfo, Price},
    supply::{OfferInfo, ProviderInfo},
    wallet::{ClassCap, KeyAccountInfo, KeyInfo, SpendInfo, WalletInfo},
};
use crate::Head;

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
    pub(in crate::api) fn new(head: Head, now_s: u64) -> Self {
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
pub(in crate::api) fn price_text(base_price: u128, tick: u8) -> String {
    price_at(base_price, tick).unwrap_or(u128::MAX).to_string()
}
