//! Wallets and session keys.

use alloy::primitives::{Address, U256};
use contracts::units::Amount;
use serde::Serialize;
use utoipa::ToSchema;

use super::AgreementInfo;
use crate::{
    api::query::class_name,
    store::rows::{KeyAccountRow, KeyRow, SpendRow},
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
    /// Reserved for live bids, rentals and deposits, and for ended ones that it has not counted yet.
    #[schema(value_type = String)]
    pub reserved: Amount,
    /// Spent since creation, as far as it has counted; the keys' accounts hold the rest.
    #[schema(value_type = String)]
    pub spent: Amount,
    /// Counted as spent in the last 24 hours before the block, exactly; the wallet itself counts in steps and may hold more.
    #[schema(value_type = String)]
    pub spent_24h: Amount,
    /// Credits of the listed keys at the market: what their bids use first, and what `collect` brings to the wallet.
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
    /// What it counted of ended bids, newest first.
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
    /// Reserved for it and the keys below it; what ended is in it until the wallet counts it.
    #[schema(value_type = String)]
    pub reserved: Amount,
    /// Spent by it and the keys below it, as far as the wallet has counted.
    #[schema(value_type = String)]
    pub spent: Amount,
    /// What the market holds for it; null before its first bid.
    pub account: Option<KeyAccountInfo>,
}

/// What the market holds for a session key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyAccountInfo {
    /// The wallet that the key belongs to for good: it cannot bid for another.
    #[schema(value_type = String)]
    pub wallet: Address,
    /// Funds its next bids, or goes to the wallet by `collect`.
    #[schema(value_type = String)]
    pub credit: Amount,
    /// Spent by ended bids; the wallet counts it at the key's next bid or at `collect`.
    #[schema(value_type = String)]
    pub uncounted_spent: Amount,
    /// Not spent by ended bids; the wallet holds it reserved until it counts.
    #[schema(value_type = String)]
    pub uncounted_released: Amount,
}

impl From<KeyAccountRow> for KeyAccountInfo {
    fn from(row: KeyAccountRow) -> Self {
        let KeyAccountRow { wallet, credit, spent, released } = row;
        Self { wallet, credit, uncounted_spent: spent, uncounted_released: released }
    }
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
    pub(in crate::api) fn new(agent: Address, row: &KeyRow, alive: bool, account: Option<KeyAccountRow>) -> Self {
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
            account: account.map(Into::into),
        }
    }
}

/// The wallet counted ended bids of a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SpendInfo {
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

impl From<SpendRow> for SpendInfo {
    fn from(row: SpendRow) -> Self {
        Self { agent: row.agent, spent: row.spent, released: row.released, time_s: row.time_s }
    }
}
