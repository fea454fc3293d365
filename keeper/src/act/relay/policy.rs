//! What may be sent at all, whatever the roles wish: functions, fees, gas of a day, balance, freshness of the index,
//! failures in a row. A refusal ends the intent's attempt with a reason that names the rule.

use std::collections::HashSet;

use alloy::{
    primitives::{Address, B256, FixedBytes, U256, utils::format_ether},
    sol_types::SolCall,
};
use contracts::bindings::{IAIPowerRental as Market, IAgentWallet as Wallet, IERC20, IERC2771Forwarder as Forwarder};
use indexer::Head;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Relay, Trouble,
    chain::{self, Fees, Seen},
};
use crate::{clock::now_s, config::RelayConfig, journal::Parcel, preflight::ContractCall};

/// Seconds of a day.
pub(super) const DAY_S: u64 = 86_400;

/// A rule that forbids sending; the text names the rule and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "policy allow-list: {selector} of {to} is no function that this keeper calls; add it to relay.allow if it should"
    )]
    Function { to: Address, selector: FixedBytes<4> },
    #[error("policy allow-list: an allowance is given to the market alone, not to {0}")]
    Spender(Address),
    #[error("policy fee cap: gas costs {now_wei} wei now, relay.max_fee_gwei allows {cap_wei}")]
    Fee { now_wei: u128, cap_wei: u128 },
    #[error(
        "policy gas budget: {spent} are spent or under way today and this could take {more} more, relay.gas_budget_per_day \
         is {budget}; raise it, or wait for the next day (UTC)"
    )]
    Budget { spent: String, more: String, budget: f64 },
    #[error("policy balance: the account holds {balance} for gas, less than {least}; send it some")]
    Balance { balance: String, least: String },
    #[error("policy index: it is {lag} blocks behind the chain, relay.max_index_lag_blocks allows {most}; wait for it")]
    Stale { lag: u64, most: u64 },
    #[error("policy index: it has another block {0} than the RPC endpoint; wait, or check chain.rpc_urls")]
    Contradicted(u64),
    #[error("policy circuit breaker: {failures} transactions in a row failed; sending goes on in {left_s} s")]
    Broken { failures: u32, left_s: u64 },
    #[error(
        "dry run: nonce {nonce} would call {selector} of {to} with {gas_limit} gas at {max_fee_wei} wei each at most"
    )]
    DryRun { nonce: u64, to: Address, selector: FixedBytes<4>, gas_limit: u64, max_fee_wei: u128 },
}

/// The rules and what they are judged on.
pub(super) struct Policy {
    account: Address,
    market: Address,
    token: Address,
    allowed: HashSet<(Address, FixedBytes<4>)>,
    config: RelayConfig,
    /// Wei of gas paid for good today.
    spent_wei: U256,
    balance_wei: U256,
    /// Why the index cannot be trusted now.
    index: Option<Refusal>,
    /// Newest blocks of index and endpoint that agreed.
    agreed: (B256, B256),
    warned: bool,
    failures: u32,
    broken_until: Option<Instant>,
}

impl Policy {
    pub(super) fn new(relay: &Relay) -> Self {
        let (market, token) = (relay.addresses.market, relay.addresses.token);
        let mut allowed = HashSet::new();
        let mut allow = |to: Address, selectors: &[[u8; 4]]| {
            allowed.extend(selectors.iter().map(|selector| (to, FixedBytes(*selector))));
        };
        allow(
            market,
            &[
                Market::registerProviderCall::SELECTOR,
                Market::postOfferCall::SELECTOR,
                Market::updateOfferCall::SELECTOR,
                Market::closeOfferCall::SELECTOR,
                Market::matchBestCall::SELECTOR,
                Market::startCall::SELECTOR,
                Market::declineCall::SELECTOR,
                Market::submitCall::SELECTOR,
                Market::preemptCall::SELECTOR,
                Market::advanceCall::SELECTOR,
                Market::pruneCall::SELECTOR,
                Market::withdrawCall::SELECTOR,
            ],
        );
        allow(token, &[IERC20::approveCall::SELECTOR]);
        if let Some(session) = &relay.session {
            allow(session.forwarder, &[Forwarder::executeBatchCall::SELECTOR]);
            allow(
                session.wallet,
                &[Wallet::placeBidCall::SELECTOR, Wallet::cancelBidCall::SELECTOR, Wallet::disputeCall::SELECTOR],
            );
        }
        for entry in &relay.config.allow {
            allowed.extend(entry.selectors.iter().map(|selector| (entry.to, *selector)));
        }
        Self {
            account: relay.signer.address(),
            market,
            token,
            allowed,
            config: relay.config.clone(),
            spent_wei: U256::ZERO,
            balance_wei: U256::MAX,
            index: None,
            agreed: (B256::ZERO, B256::ZERO),
            warned: false,
            failures: 0,
            broken_until: None,
        }
    }

    /// Takes in what was seen of the chain.
    pub(super) async fn see(&mut self, relay: &Relay, seen: &Seen) -> Result<(), Trouble> {
        self.spent_wei = relay.journal.gas_spent(self.account, now_s() / DAY_S)?;
        self.balance_wei = seen.balance_wei;
        let low = seen.balance_wei < wei(self.config.warn_balance);
        if low && !self.warned {
            let balance = format_ether(seen.balance_wei);
            warn!(account = %self.account, %balance, "little is left for gas; below relay.min_balance nothing is sent");
        }
        self.warned = low;
        let Some(index) = &relay.index else { return Ok(()) };
        let head = *index.borrow();
        self.index = self.judge_index(relay, seen, head).await?;
        Ok(())
    }

    async fn judge_index(&mut self, relay: &Relay, seen: &Seen, head: Head) -> Result<Option<Refusal>, Trouble> {
        let (lag, most) = (seen.number.abs_diff(head.number), self.config.max_index_lag_blocks);
        if lag > most {
            return Ok(Some(Refusal::Stale { lag, most }));
        }
        if self.agreed == (head.hash, seen.hash) {
            return Ok(None);
        }
        if head.number > seen.number {
            // The endpoint has not come so far: what it last said of the index stands.
            return Ok(self.index.clone().filter(|refusal| matches!(refusal, Refusal::Contradicted(_))));
        }
        let hash = match head.number == seen.number {
            true => Some(seen.hash),
            false => chain::hash_at(&relay.provider, head.number).await?,
        };
        if hash == Some(head.hash) {
            self.agreed = (head.hash, seen.hash);
            return Ok(None);
        }
        Ok(Some(Refusal::Contradicted(head.number)))
    }

    /// Whether anything may be sent now.
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        if let Some(until) = self.broken_until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(Refusal::Broken { failures: self.failures, left_s: left.as_secs() + 1 });
            }
            // One more failure opens it again at once.
            self.broken_until = None;
        }
        if let Some(refusal) = &self.index {
            return Err(refusal.clone());
        }
        self.holds(wei(self.config.min_balance))
    }

    /// Whether a call is one that this keeper makes.
    pub(super) fn allows(&self, call: &ContractCall) -> Result<(), Refusal> {
        let selector = FixedBytes(call.data.first_chunk().copied().unwrap_or_default());
        if !self.allowed.contains(&(call.to, selector)) {
            return Err(Refusal::Function { to: call.to, selector });
        }
        if call.to == self.token
            && let Ok(approve) = IERC20::approveCall::abi_decode(&call.data)
            && approve.spender != self.market
        {
            return Err(Refusal::Spender(approve.spender));
        }
        Ok(())
    }

    /// Whether its gas is within price, budget and balance, with what is `under_way` at its worst.
    pub(super) fn affords<'a>(
        &self,
        gas_limit: u64,
        fees: Fees,
        base_fee_wei: u128,
        under_way: impl Iterator<Item = &'a Parcel>,
    ) -> Result<(), Refusal> {
        let cap_wei = self.config.max_fee_wei();
        if base_fee_wei.max(fees.tip_wei) > cap_wei {
            return Err(Refusal::Fee { now_wei: base_fee_wei.max(fees.tip_wei), cap_wei });
        }
        let more = U256::from(gas_limit) * U256::from(fees.max_wei);
        let (mut pending, mut landed) = (U256::ZERO, U256::ZERO);
        for parcel in under_way {
            match &parcel.landed {
                Some(paid) => landed += paid.gas_wei,
                None => pending += parcel.worst_case_wei(),
            }
        }
        let spent = self.spent_wei + landed + pending;
        if spent + more > wei(self.config.gas_budget_per_day) {
            let (spent, more) = (format_ether(spent), format_ether(more));
            return Err(Refusal::Budget { spent, more, budget: self.config.gas_budget_per_day });
        }
        self.holds(pending + more)
    }

    /// How a transaction ended.
    pub(super) fn ended(&mut self, well: bool) {
        if well {
            self.failures = 0;
            return;
        }
        self.failures += 1;
        if self.failures >= self.config.max_failures {
            let pause_s = self.config.failure_pause.as_secs();
            warn!(account = %self.account, failures = self.failures, pause_s, "too many failures in a row; sending pauses");
            self.broken_until = Some(Instant::now() + self.config.failure_pause);
        }
    }

    /// In a dry run, what would be sent is said, and refused.
    pub(super) fn really(&self, nonce: u64, call: &ContractCall, gas_limit: u64, fees: Fees) -> Result<(), Refusal> {
        if !self.config.dry_run {
            return Ok(());
        }
        let selector = FixedBytes(call.data.first_chunk().copied().unwrap_or_default());
        let refusal = Refusal::DryRun { nonce, to: call.to, selector, gas_limit, max_fee_wei: fees.max_wei };
        info!(account = %self.account, data = %call.data, "{refusal}");
        Err(refusal)
    }

    fn holds(&self, least: U256) -> Result<(), Refusal> {
        if self.balance_wei >= least {
            return Ok(());
        }
        Err(Refusal::Balance { balance: format_ether(self.balance_wei), least: format_ether(least) })
    }
}

/// Coins in wei; a config's bounds keep it far from the type's.
fn wei(coins: f64) -> U256 {
    U256::from((coins * 1e18) as u128)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use alloy::{
        primitives::Bytes,
        providers::{Provider, ProviderBuilder},
        signers::local::PrivateKeySigner,
    };

    use super::*;
    use crate::{
        act::{calls::Addresses, relay::Session},
        config::Allowed,
        journal::Journal,
        preflight::Preflight,
    };

    const MARKET: Address = Address::repeat_byte(1);
    const TOKEN: Address = Address::repeat_byte(2);
    const WALLET: Address = Address::repeat_byte(3);
    const FORWARDER: Address = Address::repeat_byte(4);

    fn relay(config: RelayConfig) -> Relay {
        let folder = tempfile::tempdir().unwrap();
        let provider = ProviderBuilder::default().connect_http("http://127.0.0.1:1".parse().unwrap()).erased();
        let session = Session { wallet: WALLET, key: PrivateKeySigner::random(), forwarder: FORWARDER };
        Relay {
            provider: provider.clone(),
            chain_id: 1,
            signer: PrivateKeySigner::random(),
            session: Some(session),
            addresses: Addresses { market: MARKET, token: TOKEN },
            journal: Journal::open(folder.path()).unwrap(),
            preflight: Preflight::new(provider, 1),
            poll: Duration::from_secs(1),
            confirmations: 1,
            config,
            index: None,
        }
    }

    fn policy(config: RelayConfig) -> Policy {
        Policy::new(&relay(config))
    }

    fn call(to: Address, data: impl Into<Bytes>) -> ContractCall {
        ContractCall { from: Address::ZERO, to, data: data.into() }
    }

    #[test]
    fn only_what_a_keeper_calls_is_allowed() {
        let own = Allowed { to: WALLET, selectors: vec![FixedBytes([9, 9, 9, 9])] };
        let policy = policy(RelayConfig { allow: vec![own], ..RelayConfig::default() });
        let withdraw = Market::withdrawCall { to: Address::ZERO }.abi_encode();
        assert!(policy.allows(&call(MARKET, withdraw.clone())).is_ok());
        assert!(matches!(policy.allows(&call(TOKEN, withdraw)), Err(Refusal::Function { to: TOKEN, .. })));
        let transfer = IERC20::transferCall { to: Address::ZERO, value: U256::from(1) }.abi_encode();
        assert!(matches!(policy.allows(&call(TOKEN, transfer)), Err(Refusal::Function { .. })));
        let approve = |spender| IERC20::approveCall { spender, value: U256::MAX }.abi_encode();
        assert!(policy.allows(&call(TOKEN, approve(MARKET))).is_ok());
        assert_eq!(policy.allows(&call(TOKEN, approve(WALLET))), Err(Refusal::Spender(WALLET)));
        let limits = Wallet::setPausedCall { paused_: false }.abi_encode();
        assert!(matches!(policy.allows(&call(WALLET, limits)), Err(Refusal::Function { .. })));
        assert!(policy.allows(&call(WALLET, vec![9, 9, 9, 9, 1])).is_ok(), "what the operator adds");
        assert!(policy.allows(&call(WALLET, vec![9, 9])).is_err(), "no whole selector");
    }

    #[tokio::test]
    async fn an_index_that_agreed_is_judged_again_when_the_endpoint_has_another_block() {
        let relay = relay(RelayConfig::default());
        let mut policy = Policy::new(&relay);
        let (here, there) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let head = Head { number: 7, hash: here, ..Head::default() };
        for (hash, refusal) in [(here, None), (there, Some(Refusal::Contradicted(7))), (here, None)] {
            let seen = Seen {
                number: 7,
                hash,
                timestamp_s: 0,
                gas_limit: 0,
                count: 0,
                pending: 0,
                balance_wei: U256::ZERO,
                base_fee_wei: 0,
                fees: Fees { max_wei: 0, tip_wei: 0 },
            };
            policy.index = policy.judge_index(&relay, &seen, head).await.unwrap();
            assert_eq!(policy.index, refusal);
        }
    }

    #[test]
    fn what_is_under_way_counts_against_the_budget_at_its_worst() {
        let mut policy = policy(RelayConfig { gas_budget_per_day: 1e-9, ..RelayConfig::default() });
        let fees = Fees { max_wei: 1_000, tip_wei: 1 };
        assert!(policy.affords(1_000_000, fees, 1, [].iter()).is_ok());
        policy.spent_wei = U256::from(1);
        assert!(matches!(policy.affords(1_000_000, fees, 1, [].iter()), Err(Refusal::Budget { .. })));
        let version = |max_fee_wei| crate::journal::Version {
            raw: Bytes::new(),
            hash: B256::ZERO,
            max_fee_wei,
            tip_wei: 0,
            cancels: false,
        };
        let pending = Parcel {
            sender: Address::ZERO,
            nonce: 0,
            items: Vec::new(),
            to: MARKET,
            gas_limit: 400_000,
            versions: vec![version(1_000), version(1_250)],
            first_block: 0,
            last_block: 0,
            landed: None,
            settled: false,
        };
        policy.spent_wei = U256::ZERO;
        assert!(policy.affords(500_000, fees, 1, [&pending].into_iter()).is_ok());
        assert!(policy.affords(500_001, fees, 1, [&pending].into_iter()).is_err());
    }
}
