//! `keeper provider`: what a provider's owner does by hand. A running keeper registers and collects by itself.

use std::process::ExitCode;

use alloy::{primitives::Address, sol_types::SolCall};
use clap::{Args, Subcommand};
use contracts::{
    bindings::{IAIPowerRental as Market, IERC20},
    units::Amount,
};
use eyre::{Context as _, bail};

use super::{
    owner::{ChainArgs, OwnerArgs},
    table::print_facts,
};

#[derive(Subcommand)]
pub(super) enum Provider {
    /// Register as a provider, or publish another endpoint.
    Register(Register),
    /// Let another key act for the provider, or no longer.
    Operator(Operator),
    /// Whether an address is a provider, what it holds and what it has earned and not pulled.
    Show(Show),
    /// Pull earnings and returned bonds from the market.
    Withdraw(Withdraw),
}

#[derive(Args)]
pub(super) struct Register {
    #[command(flatten)]
    owner: OwnerArgs,
    /// URL at which agents reach the provider's keeper: http(s)://host[:port].
    #[arg(long)]
    endpoint: reqwest::Url,
}

#[derive(Args)]
pub(super) struct Operator {
    /// The operator's address, never the key itself.
    operator: Address,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Take the right away.
    #[arg(long)]
    forbid: bool,
}

#[derive(Args)]
pub(super) struct Show {
    /// The provider.
    provider: Address,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Args)]
pub(super) struct Withdraw {
    #[command(flatten)]
    owner: OwnerArgs,
    /// Receiver; your own address, if absent.
    #[arg(long)]
    to: Option<Address>,
}

impl Provider {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Register(register) => register.run().await,
            Self::Operator(operator) => operator.run().await,
            Self::Show(show) => show.run().await,
            Self::Withdraw(withdraw) => withdraw.run().await,
        }
    }
}

impl Register {
    async fn run(self) -> eyre::Result<ExitCode> {
        let url = &self.endpoint;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.path() != "/" || url.query().is_some() {
            bail!("'{url}' is no endpoint: write http(s)://host[:port]");
        }
        let endpoint = url.as_str().trim_end_matches('/').to_owned();
        let owner = self.owner.open().await?;
        let data = Market::registerProviderCall { endpoint: endpoint.clone() }.abi_encode();
        if owner.send(owner.chain.config.chain.market, data, "registering the provider").await?.is_some() {
            anstream::println!("provider {} is reached at {endpoint}", owner.address());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Operator {
    async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.owner.open().await?;
        let at = owner.chain.config.chain.market;
        let market = Market::new(at, &owner.chain.provider);
        if !market.isProvider(owner.address()).call().await.wrap_err("reading the provider")? {
            bail!("{} is no provider yet; `keeper provider register` makes it one", owner.address());
        }
        let allowed = !self.forbid;
        let data = Market::setOperatorCall { operator: self.operator, allowed }.abi_encode();
        if owner.send(at, data, "changing the operator").await?.is_some() {
            let may = if allowed { "may act" } else { "may no longer act" };
            anstream::println!("{} {may} for provider {}", self.operator, owner.address());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn run(self) -> eyre::Result<ExitCode> {
        let chain = self.chain.open().await?;
        let market = Market::new(chain.config.chain.market, &chain.provider);
        let registered = market.isProvider(self.provider).call().await.wrap_err("reading the provider")?;
        let credit = Amount::from(market.creditOf(self.provider).call().await.wrap_err("reading the credit")?);
        let held = IERC20::new(chain.token, &chain.provider).balanceOf(self.provider).call().await;
        let held = Amount::from_units(held.wrap_err("reading the AIT")?);
        anstream::println!("provider {}", self.provider);
        print_facts(&[
            ("registered", if registered { "yes" } else { "no" }.into()),
            ("holds", held.to_string()),
            ("to be pulled", credit.to_string()),
        ]);
        Ok(ExitCode::SUCCESS)
    }
}

impl Withdraw {
    async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.owner.open().await?;
        let at = owner.chain.config.chain.market;
        let to = self.to.unwrap_or_else(|| owner.address());
        if to == Address::ZERO || to == at || to == owner.chain.token {
            bail!("{to} is no good receiver: the money would be lost; correct --to");
        }
        let market = Market::new(at, &owner.chain.provider);
        let credit = Amount::from(market.creditOf(owner.address()).call().await.wrap_err("reading the credit")?);
        if credit == Amount::ZERO {
            bail!(
                "the market holds nothing for {}; earnings come when a rental's challenge window is over",
                owner.address()
            );
        }
        if owner.send(at, Market::withdrawCall { to }.abi_encode(), "pulling the earnings").await?.is_some() {
            anstream::println!("{credit} sent to {to}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
