//! A chain with a market, an agent's wallet, and a relay of its own account.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    eips::BlockId,
    network::Ethereum,
    primitives::{
        Address, B256, U256,
        aliases::{U40, U96},
    },
    providers::{Provider, ProviderBuilder, RootProvider},
    rpc::types::{Filter, TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{IAIPowerRental as Market, IAgentWalletFactory as Factory, IERC20, KeyPolicy, WalletLimits},
    deploy::{Deployment, Roles, deploy},
    params::Preset,
};
use keeper::{
    act::{
        calls::Addresses,
        relay::{Relay, RelayError, Session},
    },
    config::RelayConfig,
    event::{Done, Event, Intent},
    job::JobId,
    journal::{Journal, Parcel, Record, State},
    preflight::Preflight,
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;

/// One AIT.
pub const AIT: u128 = 1_000_000_000_000_000_000;
/// Anything that is waited for comes within this, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Blocks until a transaction is final.
pub const CONFIRMATIONS: u64 = 2;

/// A running anvil; it ends with the value.
pub struct Anvil {
    child: Child,
    pub url: String,
}

impl Anvil {
    fn start() -> Self {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin/anvil");
        let binary = std::env::var_os("ANVIL").map_or(default, PathBuf::from);
        let mut child =
            Command::new(&binary).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{} cannot be started: {error}; run npm ci, or set ANVIL", binary.display())
            });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // Somebody must go on reading, or anvil stops at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{address}") }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // The launcher hands SIGTERM on to the program it started; SIGKILL would leave that one behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The market, an agent's wallet, and the account that relays.
pub struct World {
    _anvil: Anvil,
    /// Straight to the chain.
    pub rpc: RootProvider<Ethereum>,
    /// What the relay talks to.
    pub proxy: Proxy,
    pub market: Deployment,
    pub session: Session,
    pub relayer: PrivateKeySigner,
    pub journal: Journal,
    folder: tempfile::TempDir,
}

impl World {
    /// A deployed market, a wallet with a key and 1,000 AIT, a relaying account with 100 coins; blocks on demand from now.
    pub async fn new() -> Self {
        let anvil = Anvil::start();
        let rpc = RootProvider::<Ethereum>::new_http(anvil.url.parse().unwrap());
        rpc.client().set_poll_interval(Duration::from_millis(20));
        let accounts = rpc.get_accounts().await.unwrap();
        let [admin, treasury, arbiter, owner] = accounts[..4].try_into().unwrap();
        let market = deploy(&rpc, Preset::Demo, Roles { admin, treasury, arbiter, pauser: admin }, None).await.unwrap();
        let key = PrivateKeySigner::random();
        let limits =
            WalletLimits { daily: U96::from(900 * AIT), perBid: U96::from(50 * AIT), lifetime: U96::from(900 * AIT) };
        let policy = KeyPolicy {
            expiry: U40::from(4_000_000_000u64),
            permissions: 15,
            classMask: 0b10,
            providerList: false,
            daily: U96::from(900 * AIT),
            perBid: U96::from(50 * AIT),
            lifetime: U96::from(900 * AIT),
            maxTicks: U256::MAX,
        };
        let create = Factory::createWalletCall { owner, salt: B256::ZERO, limits, agent: key.address(), policy };
        let made = call(&rpc, owner, market.factory, create).await;
        let wallet = made.logs().iter().find_map(|log| Factory::AgentRegistered::decode_log(&log.inner).ok());
        let wallet = wallet.unwrap().wallet;
        call(&rpc, admin, market.token, IERC20::mintCall { to: wallet, value: U256::from(1_000 * AIT) }).await;
        let relayer = PrivateKeySigner::random();
        let proxy = Proxy::start(&anvil.url).await;
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            session: Session { wallet, key, forwarder: market.forwarder },
            _anvil: anvil,
            rpc,
            proxy,
            market,
            relayer,
            journal: Journal::open(folder.path()).unwrap(),
            folder,
        };
        for account in [world.relayer.address(), world.session.key.address()] {
            world.raw("anvil_setBalance", json!([account, "0x56bc75e2d63100000"])).await;
        }
        world.raw("evm_setAutomine", json!([false])).await;
        world
    }

    /// A relay with the defaults, but room for what dear gas under way takes of its budget.
    pub fn relay(&self) -> Relay {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(4)).build().unwrap();
        let provider = ProviderBuilder::default().connect_reqwest(client, self.proxy.url.parse().unwrap()).erased();
        Relay {
            provider: provider.clone(),
            chain_id: self.market.chain_id,
            signer: self.relayer.clone(),
            session: Some(self.session.clone()),
            addresses: Addresses { market: self.market.market, token: self.market.token },
            journal: self.journal.clone(),
            preflight: Preflight::new(provider, self.market.chain_id),
            poll: Duration::from_millis(20),
            confirmations: CONFIRMATIONS,
            config: RelayConfig { gas_budget_per_day: 50.0, ..RelayConfig::default() },
            index: None,
        }
    }

    pub async fn raw(&self, method: &'static str, params: serde_json::Value) -> serde_json::Value {
        self.rpc.raw_request(method.into(), params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub async fn mine(&self, blocks: u64) {
        self.raw("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// The next block comes so much later.
    pub async fn pass(&self, seconds: u64) {
        self.raw("evm_increaseTime", json!([seconds])).await;
    }

    /// Transactions that wait in the node.
    pub async fn pool(&self) -> usize {
        let status = self.raw("txpool_status", json!([])).await;
        ["pending", "queued"]
            .iter()
            .map(|kind| {
                let text = status[kind].as_str().unwrap();
                usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
            })
            .sum()
    }

    /// Waits until so many transactions wait in the node.
    pub async fn pooled(&self, wanted: usize) {
        let since = Instant::now();
        while self.pool().await != wanted {
            assert!(since.elapsed() < PATIENCE, "{} transactions in the pool, not {wanted}", self.pool().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn now_s(&self) -> u64 {
        self.rpc.get_block(BlockId::latest()).await.unwrap().unwrap().header.timestamp
    }

    pub async fn count(&self) -> u64 {
        self.rpc.get_transaction_count(self.relayer.address()).await.unwrap()
    }

    /// A bid for work of its own, as an agent would wish it.
    pub async fn bid(&self, number: u64) -> Intent {
        self.bid_until(number, self.now_s().await + 3_000).await
    }

    pub async fn bid_until(&self, number: u64, expiry: u64) -> Intent {
        Intent::Bid {
            job: JobId(number),
            attempt: 0,
            class: 1,
            tick: 10,
            max_duration_s: 300,
            expiry,
            spec_hash: B256::from(U256::from(number + 1)),
        }
    }

    /// Bids that are on chain, by their spec.
    pub async fn bids(&self) -> HashMap<B256, usize> {
        let filter =
            Filter::new().address(self.market.market).event_signature(Market::BidPlaced::SIGNATURE_HASH).from_block(0);
        let mut found = HashMap::new();
        for log in self.rpc.get_logs(&filter).await.unwrap() {
            let placed = Market::BidPlaced::decode_log(&log.inner).unwrap();
            *found.entry(placed.specHash).or_default() += 1;
        }
        found
    }

    /// How often the relaying account registered as a provider.
    pub async fn registrations(&self) -> usize {
        let filter = Filter::new()
            .address(self.market.market)
            .event_signature(Market::EndpointUpdated::SIGNATURE_HASH)
            .from_block(0);
        self.rpc.get_logs(&filter).await.unwrap().len()
    }

    pub fn state(&self, intent: &Intent) -> State {
        self.journal.record(&intent.key()).unwrap().unwrap().state
    }

    /// What the outbox holds of transactions that are not mined.
    pub fn open_parcels(&self) -> Vec<Parcel> {
        let parcels = self.journal.parcels(self.relayer.address()).unwrap();
        parcels.into_values().filter(|parcel| parcel.landed.is_none()).collect()
    }

    /// How many changes the journal has seen.
    pub fn journal_changes(&self) -> u64 {
        let options = rocksdb::Options::default();
        rocksdb::DB::open_for_read_only(&options, self.folder.path(), false).unwrap().latest_sequence_number()
    }

    /// Asserts what must hold at the end of every test.
    pub async fn at_rest(&self) {
        assert_eq!(self.pool().await, 0, "transactions are left in the pool");
        assert_eq!(self.open_parcels(), [], "what is left in the outbox is final");
        for (key, record) in self.journal.records().unwrap() {
            assert!(!record.state.is_live(), "{key} is still {}", record.state.name());
        }
    }
}

/// Sends a call of an account that the node signs for, and waits for its receipt.
pub async fn call<C: SolCall>(rpc: &RootProvider, from: Address, to: Address, call: C) -> TransactionReceipt {
    let request = TransactionRequest::default().from(from).to(to).input(call.abi_encode().into());
    let receipt = rpc.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status(), "{} reverted", C::SIGNATURE);
    receipt
}

/// A relay at work.
pub struct Running {
    inbox: mpsc::Sender<Record>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<Result<(), RelayError>>,
}

impl Running {
    pub fn start(relay: Relay) -> Self {
        let (inbox, records) = mpsc::channel(1_024);
        let (out, events) = mpsc::channel(1_024);
        let task = tokio::spawn(relay.run(records, out, CancellationToken::new()));
        Self { inbox, events, task }
    }

    /// Where records go.
    pub fn inbox(&self) -> mpsc::Sender<Record> {
        self.inbox.clone()
    }

    /// Plans an intent as the keeper's loop does.
    pub async fn plan(&self, world: &World, intent: &Intent) {
        let record = world.journal.plan(intent.clone(), "wished".into(), 1).unwrap();
        self.inbox.send(record).await.unwrap();
    }

    /// Hands over what the journal says is planned, as the keeper's loop does after a restart.
    pub async fn go_on(&self, world: &World) {
        for (_, record) in world.journal.records().unwrap() {
            if record.state == State::Planned {
                self.inbox.send(record).await.unwrap();
            }
        }
    }

    /// Ends it as a crash would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), RelayError> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends in time").unwrap()
    }

    /// Next thing told.
    pub async fn told(&mut self) -> (String, Result<Done, String>) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("something is told in time");
        match event.expect("the relay is there") {
            Event::Acted(outcome) => (outcome.key, outcome.result),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Waits until an intent is in a state of this name; mines a block now and then when `mining`.
    pub async fn until(&self, world: &World, intent: &Intent, name: &str, mining: bool) -> State {
        let since = Instant::now();
        loop {
            let state = world.state(intent);
            if state.name() == name {
                return state;
            }
            assert!(since.elapsed() < PATIENCE, "{} is {state:?}, not {name}", intent.key());
            assert!(!self.task.is_finished(), "the relay has ended");
            if mining {
                world.mine(1).await;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
}
