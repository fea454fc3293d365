//! `keeper market`: a market of one's own, for trials and new chains.

use std::{process::ExitCode, str::FromStr, time::Duration};

use alloy::{
    network::EthereumWallet,
    primitives::{Address, U256},
    providers::{Provider, ProviderBuilder},
};
use clap::{Args, Subcommand};
use contracts::{
    bindings::IERC20,
    deploy::{Roles, deploy},
    params::Preset,
    units::Amount,
};
use eyre::{Context as _, bail};
use keeper::{
    config::{KeyConfig, chain_table, show::without_secrets},
    keys,
};
use reqwest::Url;

#[derive(Subcommand)]
pub(super) enum Market {
    /// Deploy token, forwarder, market and factory; prints the [chain] table for configurations.
    Deploy(Deploy),
}

#[derive(Args)]
pub(super) struct Deploy {
    /// Endpoint of the chain.
    #[arg(long)]
    rpc_url: Url,
    /// Keystore of the key that pays for gas and owns the settings.
    #[arg(long, env = "KEEPER_OWNER_KEY", value_name = "KEYSTORE")]
    key: std::path::PathBuf,
    /// Where its password is: env:NAME or file:PATH.
    #[arg(long, default_value = "env:KEEPER_PASSWORD", value_name = "PLACE")]
    password: String,
    /// Clocks: demo (seconds, for trials) or l2.
    #[arg(long)]
    preset: Preset,
    /// The token that is paid in; one for trials is deployed if absent, which only preset demo allows.
    #[arg(long, required_if_eq("preset", "l2"))]
    token: Option<Address>,
    /// Receives fees; the key's own address, if absent.
    #[arg(long)]
    treasury: Option<Address>,
    /// Rules on disputes; the key's own address, if absent.
    #[arg(long)]
    arbiter: Option<Address>,
    /// Give an address so much of the trial's token.
    #[arg(long, value_name = "ADDRESS=AIT", conflicts_with = "token")]
    mint: Vec<Gift>,
}

#[derive(Clone, Copy)]
struct Gift {
    to: Address,
    amount: Amount,
}

impl FromStr for Gift {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (to, amount) = text.split_once('=').ok_or_else(|| format!("'{text}': write ADDRESS=AIT"))?;
        let to = to.parse().map_err(|_| format!("'{to}' is no address: use 0x and 40 hex digits"))?;
        Ok(Self { to, amount: amount.parse().map_err(|error| format!("{error}"))? })
    }
}

impl Market {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Deploy(deploy) => deploy.run().await,
        }
    }
}

impl Deploy {
    async fn run(self) -> eyre::Result<ExitCode> {
        let key = KeyConfig { keystore: self.key, password: self.password };
        let signer = tokio::task::spawn_blocking(move || keys::load(&key)).await??;
        let admin = signer.address();
        let provider = ProviderBuilder::new().wallet(EthereumWallet::from(signer)).connect_http(self.rpc_url.clone());
        provider.client().set_poll_interval(Duration::from_millis(250));
        let shown = without_secrets(self.rpc_url.as_str());
        let held =
            provider.get_balance(admin).await.wrap_err_with(|| format!("{shown} does not answer; check --rpc-url"))?;
        if held.is_zero() {
            bail!("{admin} holds no gas coin on this chain; send it some");
        }
        if let Some(token) = self.token
            && provider.get_code_at(token).await.wrap_err("reading the token's code")?.is_empty()
        {
            bail!("--token {token} has no code on this chain; check the address");
        }
        let roles = Roles {
            admin,
            treasury: self.treasury.unwrap_or(admin),
            arbiter: self.arbiter.unwrap_or(admin),
            pauser: admin,
        };
        let at = deploy(&provider, self.preset, roles, self.token).await?;
        for Gift { to, amount } in &self.mint {
            let sent = IERC20::new(at.token, &provider).mint(*to, U256::from(amount.0)).send().await;
            let receipt = sent.wrap_err("minting")?.get_receipt().await.wrap_err("minting")?;
            if !receipt.status() {
                bail!("minting {amount} for {to} reverted");
            }
            anstream::eprintln!("{to} got {amount}");
        }
        anstream::print!("{}", chain_table(self.rpc_url.as_str(), &at));
        Ok(ExitCode::SUCCESS)
    }
}
