//! `keeper wallet create`.

use std::process::ExitCode;

use alloy::{
    primitives::{Address, B256, U256},
    providers::Provider,
    sol_types::SolCall,
};
use clap::Args;
use contracts::{
    bindings::{IAgentWalletFactory as Factory, KeyPolicy, WalletLimits},
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail};

use super::policy::{PolicyArgs, describe};
use crate::cli::{
    owner::{OwnerArgs, units},
    table::print_facts,
};

#[derive(Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    owner: OwnerArgs,
    /// Most that the wallet may spend plus reserve in any 24 hours, AIT.
    #[arg(long, value_name = "AIT")]
    daily: Amount,
    /// Most that one bid may reserve, AIT; the daily limit if absent.
    #[arg(long, value_name = "AIT")]
    per_bid: Option<Amount>,
    /// Most that it may ever spend plus reserve, AIT; 365 times the daily limit if absent.
    #[arg(long, value_name = "AIT")]
    lifetime: Option<Amount>,
    /// A first session key: its address, never the key itself.
    #[arg(long, value_name = "ADDRESS")]
    session_key: Option<Address>,
    /// Which of your wallets: the same number and the same terms give the same wallet.
    #[arg(long, default_value_t = 1)]
    number: u64,
    #[command(flatten)]
    policy: PolicyArgs,
}

impl Create {
    pub(super) async fn run(self) -> eyre::Result<ExitCode> {
        let owner = self.owner.open().await?;
        let lifetime = match self.lifetime {
            Some(lifetime) => lifetime,
            None => Amount(self.daily.0.checked_mul(365).ok_or_eyre("--daily is too large")?),
        };
        let limits = WalletLimits {
            daily: units(self.daily, "--daily")?,
            perBid: units(self.per_bid.unwrap_or(self.daily), "--per-bid")?,
            lifetime: units(lifetime, "--lifetime")?,
        };
        let (agent, policy) = match self.session_key {
            Some(agent) => (agent, self.policy.policy(&owner.chain, Some(self.daily), None).await?),
            None => (Address::ZERO, KeyPolicy::default()),
        };
        let salt = B256::from(U256::from(self.number));
        let factory = owner.chain.config.chain.factory;
        let contract = Factory::new(factory, &owner.chain.provider);
        let terms = (owner.address(), salt, limits.clone(), agent, policy.clone());
        let wallet = contract
            .walletAddress(terms.0, terms.1, terms.2.clone(), terms.3, terms.4.clone())
            .call()
            .await
            .wrap_err_with(|| {
            format!("chain.factory {factory} does not answer like the factory; check the address")
        })?;
        let code = owner.chain.provider.get_code_at(wallet).await.wrap_err("reading the wallet's code")?;
        if !code.is_empty() {
            bail!("you have this wallet already: {wallet}; for another one, give --number {}", self.number + 1);
        }
        let data =
            Factory::createWalletCall { owner: terms.0, salt, limits, agent, policy: policy.clone() }.abi_encode();
        if owner.send(factory, data, "creating the wallet").await?.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        anstream::println!("wallet {wallet}");
        print_facts(&[
            ("owner", owner.address().to_string()),
            ("daily limit", self.daily.to_string()),
            ("limit per bid", self.per_bid.unwrap_or(self.daily).to_string()),
            ("lifetime limit", lifetime.to_string()),
        ]);
        if agent != Address::ZERO {
            anstream::println!("session key {agent}");
            print_facts(&describe(&policy));
        }
        anstream::println!(
            "next: `keeper wallet fund AMOUNT --wallet {wallet}`, and agent.wallet in the configuration"
        );
        Ok(ExitCode::SUCCESS)
    }
}
