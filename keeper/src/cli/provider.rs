//! `keeper provider`: what a provider's owner does by hand. A running keeper registers and collects by itself.

use std::process::ExitCode;

use alloy::{primitives::Address, sol_types::SolCall};
use clap::{Args, Subcommand};
use contracts::{
    bindings::{IAIPowerRental as Market, IERC20},
    units::Amount,
};
use eyre::{Context as _, bail};

use keeper::blobs::guard::MAX_NODES;

use super::{
    owner::{ChainArgs, OwnerArgs},
    table::print_facts,
};

/// What the market keeps of an endpoint.
const MAX_PUBLISHED_BYTES: usize = 256;

#[derive(Subcommand)]
pub(super) enum Provider {
    /// Register as a provider, or publish another endpoint.
    Register(Register),
    /// Whether an address is a provider, what it holds and what it has earned and not pulled.
    Show(Show),
    /// Pull earnings and returned bonds from the market.
    Withdraw(Withdraw),
}

#[derive(Args)]
pub(super) struct Register {
    #[command(flatten)]
    owner: OwnerArgs,
    /// URL at which agents reach the provider's keeper: http(s)://host[:port]. Again for each node of a fleet; or one
    /// s3://NAME/PREFIX that all of them use.
    #[arg(long = "endpoint", value_name = "URL", required = true)]
    endpoints: Vec<String>,
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
            Self::Show(show) => show.run().await,
            Self::Withdraw(withdraw) => withdraw.run().await,
        }
    }
}

impl Register {
    async fn run(self) -> eyre::Result<ExitCode> {
        let endpoint = published(&self.endpoints)?;
        let owner = self.owner.open().await?;
        let data = Market::registerProviderCall { endpoint: endpoint.clone() }.abi_encode();
        if owner.send(owner.chain.config.chain.market, data, "registering the provider").await?.is_some() {
            anstream::println!("provider {} is reached at {endpoint}", owner.address());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is published: all endpoints, with spaces between them, or one bucket.
fn published(endpoints: &[String]) -> eyre::Result<String> {
    if let Some(bucket) = endpoints.iter().find(|endpoint| endpoint.starts_with("s3://")) {
        if endpoints.len() > 1 {
            bail!("{bucket} is a bucket: all nodes use it, so publish it alone");
        }
        return Ok(bucket.clone());
    }
    let mut urls = Vec::with_capacity(endpoints.len());
    for text in endpoints {
        let is_endpoint = |url: &reqwest::Url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" && url.query().is_none()
        };
        let url = text.parse().ok().filter(is_endpoint);
        let Some(url) = url else { bail!("'{text}' is no endpoint: write http(s)://host[:port]") };
        urls.push(url.as_str().trim_end_matches('/').to_owned());
    }
    let all = urls.join(" ");
    if urls.len() > MAX_NODES || all.len() > MAX_PUBLISHED_BYTES {
        bail!(
            "{} endpoints of {} bytes together are too many: at most {MAX_NODES} of {MAX_PUBLISHED_BYTES} bytes; use shorter \
             names",
            urls.len(),
            all.len()
        );
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::published;

    #[track_caller]
    fn check(endpoints: &[&str], expect: &str) {
        let endpoints: Vec<_> = endpoints.iter().map(|text| (*text).to_owned()).collect();
        match published(&endpoints) {
            Ok(text) => assert_eq!(text, expect),
            Err(error) => assert!(!expect.is_empty() && error.to_string().contains(expect), "{error}"),
        }
    }

    #[test]
    fn endpoints_of_all_nodes_are_published_as_one() {
        check(&["https://a.example/"], "https://a.example");
        check(&["https://a.example", "http://10.0.0.1:9000"], "https://a.example http://10.0.0.1:9000");
        check(&["s3://bucket/prefix"], "s3://bucket/prefix");
        check(&["s3://bucket/prefix", "https://a.example"], "publish it alone");
        check(&["https://a.example/path"], "is no endpoint");
        check(&["https://a.example https://b.example"], "is no endpoint");
        check(&["ftp://a.example"], "is no endpoint");
        check(&["https://a.example"; 9], "too many");
        check(&[format!("https://{}.example", "a".repeat(60)).as_str(); 4], "too many");
    }
}
