//! The `[relay]` table: how transactions are sent, and what may be sent at all.

use std::time::Duration;

use alloy::primitives::{Address, FixedBytes};
use serde::{Deserialize, Serialize};

use super::duration_text;

/// Requests in one transaction, unless `max_batch` says otherwise.
pub const DEFAULT_BATCH: usize = 20;

/// How transactions are sent, and what may be sent at all. Every field has a default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Says what would be sent, and sends nothing.
    pub dry_run: bool,
    /// Most paid for a unit of gas, in gwei (1e9 wei).
    pub max_fee_gwei: f64,
    /// Most gas paid for a day (UTC) and account, in the chain's own coin; what is under way counts at its worst.
    pub gas_budget_per_day: f64,
    /// An account that holds less of the chain's own coin sends nothing new.
    pub min_balance: f64,
    /// An account that holds less is warned about.
    pub warn_balance: f64,
    /// The index may lag the chain by so many blocks; beyond that nothing is sent.
    pub max_index_lag_blocks: u64,
    /// Transactions of one account that are not mined yet.
    pub max_in_flight: usize,
    /// Forwarded requests in one transaction, when several wait.
    pub max_batch: usize,
    /// A transaction that is not mined for so many blocks is replaced by one that pays more.
    pub replace_after_blocks: u64,
    /// One that is not mined for so many blocks is cancelled.
    pub cancel_after_blocks: u64,
    /// So many failures in a row stop the account from sending for a while.
    pub max_failures: u32,
    /// That while.
    #[serde(with = "duration_text", rename(serialize = "failure_pause_s"))]
    pub failure_pause: Duration,
    /// Functions that may be called besides those of the market, its token and the agent's wallet that a keeper needs.
    pub allow: Vec<Allowed>,
}

/// A contract and its functions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Contract.
    pub to: Address,
    /// First four bytes of the calldata.
    pub selectors: Vec<FixedBytes<4>>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            dry_run: false,
            max_fee_gwei: 200.0,
            gas_budget_per_day: 0.1,
            min_balance: 0.001,
            warn_balance: 0.01,
            max_index_lag_blocks: 20,
            max_in_flight: 16,
            max_batch: DEFAULT_BATCH,
            replace_after_blocks: 3,
            cancel_after_blocks: 30,
            max_failures: 10,
            failure_pause: Duration::from_secs(30),
            allow: Vec::new(),
        }
    }
}

impl RelayConfig {
    /// Most wei for a unit of gas.
    pub fn max_fee_wei(&self) -> u128 {
        (self.max_fee_gwei * 1e9) as u128
    }

    /// Bounds of every field.
    pub(super) fn check(&self) -> Result<(), String> {
        let number = |name: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("relay.{name} = {value}; use {least} to {most}")),
        };
        number("max_fee_gwei", self.max_fee_gwei, 0.000_001, 1_000_000.0)?;
        number("gas_budget_per_day", self.gas_budget_per_day, 0.0, 1_000_000.0)?;
        number("min_balance", self.min_balance, 0.0, 1_000_000.0)?;
        number("warn_balance", self.warn_balance, self.min_balance, 1_000_000.0)?;
        let count = |name: &str, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("relay.{name} = {value}; use {least} to {most}")),
        };
        count("max_index_lag_blocks", self.max_index_lag_blocks, 1, 10_000)?;
        count("max_in_flight", self.max_in_flight as u64, 1, 256)?;
        count("max_batch", self.max_batch as u64, 1, 50)?;
        count("replace_after_blocks", self.replace_after_blocks, 1, 1_000)?;
        count("cancel_after_blocks", self.cancel_after_blocks, self.replace_after_blocks, 100_000)?;
        count("max_failures", self.max_failures.into(), 1, 10_000)?;
        count("failure_pause", self.failure_pause.as_secs(), 1, 86_400)
    }
}
