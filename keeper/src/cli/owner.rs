//! Transactions that a person signs: owners, providers, arbiters.
//!
//! Each is run on the current state before it is signed, and its hash is printed before it is awaited, so that nobody
//! sends it twice for want of an answer.

use std::{path::PathBuf, time::Duration};

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    transports::{RpcError, TransportErrorKind},
};
use clap::Args;
use contracts::{bindings::IAIPowerRental as Market, errors::describe_revert, units::Amount};
use eyre::{Context as _, OptionExt as _, bail};
use keeper::{
    config::{Config, KeyConfig},
    keys,
    socket::Request,
};
use serde_json::Value;

/// A transaction is awaited for so long.
const MINED_WITHIN: Duration = Duration::from_secs(180);

/// Where the chain and the contracts are.
#[derive(Args)]
pub(super) struct ChainArgs {
    /// Configuration file; its [chain] table is enough.
    #[arg(long, env = "KEEPER_CONFIG")]
    pub(super) config: PathBuf,
}

/// Who signs.
#[derive(Args)]
pub(super) struct OwnerArgs {
    #[command(flatten)]
    pub(super) chain: ChainArgs,
    /// Keystore of the key that signs and pays for gas.
    #[arg(long, env = "KEEPER_OWNER_KEY", value_name = "KEYSTORE")]
    key: PathBuf,
    /// Where its password is: env:NAME or file:PATH.
    #[arg(long, default_value = "env:KEEPER_PASSWORD", value_name = "PLACE")]
    password: String,
    /// Run it on the current state and send nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Access to a chain that is the one of the configuration.
pub(super) struct Chain {
    pub(super) config: Config,
    pub(super) provider: DynProvider,
    /// AIT.
    pub(super) token: Address,
}

/// A chain and a key.
pub(super) struct Owner {
    pub(super) chain: Chain,
    signer: PrivateKeySigner,
    dry_run: bool,
}

impl ChainArgs {
    pub(super) async fn open(&self) -> eyre::Result<Chain> {
        let config = Config::load_for_client(&self.config)?;
        let url = config.chain.rpc_urls.first().ok_or_eyre("chain.rpc_urls is empty; give at least one URL")?;
        let parsed = url.parse().wrap_err_with(|| format!("chain.rpc_urls: '{url}' is no URL"))?;
        let provider = ProviderBuilder::default().connect_http(parsed).erased();
        let id = provider
            .get_chain_id()
            .await
            .wrap_err("the first endpoint of chain.rpc_urls does not answer; check it, or give another")?;
        if id != config.chain.chain_id {
            bail!(
                "chain.chain_id = {}, but the endpoint serves chain {id}; correct one of them",
                config.chain.chain_id
            );
        }
        let market = Market::new(config.chain.market, &provider);
        let token = market.token().call().await.wrap_err_with(|| {
            format!("chain.market {} does not answer like the market; check the address", config.chain.market)
        })?;
        Ok(Chain { config, provider, token })
    }
}

impl OwnerArgs {
    pub(super) async fn open(&self) -> eyre::Result<Owner> {
        let chain = self.chain.open().await?;
        let key = KeyConfig { keystore: self.key.clone(), password: self.password.clone() };
        // Slow by design.
        let signer = tokio::task::spawn_blocking(move || keys::load(&key)).await??;
        let owner = Owner { chain, signer, dry_run: self.dry_run };
        owner.refuse_a_keepers_account().await?;
        Ok(owner)
    }
}

impl Owner {
    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    /// A running keeper owns its account's nonces: a second sender would get in its way.
    async fn refuse_a_keepers_account(&self) -> eyre::Result<()> {
        let data_dir = &self.chain.config.data_dir;
        let Ok(status) = super::document(data_dir, Request::Status).await else { return Ok(()) };
        let own = self.address();
        let relayers = status["agent"]["relayers"].as_array().into_iter().flatten();
        let is_own = |account: &Value| {
            account.as_str().and_then(|account| account.parse().ok()).is_some_and(|account: Address| account == own)
        };
        if relayers.chain([&status["provider"]["account"]]).any(is_own) {
            bail!(
                "{own} is the account of the keeper that runs in {}: it sends this account's transactions alone; stop it \
                 first (`keeper stop`), or use another key",
                data_dir.display()
            );
        }
        Ok(())
    }

    /// Runs `data` on `to`, then signs, sends and awaits it; `None` when it was only run.
    pub(super) async fn send(
        &self,
        to: Address,
        data: Vec<u8>,
        what: &str,
    ) -> eyre::Result<Option<TransactionReceipt>> {
        let provider = &self.chain.provider;
        let from = self.address();
        let request = TransactionRequest::default().with_from(from).with_to(to).with_input(Bytes::from(data));
        let refused = |error: RpcError<TransportErrorKind>| eyre::eyre!("{what} would fail: {}", explain(&error));
        provider.call(request.clone()).await.map_err(refused)?;
        let gas = provider.estimate_gas(request.clone()).await.map_err(refused)?;
        // Room for what the state may have become by the time it is mined.
        let gas_limit = gas + gas / 5;
        let fees = provider.estimate_eip1559_fees().await.wrap_err("asking for the chain's fees")?;
        if self.dry_run {
            anstream::println!("dry run: {what} would go through, for about {gas} gas; nothing was sent");
            return Ok(None);
        }
        let most = U256::from(gas_limit) * U256::from(fees.max_fee_per_gas);
        let balance = provider.get_balance(from).await.wrap_err("reading the account's gas coin")?;
        if balance < most {
            bail!("{from} holds {balance} wei of gas coin, but {what} may cost {most}; send it some");
        }
        let nonce = provider.get_transaction_count(from).pending().await.wrap_err("reading the account's nonce")?;
        let request = request
            .with_chain_id(self.chain.config.chain.chain_id)
            .with_nonce(nonce)
            .with_gas_limit(gas_limit)
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
        let wallet = EthereumWallet::from(self.signer.clone());
        let signing = ProviderBuilder::default().wallet(wallet).connect_provider(provider.clone());
        let pending = signing
            .send_transaction(request)
            .await
            .map_err(|error| eyre::eyre!("{what} was not taken: {}", explain(&error)))?;
        let hash = *pending.tx_hash();
        anstream::println!("sent   {hash}");
        let receipt = pending.with_timeout(Some(MINED_WITHIN)).get_receipt().await.wrap_err_with(|| {
            format!("transaction {hash} was sent and is not known to be mined; look it up before you send it again")
        })?;
        let block = receipt.block_number.unwrap_or_default();
        if !receipt.status() {
            bail!("transaction {hash} reverted in block {block}: the state changed meanwhile; look and try again");
        }
        anstream::println!("mined  in block {block}, {} gas", receipt.gas_used);
        Ok(Some(receipt))
    }
}

/// What an endpoint's refusal says, in the contracts' own words where it has any.
pub(super) fn explain(error: &RpcError<TransportErrorKind>) -> String {
    let revert = error.as_error_resp().and_then(|response| response.as_revert_data());
    revert.map_or_else(|| error.to_string(), |data| describe_revert(&data))
}

/// An amount as the contracts take it.
pub(super) fn units(amount: Amount, name: &str) -> eyre::Result<alloy::primitives::aliases::U96> {
    amount.to_u96().ok_or_eyre(format!("{name} {amount} is more than the contracts can hold"))
}
