//! Offers and providers.

use alloy::primitives::Address;
use contracts::units::Amount;
use serde::Serialize;
use utoipa::ToSchema;

use super::price_text;
use crate::{
    Provider, Snapshot,
    api::query::{bucket_name, class_name},
    error::Result,
    store::rows::OfferRow,
};

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
    pub(in crate::api) fn new(snapshot: &Snapshot<'_>, row: &OfferRow) -> Result<Self> {
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
    pub(in crate::api) fn new(snapshot: &Snapshot<'_>, provider: Provider) -> Result<Self> {
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
