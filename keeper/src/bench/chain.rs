//! A chain of one's own with the market and an agent's wallet on it, and a provider's keeper for it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    primitives::{
        Address, B256, U256,
        aliases::{U24, U40, U96},
    },
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{BidTerms, IAgentWalletFactory as Factory, IERC20, KeyPolicy, WalletLimits},
    deploy::{Deployment, REFERENCE_TEMPLATE, Roles, deploy},
    params::Preset,
};
use eyre::{Context as _, OptionExt as _, ensure};
use keeper::{config::chain_table, keys};

/// Money of the wallet, and its limits: far more than a measurement bids.
const FUNDS: u128 = 1_000_000_000_000_000_000_000;

/// Password of throw-away keys, in the file `password` beside them.
pub(crate) const PASSWORD: &str = "bench";
/// Rentals that the provider takes at once.
pub(crate) const SLOTS: u64 = 256;

/// The program; it ends with the value.
struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        // The launcher hands SIGTERM on to the program it started.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The chain; it ends with the value.
pub(crate) struct Chain {
    _anvil: Anvil,
    /// Its address.
    pub(crate) url: String,
    /// Access; the node signs for its own accounts.
    pub(crate) rpc: DynProvider,
    /// Where the market is.
    pub(crate) market: Deployment,
    /// The agent's wallet.
    pub(crate) wallet: Address,
    /// Its session key.
    pub(crate) session: PrivateKeySigner,
}

impl Chain {
    /// Starts it, with a block a transaction unless `options` of anvil say otherwise.
    pub(crate) async fn start(anvil: &Path, session: PrivateKeySigner, options: &[&str]) -> eyre::Result<Self> {
        let anvil = Command::new(anvil)
            .args(["--port", "0", "--order", "fifo", "--gas-limit", "3000000000"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .wrap_err_with(|| format!("{} does not start; run `npm ci`, or name it with --anvil", anvil.display()))?;
        let mut anvil = Anvil(anvil);
        let mut lines = BufReader::new(anvil.0.stdout.take().ok_or_eyre("anvil has no output")?).lines();
        let address = lines
            .find_map(|line| line.ok()?.strip_prefix("Listening on ").map(str::to_owned))
            .ok_or_eyre("anvil does not say where it listens")?;
        // Somebody must go on reading, or anvil stops at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{address}");
        let rpc = ProviderBuilder::default().connect_http(url.parse()?).erased();
        rpc.client().set_poll_interval(Duration::from_millis(20));
        let accounts = rpc.get_accounts().await?;
        let admin = *accounts.first().ok_or_eyre("anvil has no accounts")?;
        let market =
            deploy(&rpc, Preset::Demo, Roles { admin, treasury: admin, arbiter: admin, pauser: admin }, None).await?;
        let most = U96::from(FUNDS);
        let policy = KeyPolicy {
            expiry: U40::from(4_000_000_000u64),
            permissions: 7,
            classMask: 0b10,
            providerList: false,
            daily: most,
            perBid: most,
            lifetime: most,
            maxTicks: U256::MAX,
        };
        let limits = WalletLimits { daily: most, perBid: most, lifetime: most };
        let create =
            Factory::createWalletCall { owner: admin, salt: B256::ZERO, limits, agent: session.address(), policy };
        let made = call(&rpc, admin, market.factory, create).await?;
        let wallet = made.logs().iter().find_map(|log| Factory::AgentRegistered::decode_log(&log.inner).ok());
        let wallet = wallet.ok_or_eyre("the wallet was not made")?.wallet;
        call(&rpc, admin, market.token, IERC20::mintCall { to: wallet, value: U256::from(FUNDS) }).await?;
        let chain = Self { _anvil: anvil, url, rpc, market, wallet, session };
        chain.fund(chain.session.address()).await?;
        Ok(chain)
    }

    /// Gives an account coins for gas.
    pub(crate) async fn fund(&self, account: Address) -> eyre::Result<()> {
        let coins = U256::from(10u128.pow(22));
        Ok(self.rpc.raw_request::<_, ()>("anvil_setBalance".into(), (account, coins)).await?)
    }

    /// A provider with a key, money and the configuration of its keeper in `folder`, which reaches the chain by `rpc_url`.
    pub(crate) async fn provider(
        &self,
        folder: &Path,
        rpc_url: &str,
        poll_ms: u64,
        worker: &Path,
    ) -> eyre::Result<(Address, PathBuf)> {
        let provider = keys::create(&folder.join("provider.json"), PASSWORD)?.address();
        self.fund(provider).await?;
        let admin = *self.rpc.get_accounts().await?.first().ok_or_eyre("anvil has no accounts")?;
        let money = U256::from(10u128.pow(24));
        call(&self.rpc, admin, self.market.token, IERC20::mintCall { to: provider, value: money }).await?;
        let config = format!(
            "data_dir = \"provider\"\n{}poll_ms = {poll_ms}\n[provider]\n\
             key = {{ keystore = \"provider.json\", password = \"file:password\" }}\nclass = \"cpu_only\"\n\
             slots = {SLOTS}\nreserve_per_hour = \"0.005\"\nlisten = \"127.0.0.1:0\"\nengine = \"process\"\n\
             worker = \"{}\"\ncpus = 1.0\nmemory_mib = 512\n[relay]\ngas_budget_per_day = 1000.0\n",
            chain_table(rpc_url, &self.market),
            std::path::absolute(worker)?.display(),
        );
        let path = folder.join("provider.toml");
        std::fs::write(folder.join("password"), PASSWORD)?;
        std::fs::write(&path, config)?;
        Ok((provider, path))
    }

    /// A block a second from now.
    pub(crate) async fn tick(&self) -> eyre::Result<()> {
        Ok(self.rpc.raw_request::<_, ()>("evm_setIntervalMining".into(), (1,)).await?)
    }

    /// Terms of a bid of its own.
    pub(crate) fn terms(&self, number: u64, expiry: u64) -> BidTerms {
        BidTerms {
            cls: 1,
            preemptible: false,
            tick: 130,
            maxDuration: U24::from(300),
            expiry: U40::from(expiry),
            templateId: REFERENCE_TEMPLATE,
            specHash: B256::from(U256::from(number + 1)),
            policyHash: B256::ZERO,
        }
    }
}

/// Sends a call of an account that the node signs for, and waits for its success.
pub(crate) async fn call<C: SolCall>(
    rpc: &DynProvider,
    from: Address,
    to: Address,
    call: C,
) -> eyre::Result<TransactionReceipt> {
    let request = TransactionRequest::default().from(from).to(to).input(call.abi_encode().into());
    let receipt = rpc.send_transaction(request).await?.get_receipt().await?;
    ensure!(receipt.status(), "{} reverted", C::SIGNATURE);
    Ok(receipt)
}
