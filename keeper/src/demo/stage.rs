//! The stage: a chain of one's own with the market on it, funded keys, and a configuration for each keeper.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    network::EthereumWallet,
    primitives::{
        Address, B256, U256,
        aliases::{U40, U96},
    },
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use contracts::{
    bindings::{IAgentWalletFactory, IERC20, KeyPolicy, WalletLimits},
    classes::HardwareClass,
    deploy::{Deployment, Roles, deploy},
    params::Preset,
    units::Amount,
};
use eyre::{Context as _, OptionExt as _, bail};
use keeper::{config::chain_table, keys};

/// Password of the demo's own throw-away keys.
const PASSWORD: &str = "demo";
/// Environment variable that carries it.
pub(crate) const PASSWORD_VARIABLE: &str = "OPENCLAW_DEMO_PASSWORD";
/// What the agent may spend and reserve in a day.
pub(crate) const DAILY_LIMIT: Amount = Amount(2_000_000_000_000_000_000);
/// What the agent's wallet holds.
const WALLET_FUNDS: Amount = Amount(5_000_000_000_000_000_000);
/// What each provider holds, for bonds.
const PROVIDER_FUNDS: Amount = Amount(1_000_000_000_000_000_000);

/// A provider of the demo.
#[derive(Clone, Debug)]
pub(crate) struct ProviderRole {
    /// Name shown.
    pub name: &'static str,
    /// Class sold.
    pub class: HardwareClass,
    /// CPUs of each worker: what makes the classes differ on one machine.
    pub cpus: f64,
    /// Rentals at once.
    pub slots: u16,
    /// AIT per hour.
    pub reserve: &'static str,
}

/// The demo's providers.
pub(crate) const PROVIDERS: [ProviderRole; 2] = [
    ProviderRole { name: "provider-cpu", class: HardwareClass::CpuOnly, cpus: 0.5, slots: 2, reserve: "0.005" },
    ProviderRole { name: "provider-gpu", class: HardwareClass::MidRangeGpu, cpus: 1.0, slots: 2, reserve: "0.03" },
];

/// What the stage is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// anvil.
    pub anvil: PathBuf,
    /// Static worker binary.
    pub worker: PathBuf,
    /// `docker` or `process`.
    pub engine: &'static str,
    /// Docker's socket.
    pub docker_socket: Option<String>,
    /// Folder for everything that is thrown away at the end.
    pub data: PathBuf,
}

/// A chain with a market, and folders for three keepers.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Chain access that signs for the deployer.
    pub chain: DynProvider,
    /// Its URL.
    pub rpc: String,
    /// Where the market is.
    pub deployment: Deployment,
    /// The agent's wallet.
    pub wallet: Address,
    /// Its session key.
    pub session: Address,
    /// Keys that pay each keeper's gas, by the keeper's name.
    pub payers: BTreeMap<&'static str, PrivateKeySigner>,
    /// Addresses of the providers, as in [`PROVIDERS`].
    pub providers: Vec<Address>,
    /// Where the query API will be.
    pub api: String,
    /// Everything on disk.
    pub data: PathBuf,
    /// anvil, ended with the stage.
    anvil: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(&mut self.anvil);
    }
}

impl Stage {
    /// Starts anvil, deploys the market, makes and funds keys, writes configurations.
    pub(crate) async fn set(options: &Options) -> eyre::Result<Self> {
        std::fs::create_dir_all(&options.data).wrap_err_with(|| options.data.display().to_string())?;
        let (anvil, rpc) = start_anvil(options)?;
        let deployer = PrivateKeySigner::random();
        let mut guard = AnvilGuard(Some(anvil));
        let chain = connect(&rpc, &deployer).await?;
        let rich = |address| fund_gas(&chain, address);
        rich(deployer.address()).await?;
        let admin = deployer.address();
        let roles = Roles { admin, treasury: named_address("treasury"), arbiter: admin, pauser: admin };
        let deployment = deploy(&chain, Preset::Demo, roles, None).await?;

        let key = |name: &str| keys::create(&options.data.join(format!("keys/{name}.json")), PASSWORD);
        let (session, relayer) = (key("session")?, key("relayer")?);
        rich(relayer.address()).await?;
        let wallet = create_wallet(&chain, &deployment, admin, session.address()).await?;
        mint(&chain, deployment.token, wallet, WALLET_FUNDS).await?;
        let mut providers = Vec::new();
        let mut payers = BTreeMap::from([("agent", relayer)]);
        for role in &PROVIDERS {
            let key = key(role.name)?;
            let provider = key.address();
            payers.insert(role.name, key);
            rich(provider).await?;
            mint(&chain, deployment.token, provider, PROVIDER_FUNDS).await?;
            providers.push(provider);
        }
        let api = format!("127.0.0.1:{}", free_port()?);
        let anvil = guard.0.take().ok_or_eyre("anvil is gone")?;
        let session = session.address();
        let data = options.data.clone();
        Ok(Self { chain, rpc, deployment, wallet, session, payers, providers, api, data, anvil })
    }

    /// Configuration file of a keeper.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.data.join(format!("{name}.toml"))
    }

    /// Data folder of a keeper.
    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// Writes every keeper's configuration; `rpc_of` names the endpoint that it reaches the chain by.
    pub(crate) fn write_configs(&self, options: &Options, rpc_of: impl Fn(&str) -> String) -> eyre::Result<()> {
        let chain_of = |name: &str| {
            let table = chain_table(&rpc_of(name), &self.deployment);
            format!("{table}poll_ms = 200\n\n[relay]\ngas_budget_per_day = 10.0\n")
        };
        let key = |name: &str| format!("{{ keystore = \"keys/{name}.json\", password = \"env:{PASSWORD_VARIABLE}\" }}");
        let chain = chain_of("agent");
        let agent = format!(
            "data_dir = \"agent\"\n{chain}\n[agent]\nwallet = \"{}\"\nsession_key = {}\nrelayer_key = {}\n\n\
             [agent.strategy]\nname = \"patient_book\"\n\n[api]\nlisten = \"{}\"\n",
            self.wallet,
            key("session"),
            key("relayer"),
            self.api
        );
        std::fs::write(self.config("agent"), agent)?;
        for role in &PROVIDERS {
            let socket = options.docker_socket.as_ref().map(|socket| format!("docker_socket = \"{socket}\"\n"));
            let port = free_port()?;
            let chain = chain_of(role.name);
            let provider = format!(
                "data_dir = \"{name}\"\n{chain}\n[provider]\nkey = {key}\nclass = \"{class}\"\nslots = {slots}\n\
                 reserve_per_hour = \"{reserve}\"\nlisten = \"127.0.0.1:{port}\"\nengine = \"{engine}\"\n{socket}\
                 worker = \"{worker}\"\ncpus = {cpus:?}\nmemory_mib = 512\n",
                name = role.name,
                key = key(role.name),
                class = role.class,
                slots = role.slots,
                reserve = role.reserve,
                engine = options.engine,
                socket = socket.unwrap_or_default(),
                worker = options.worker.display(),
                cpus = role.cpus,
            );
            std::fs::write(self.config(role.name), provider)?;
        }
        Ok(())
    }
}

/// Ends anvil when the stage cannot be set.
struct AnvilGuard(Option<Child>);

impl Drop for AnvilGuard {
    fn drop(&mut self) {
        if let Some(anvil) = &mut self.0 {
            end(anvil);
        }
    }
}

/// Ends anvil and what it was started through: npm's launcher runs the real program as a child of its own.
fn end(anvil: &mut Child) {
    if let Some(group) = i32::try_from(anvil.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = anvil.wait();
}

fn start_anvil(options: &Options) -> eyre::Result<(Child, String)> {
    let port = free_port()?;
    let log = std::fs::File::create(options.data.join("anvil.log"))?;
    let anvil = Command::new(&options.anvil)
        .args(["--port", &port.to_string(), "--block-time", "1", "--accounts", "1", "--quiet"])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .wrap_err_with(|| {
            format!("{} does not start; run `npm ci`, or name it with --anvil", options.anvil.display())
        })?;
    Ok((anvil, format!("http://127.0.0.1:{port}")))
}

/// A port that was free a moment ago.
fn free_port() -> eyre::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn connect(rpc: &str, deployer: &PrivateKeySigner) -> eyre::Result<DynProvider> {
    let provider = ProviderBuilder::new().wallet(EthereumWallet::from(deployer.clone())).connect_http(rpc.parse()?);
    provider.client().set_poll_interval(Duration::from_millis(100));
    for _ in 0..100 {
        if provider.get_chain_id().await.is_ok() {
            return Ok(provider.erased());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("anvil does not answer at {rpc} after 10 s; its log is anvil.log in the data folder")
}

async fn fund_gas(chain: &DynProvider, address: Address) -> eyre::Result<()> {
    let ten_ether = U256::from(10_000_000_000_000_000_000u128);
    chain.raw_request::<_, ()>("anvil_setBalance".into(), (address, ten_ether)).await?;
    Ok(())
}

async fn mint(chain: &DynProvider, token: Address, to: Address, amount: Amount) -> eyre::Result<()> {
    let receipt = IERC20::new(token, chain).mint(to, U256::from(amount.0)).send().await?.get_receipt().await?;
    if !receipt.status() {
        bail!("minting AIT for {to} reverted");
    }
    Ok(())
}

async fn create_wallet(
    chain: &DynProvider,
    at: &Deployment,
    owner: Address,
    session: Address,
) -> eyre::Result<Address> {
    let factory = IAgentWalletFactory::new(at.factory, chain);
    let daily = U96::from(DAILY_LIMIT.0);
    let limits = WalletLimits { daily, perBid: daily, lifetime: U96::from(WALLET_FUNDS.0) };
    let mask = HardwareClass::ALL.iter().fold(0u32, |mask, class| mask | 1 << class.number());
    let day_s = 86_400;
    let now_s = keeper::clock::now_s();
    let policy = KeyPolicy {
        expiry: U40::from(now_s + 30 * day_s),
        // Bid, cancel, dispute; a master that delegates would get 8 as well.
        permissions: 1 | 2 | 4,
        classMask: mask,
        providerList: false,
        daily,
        perBid: daily,
        lifetime: U96::from(WALLET_FUNDS.0),
        maxTicks: U256::MAX,
    };
    let salt = B256::repeat_byte(1);
    let wallet = factory.walletAddress(owner, salt, limits.clone(), session, policy.clone()).call().await?;
    let receipt = factory.createWallet(owner, salt, limits, session, policy).send().await?.get_receipt().await?;
    if !receipt.status() {
        bail!("creating the agent's wallet reverted");
    }
    Ok(wallet)
}

/// An address nobody has the key of, from a name.
fn named_address(name: &str) -> Address {
    Address::from_slice(&alloy::primitives::keccak256(name)[12..])
}

/// Password for the processes that open the demo's keys.
pub(crate) fn password() -> &'static str {
    PASSWORD
}

/// Folder of the results of one run.
pub(crate) fn results_dir(base: &Path) -> PathBuf {
    let stamp = keeper::clock::now_s();
    (0..)
        .map(|n| base.join(if n == 0 { stamp.to_string() } else { format!("{stamp}-{n}") }))
        .find(|path| !path.exists())
        .unwrap_or_default()
}
