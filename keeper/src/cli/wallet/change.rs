//! What changes a wallet: money, limits, keys.

use std::process::ExitCode;

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall,
};
use clap::Args;
use contracts::{
    bindings::{IAgentWallet as Wallet, IERC20, KeyPolicy, WalletLimits},
    units::Amount,
};
use eyre::{Context as _, bail};

use super::{
    owned,
    policy::{PolicyArgs, describe},
    resolve,
};
use crate::cli::{
    owner::{Owner, OwnerArgs, units},
    table::print_facts,
};

#[derive(Args)]
pub(in crate::cli) struct Plain {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The wallet; the configuration's, if absent.
    #[arg(long)]
    wallet: Option<Address>,
}

#[derive(Args)]
pub(in crate::cli) struct Fund {
    /// How much, AIT.
    amount: Amount,
    #[command(flatten)]
    plain: Plain,
}

#[derive(Args)]
pub(in crate::cli) struct Limits {
    #[command(flatten)]
    plain: Plain,
    /// Most that it may spend plus reserve in any 24 hours, AIT.
    #[arg(long, value_name = "AIT")]
    daily: Option<Amount>,
    /// Most that one bid may reserve, AIT.
    #[arg(long, value_name = "AIT")]
    per_bid: Option<Amount>,
    /// Most that it may ever spend plus reserve, AIT.
    #[arg(long, value_name = "AIT")]
    lifetime: Option<Amount>,
}

#[derive(Args)]
pub(in crate::cli) struct Authorise {
    /// The session key's address, never the key itself.
    session_key: Address,
    #[command(flatten)]
    plain: Plain,
    #[command(flatten)]
    policy: PolicyArgs,
}

#[derive(Args)]
pub(in crate::cli) struct Delegate {
    /// The new key's address. Sign with the keystore of a key that may delegate: --key.
    session_key: Address,
    #[command(flatten)]
    plain: Plain,
    #[command(flatten)]
    policy: PolicyArgs,
}

#[derive(Args)]
pub(in crate::cli) struct KeyArgs {
    /// The session key's address.
    session_key: Address,
    #[command(flatten)]
    plain: Plain,
}

#[derive(Args)]
pub(in crate::cli) struct Withdraw {
    /// How much, AIT; `all` for what the wallet holds.
    amount: String,
    #[command(flatten)]
    plain: Plain,
    /// Receiver; your own address, if absent.
    #[arg(long)]
    to: Option<Address>,
}

impl Plain {
    /// Opens the key and the wallet, which it must own.
    async fn open(&self) -> eyre::Result<(Owner, Address)> {
        let owner = self.owner.open().await?;
        let wallet = owned(&owner, self.wallet).await?;
        Ok((owner, wallet))
    }

    pub(super) async fn revoke_all(self) -> eyre::Result<ExitCode> {
        let (owner, wallet) = self.open().await?;
        let sent = owner.send(wallet, Wallet::revokeAllCall {}.abi_encode(), "revoking every key").await?;
        done(sent.is_some(), || {
            anstream::println!(
                "every session key of {wallet} is dead, and the wallet is paused; `keeper wallet resume` and"
            );
            anstream::println!("`keeper wallet authorise KEY` bring them back");
        })
    }

    pub(super) async fn set_paused(self, paused: bool) -> eyre::Result<ExitCode> {
        let (owner, wallet) = self.open().await?;
        if Wallet::new(wallet, &owner.chain.provider).paused().call().await.wrap_err("reading the wallet")? == paused {
            bail!("wallet {wallet} {} already; nothing was sent", if paused { "is paused" } else { "works" });
        }
        let what = if paused { "pausing the wallet" } else { "resuming the wallet" };
        let sent = owner.send(wallet, Wallet::setPausedCall { paused_: paused }.abi_encode(), what).await?;
        done(sent.is_some(), || {
            let now = if paused { "is paused: its keys place no bids" } else { "works again" };
            anstream::println!("wallet {wallet} {now}");
        })
    }
}

impl Fund {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.plain.owner.open().await?;
        // Whoever likes may pay in, so the key need not be the owner's.
        let wallet = resolve(&owner.chain, self.plain.wallet).await?;
        if self.amount == Amount::ZERO {
            bail!("an amount of 0 AIT changes nothing");
        }
        let token = IERC20::new(owner.chain.token, &owner.chain.provider);
        let held = token.balanceOf(owner.address()).call().await.wrap_err("reading your AIT")?;
        if held < U256::from(self.amount.0) {
            let held = Amount::from_units(held);
            bail!("{} holds {held}, less than {}; give less, or get more first", owner.address(), self.amount);
        }
        let data = IERC20::transferCall { to: wallet, value: U256::from(self.amount.0) }.abi_encode();
        let sent = owner.send(owner.chain.token, data, "paying in").await?.is_some();
        let now = balance(&owner, wallet).await?;
        done(sent, || anstream::println!("wallet {wallet} holds {now}, {} more than before", self.amount))
    }
}

impl Limits {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        if self.daily.is_none() && self.per_bid.is_none() && self.lifetime.is_none() {
            bail!("nothing to change: give --daily, --per-bid or --lifetime");
        }
        let (owner, wallet) = self.plain.open().await?;
        let contract = Wallet::new(wallet, &owner.chain.provider);
        let before = contract.limits().call().await.wrap_err("reading the limits")?;
        let new = |given: Option<Amount>, name: &str, old| given.map_or(Ok(old), |given| units(given, name));
        let limits = WalletLimits {
            daily: new(self.daily, "--daily", before.daily)?,
            perBid: new(self.per_bid, "--per-bid", before.perBid)?,
            lifetime: new(self.lifetime, "--lifetime", before.lifetime)?,
        };
        let sent = owner.send(wallet, Wallet::setLimitsCall { limits }.abi_encode(), "changing the limits").await?;
        let after = contract.limits().call().await.wrap_err("reading the limits")?;
        done(sent.is_some(), || {
            let change = |old, new| format!("{} → {}", Amount::from(old), Amount::from(new));
            anstream::println!("limits of {wallet}");
            print_facts(&[
                ("daily", change(before.daily, after.daily)),
                ("per bid", change(before.perBid, after.perBid)),
                ("lifetime", change(before.lifetime, after.lifetime)),
            ]);
        })
    }
}

impl Authorise {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let (owner, wallet) = self.plain.open().await?;
        authorise(&owner, wallet, self.session_key, &self.policy, None).await
    }
}

impl Delegate {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.plain.owner.open().await?;
        let wallet = resolve(&owner.chain, self.plain.wallet).await?;
        let contract = Wallet::new(wallet, &owner.chain.provider);
        let parent = owner.address();
        let state = contract.keyState(parent).call().await.wrap_err("reading the delegating key")?;
        if !contract.isActive(parent).call().await.wrap_err("reading the delegating key")? {
            bail!("{parent} is no live session key of wallet {wallet}; sign with one that may delegate (--key)");
        }
        if state.policy.permissions & 8 == 0 {
            bail!(
                "{parent} may not delegate; its owner grants that with `keeper wallet authorise {parent} --rights bid,cancel,dispute,delegate`"
            );
        }
        authorise(&owner, wallet, self.session_key, &self.policy, Some(&state.policy)).await
    }
}

async fn authorise(
    owner: &Owner,
    wallet: Address,
    key: Address,
    policy: &PolicyArgs,
    parent: Option<&KeyPolicy>,
) -> eyre::Result<ExitCode> {
    if key == Address::ZERO || key == wallet {
        bail!("{key} can be no session key; give the address that `keeper new-key` printed");
    }
    let policy = policy.policy(&owner.chain, None, parent).await?;
    let data = Wallet::authorizeAgentCall { agent: key, policy }.abi_encode();
    let sent = owner.send(wallet, data, "authorising the key").await?;
    let contract = Wallet::new(wallet, &owner.chain.provider);
    let after = contract.keyState(key).call().await.wrap_err("reading the key")?;
    done(sent.is_some(), || {
        anstream::println!("session key {key} of wallet {wallet}");
        print_facts(&describe(&after.policy));
    })
}

impl KeyArgs {
    pub(super) async fn revoke(self) -> eyre::Result<ExitCode> {
        let (owner, wallet) = self.plain.open().await?;
        let key = self.session_key;
        let sent = owner.send(wallet, Wallet::revokeAgentCall { agent: key }.abi_encode(), "revoking the key").await?;
        let state =
            Wallet::new(wallet, &owner.chain.provider).keyState(key).call().await.wrap_err("reading the key")?;
        done(sent.is_some(), || {
            anstream::println!("session key {key} is dead, and with it every key it delegated to");
            print_facts(&[("still reserved", Amount::from(state.reserved).to_string())]);
        })
    }

    pub(super) async fn collect(self) -> eyre::Result<ExitCode> {
        let owner = self.plain.owner.open().await?;
        let wallet = resolve(&owner.chain, self.plain.wallet).await?;
        let before = balance(&owner, wallet).await?;
        let data = Wallet::collectCall { agent: self.session_key }.abi_encode();
        let sent = owner.send(wallet, data, "collecting the key's credit").await?.is_some();
        let after = balance(&owner, wallet).await?;
        done(sent, || anstream::println!("wallet {wallet}: {before} → {after}"))
    }
}

impl Withdraw {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let (owner, wallet) = self.plain.open().await?;
        let held = balance(&owner, wallet).await?;
        let amount = if self.amount == "all" { held } else { self.amount.parse()? };
        if amount == Amount::ZERO || amount > held {
            bail!("wallet {wallet} holds {held}; {amount} cannot be withdrawn (what is reserved lies with the market)");
        }
        let to = self.to.unwrap_or_else(|| owner.address());
        if to == Address::ZERO || to == wallet || to == owner.chain.token {
            bail!("{to} is no good receiver: the money would be lost or stay; correct --to");
        }
        let data = Wallet::withdrawCall { to, amount: units(amount, "the amount")? }.abi_encode();
        let sent = owner.send(wallet, data, "withdrawing").await?.is_some();
        let left = balance(&owner, wallet).await?;
        done(sent, || anstream::println!("{amount} sent to {to}; wallet {wallet} holds {left}"))
    }
}

async fn balance(owner: &Owner, of: Address) -> eyre::Result<Amount> {
    let token = IERC20::new(owner.chain.token, &owner.chain.provider);
    let units = token.balanceOf(of).call().await.wrap_err("reading the wallet's AIT")?;
    Ok(Amount::from_units(units))
}

/// Says what changed, if anything was sent.
fn done(sent: bool, say: impl FnOnce()) -> eyre::Result<ExitCode> {
    if sent {
        say();
    }
    Ok(ExitCode::SUCCESS)
}
