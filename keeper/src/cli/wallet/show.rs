//! `keeper wallet show`: the wallet's own word, read from the chain.

use std::process::ExitCode;

use alloy::{primitives::Address, providers::Provider, rpc::types::Filter, sol_types::SolEvent};
use clap::Args;
use contracts::{
    bindings::{IAIPowerRental as Market, IAgentWallet as Wallet, IERC20},
    units::Amount,
};
use eyre::{Context as _, bail};
use serde_json::{Value, json};

use super::{policy::describe, resolve};
use crate::cli::{
    owner::{Chain, ChainArgs},
    print_json,
    table::print_facts,
};

/// Blocks asked for at once; public endpoints refuse more.
const BLOCKS_ASKED: u64 = 10_000;
/// Ranges asked for at most.
const RANGES: u64 = 500;

#[derive(Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    chain: ChainArgs,
    /// The wallet; the configuration's, if absent.
    #[arg(long)]
    wallet: Option<Address>,
    /// Show these session keys instead of looking for all.
    #[arg(long, value_name = "ADDRESS")]
    session_key: Vec<Address>,
    /// As JSON; amounts are token units.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let chain = self.chain.open().await?;
        let address = resolve(&chain, self.wallet).await?;
        let keys = if self.session_key.is_empty() { find_keys(&chain, address).await? } else { self.session_key };
        let reading = "reading the wallet";
        let wallet = Wallet::new(address, &chain.provider);
        let market = Market::new(chain.config.chain.market, &chain.provider);
        let owner = wallet.owner().call().await.wrap_err(reading)?;
        let paused = wallet.paused().call().await.wrap_err(reading)?;
        let limits = wallet.limits().call().await.wrap_err(reading)?;
        let spent_24h = Amount::from(wallet.spentInWindow().call().await.wrap_err(reading)?);
        let reserved = Amount::from(wallet.reserved().call().await.wrap_err(reading)?);
        let spent = Amount::from(wallet.lifetimeSpent().call().await.wrap_err(reading)?);
        let tokens = IERC20::new(chain.token, &chain.provider).balanceOf(address).call().await.wrap_err(reading)?;
        let tokens = Amount::from_units(tokens);
        let mut shown = Vec::new();
        if !self.json {
            anstream::println!("wallet {address}{}", if paused { " is paused" } else { "" });
            print_facts(&[
                ("owner", owner.to_string()),
                ("holds", tokens.to_string()),
                ("reserved", reserved.to_string()),
                ("spent in 24 h", format!("{spent_24h} of {}", Amount::from(limits.daily))),
                ("spent in all", format!("{spent} of {}", Amount::from(limits.lifetime))),
                ("limit per bid", Amount::from(limits.perBid).to_string()),
            ]);
        }
        for key in keys {
            let reading = "reading a session key";
            let state = wallet.keyState(key).call().await.wrap_err(reading)?;
            let alive = wallet.isActive(key).call().await.wrap_err(reading)?;
            let available = Amount::from(wallet.availableTo(key).call().await.wrap_err(reading)?);
            let account = market.keyAccount(key).call().await.wrap_err(reading)?;
            // An account belongs to the wallet that its key first bid for.
            let (credit, uncounted) = match account.wallet == address {
                true => (Amount::from(account.credit), Amount::from(account.spent)),
                false => (Amount::ZERO, Amount::ZERO),
            };
            if self.json {
                shown.push(key_document(key, &state, alive, Money { available, credit, uncounted }));
                continue;
            }
            anstream::println!("session key {key}{}", if alive { "" } else { " is dead" });
            let mut facts = describe(&state.policy);
            facts.extend([
                ("reserved", Amount::from(state.reserved).to_string()),
                (
                    "spent",
                    format!("{}, and {uncounted} that is counted at its next bid", Amount::from(state.lifetimeSpent)),
                ),
                ("credit", credit.to_string()),
                ("could bid now", available.to_string()),
            ]);
            if state.parent != Address::ZERO {
                facts.push(("delegated by", state.parent.to_string()));
            }
            print_facts(&facts);
        }
        if !self.json {
            return Ok(ExitCode::SUCCESS);
        }
        print_json(&json!({
            "wallet": address,
            "owner": owner,
            "paused": paused,
            "tokens": tokens,
            "daily_limit": Amount::from(limits.daily),
            "per_bid_limit": Amount::from(limits.perBid),
            "lifetime_limit": Amount::from(limits.lifetime),
            "spent_24h": spent_24h,
            "spent": spent,
            "reserved": reserved,
            "keys": shown,
        }))
    }
}

/// What a key has beside its limits.
struct Money {
    available: Amount,
    credit: Amount,
    uncounted: Amount,
}

fn key_document(key: Address, state: &contracts::bindings::KeyState, alive: bool, money: Money) -> Value {
    json!({
        "key": key,
        "parent": (state.parent != Address::ZERO).then_some(state.parent),
        "alive": alive,
        "expiry_s": state.policy.expiry.to::<u64>(),
        "permissions": state.policy.permissions,
        "daily_limit": Amount::from(state.policy.daily),
        "per_bid_limit": Amount::from(state.policy.perBid),
        "lifetime_limit": Amount::from(state.policy.lifetime),
        "reserved": Amount::from(state.reserved),
        "spent": Amount::from(state.lifetimeSpent),
        "uncounted_spent": money.uncounted,
        "credit": money.credit,
        "available": money.available,
    })
}

/// Every key that was ever authorised, from the wallet's events.
async fn find_keys(chain: &Chain, wallet: Address) -> eyre::Result<Vec<Address>> {
    let head = chain.provider.get_block_number().await.wrap_err("reading the chain's head")?;
    let first = chain.config.chain.start_block;
    if head.saturating_sub(first) / BLOCKS_ASKED >= RANGES {
        bail!("{} blocks are too many to look for keys in; name them with --session-key", head - first);
    }
    let mut keys = Vec::new();
    let mut from = first;
    while from <= head {
        let to = head.min(from + BLOCKS_ASKED - 1);
        let filter = Filter::new()
            .address(wallet)
            .event_signature(Wallet::AgentAuthorized::SIGNATURE_HASH)
            .from_block(from)
            .to_block(to);
        let logs = chain.provider.get_logs(&filter).await.wrap_err("looking for session keys")?;
        for log in logs {
            let key = log.topics().get(1).map(|topic| Address::from_word(*topic));
            keys.extend(key.filter(|key| !keys.contains(key)));
        }
        from = to + 1;
    }
    Ok(keys)
}
