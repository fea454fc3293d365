//! `keeper operator`: the keys that may act for a provider, as those of a fleet's nodes do.

use std::process::ExitCode;

use alloy::{
    primitives::Address,
    providers::Provider,
    rpc::types::{Filter, Log},
    sol_types::{SolCall, SolEvent},
};
use clap::{Args, Subcommand};
use contracts::bindings::IAIPowerRental as Market;
use eyre::{Context as _, bail};

use super::{
    owner::{Chain, ChainArgs, OwnerArgs},
    table::Table,
};

/// Blocks asked for at once where an endpoint gives no more.
const FEWEST_BLOCKS: u64 = 500;

#[derive(Subcommand)]
pub(super) enum Operator {
    /// Let a key act for your provider: match, start, submit, and change or close offers. It cannot move money.
    Allow(Change),
    /// Take that right away. What the key signed counts no more: wait until its rentals are settled.
    Forbid(Change),
    /// The keys that may act for a provider.
    List(List),
}

#[derive(Args)]
pub(super) struct Change {
    /// The operator's address, never the key itself.
    operator: Address,
    #[command(flatten)]
    owner: OwnerArgs,
}

#[derive(Args)]
pub(super) struct List {
    /// The provider.
    provider: Address,
    #[command(flatten)]
    chain: ChainArgs,
}

impl Operator {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Allow(change) => change.run(true).await,
            Self::Forbid(change) => change.run(false).await,
            Self::List(list) => list.run().await,
        }
    }
}

impl Change {
    async fn run(self, allowed: bool) -> eyre::Result<ExitCode> {
        let owner = self.owner.open().await?;
        let (at, provider) = (owner.chain.config.chain.market, owner.address());
        let market = Market::new(at, &owner.chain.provider);
        if !market.isProvider(provider).call().await.wrap_err("reading the provider")? {
            bail!("{provider} is no provider yet; `keeper provider register` makes it one");
        }
        let is = market.isOperator(provider, self.operator).call().await.wrap_err("reading the operator")?;
        let may = if allowed { "may act" } else { "may not act" };
        if is == allowed {
            anstream::println!("{} {may} for provider {provider} already", self.operator);
            return Ok(ExitCode::SUCCESS);
        }
        let data = Market::setOperatorCall { operator: self.operator, allowed }.abi_encode();
        if owner.send(at, data, "changing the operator").await?.is_some() {
            anstream::println!("{} {may} for provider {provider} from now on", self.operator);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> eyre::Result<ExitCode> {
        let chain = self.chain.open().await?;
        let mut table = Table::new(&["OPERATOR", "ALLOWED IN BLOCK"]);
        for (operator, block) in operators(&chain, self.provider).await? {
            table.row([operator.to_string(), block.to_string()]);
        }
        table.print("none");
        Ok(ExitCode::SUCCESS)
    }
}

/// Who may act for `provider` now, with the block of the owner's last word, oldest first. The market lists nobody: its
/// events do.
async fn operators(chain: &Chain, provider: Address) -> eyre::Result<Vec<(Address, u64)>> {
    let mut operators = Vec::new();
    for log in operator_logs(chain, provider).await? {
        let event = Market::OperatorUpdated::decode_log(&log.inner).wrap_err("reading an operator's event")?;
        operators.retain(|(known, _)| *known != event.operator);
        if event.allowed {
            operators.push((event.operator, log.block_number.unwrap_or_default()));
        }
    }
    Ok(operators)
}

/// All at once, or in parts where an endpoint gives no more.
async fn operator_logs(chain: &Chain, provider: Address) -> eyre::Result<Vec<Log>> {
    let head = chain.provider.get_block_number().await.wrap_err("reading the newest block")?;
    let filter = Filter::new()
        .address(chain.config.chain.market)
        .event_signature(Market::OperatorUpdated::SIGNATURE_HASH)
        .topic1(provider);
    let (mut from, mut many, mut found) = (chain.config.chain.start_block, u64::MAX, Vec::new());
    while from <= head {
        let to = head.min(from.saturating_add(many - 1));
        match chain.provider.get_logs(&filter.clone().from_block(from).to_block(to)).await {
            Ok(logs) => {
                found.extend(logs);
                from = to + 1;
            }
            Err(error) if to - from < FEWEST_BLOCKS => return Err(error).wrap_err("reading the operators' events"),
            Err(_) => many = (to - from).div_ceil(2),
        }
    }
    Ok(found)
}
