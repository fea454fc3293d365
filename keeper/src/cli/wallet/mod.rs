//! `keeper wallet`: what the owner of an agent does.

mod change;
mod create;
mod policy;
mod show;

use std::process::ExitCode;

use alloy::primitives::Address;
use clap::Subcommand;
use contracts::bindings::IAgentWallet;
use eyre::{Context as _, OptionExt as _, bail};

use super::owner::{Chain, Owner};

#[derive(Subcommand)]
pub(super) enum Wallet {
    /// Create a wallet that your key owns, with its limits and, if you like, its first session key.
    Create(create::Create),
    /// Limits, what is spent in 24 hours, reserved and left, and the session keys.
    Show(show::Show),
    /// Pay AIT of your own into the wallet.
    Fund(change::Fund),
    /// Change the wallet's limits; what you do not name stays as it is.
    Limits(change::Limits),
    /// Let a session key spend, or change what it may; the key then stays with this wallet for good.
    Authorise(change::Authorise),
    /// With a session key that may delegate: let another key spend within its limits.
    Delegate(change::Delegate),
    /// Take a session key's rights, and those of all keys it delegated to, at once.
    Revoke(change::KeyArgs),
    /// Emergency: take every key's rights and pause the wallet, in one transaction.
    RevokeAll(change::Plain),
    /// No new bids, starts and disputes; cancelling and withdrawing go on.
    Pause(change::Plain),
    /// Bids again.
    Resume(change::Plain),
    /// Bring a key's credit at the market back into the wallet.
    Collect(change::KeyArgs),
    /// Take AIT out of the wallet.
    Withdraw(change::Withdraw),
}

impl Wallet {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Show(show) => show.run().await,
            Self::Fund(fund) => fund.run().await,
            Self::Limits(limits) => limits.run().await,
            Self::Authorise(authorise) => authorise.run().await,
            Self::Delegate(delegate) => delegate.run().await,
            Self::Revoke(revoke) => revoke.revoke().await,
            Self::RevokeAll(plain) => plain.revoke_all().await,
            Self::Pause(plain) => plain.set_paused(true).await,
            Self::Resume(plain) => plain.set_paused(false).await,
            Self::Collect(collect) => collect.collect().await,
            Self::Withdraw(withdraw) => withdraw.run().await,
        }
    }
}

/// The wallet named, or the one of the configuration's `[agent]` table; it must be one.
async fn resolve(chain: &Chain, named: Option<Address>) -> eyre::Result<Address> {
    let configured = chain.config.agent.as_ref().map(|agent| agent.wallet);
    let address = named.or(configured).ok_or_eyre("name the wallet with --wallet, or in the [agent] table")?;
    let factory = contracts::bindings::IAgentWalletFactory::new(chain.config.chain.factory, &chain.provider);
    let known = factory.isWallet(address).call().await.wrap_err_with(|| {
        format!("chain.factory {} does not answer like the factory; check the address", chain.config.chain.factory)
    })?;
    if !known {
        bail!("{address} is no wallet of this market's factory; `keeper wallet create` makes one");
    }
    Ok(address)
}

/// The wallet, of which `owner` must be the owner.
async fn owned(owner: &Owner, named: Option<Address>) -> eyre::Result<Address> {
    let address = resolve(&owner.chain, named).await?;
    let actual =
        IAgentWallet::new(address, &owner.chain.provider).owner().call().await.wrap_err("reading the owner")?;
    if actual != owner.address() {
        bail!("wallet {address} belongs to {actual}, but the key is {}; use the owner's with --key", owner.address());
    }
    Ok(address)
}
