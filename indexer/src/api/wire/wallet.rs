//! Wallets and session keys.

use alloy::primitives::{Address, U256};
use contracts::{ids::AgreementId, units::Amount};
use serde::Serialize;
use utoipa::ToSchema;

use super::AgreementInfo;
use crate::{
    api::query::class_name,
    store::rows::{KeyRow, SpendRow},
};

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
    pub(in crate::api) fn new(agent: Address, row: &KeyRow, alive: bool) -> Self {
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
