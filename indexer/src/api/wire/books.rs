//! Classes, books, levels, prices.

use contracts::{ids::AgreementId, units::Amount};
use serde::Serialize;
use utoipa::ToSchema;

use super::price_text;
use crate::store::rows::{Clearing, LevelRow};

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
    pub(in crate::api) fn new(base_price: u128, tick: u8, row: &LevelRow) -> Self {
        Self {
            tick,
            price: price_text(base_price, tick),
            bids: row.live,
            escrowed_seconds: row.seconds,
            escrow: row.escrow,
        }
    }
}
