//! Joins the parts of a keeper: lock, keys, chain, index, engine, data plane, relays, socket, loop.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use contracts::{bindings::IAIPowerRental as Market, ids::AgreementId, params::Preset};
use eyre::{Context as _, OptionExt as _, bail};
use indexer::{Index, IndexConfig, api::ApiState, rows::AgreementRow};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

use crate::{
    act::{
        calls::Addresses,
        containers::{Engine, EngineConfig, Limits},
        errands::{Courier, Workshop},
        relay::{Relay, Session},
    },
    blobs::{Access, RentalAccess, ServerConfig, ServerState, Store, StoreLimits, serve},
    config::{AgentConfig, Config, EngineKind, ProviderConfig},
    event::Event,
    journal::{Journal, Record},
    keeper::{AgentSide, GRACE_S, Keeper, ProviderSide},
    keys,
    preflight::Preflight,
    purse::Purse,
    socket,
};

/// Events waiting for the loop.
const EVENTS: usize = 1_024;
/// Transactions waiting for one account.
const WAITING: usize = 1_024;
/// All blobs of a provider together, bytes.
const STORE_BYTES: u64 = 8 << 30;
/// Blobs of one rental, bytes.
const RENTAL_BYTES: u64 = 1 << 30;
/// A worker's processes and threads.
const WORKER_PIDS: u32 = 64;
/// Time to let requests under way end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Runs a keeper until `stop`.
///
/// # Errors
/// One message that names what is wrong and the remedy.
pub async fn run(config: Config, stop: CancellationToken) -> eyre::Result<()> {
    let data_dir = config.data_dir.clone();
    std::fs::create_dir_all(&data_dir).wrap_err_with(|| format!("data folder {}", data_dir.display()))?;
    let mut lock = fd_lock::RwLock::new(lock_file(&data_dir)?);
    let Ok(mut held) = lock.try_write() else {
        bail!(
            "another keeper (process {}) owns the data folder {}; stop it, or give this one another data_dir",
            owner_of(&data_dir),
            data_dir.display()
        );
    };
    note_owner(&mut held).wrap_err("lock file")?;
    let tasks = TaskTracker::new();
    let joined = join(config, &data_dir, &stop, &tasks).await;
    let ended = match joined {
        Ok((keeper, inbox)) => keeper.run(inbox).await.map_err(eyre::Report::from),
        Err(error) => Err(error),
    };
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(SHUTDOWN, tasks.wait()).await.is_err() {
        info!("some tasks did not end in time; the journal has what they were at");
    }
    let _ = std::fs::remove_file(data_dir.join(socket::SOCKET_NAME));
    ended
}

async fn join(
    config: Config,
    data_dir: &Path,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> eyre::Result<(Keeper, mpsc::Receiver<Event>)> {
    // Keys first: a wrong password must show before anything else happens.
    let keys = Keys::load(&config).await?;
    let index = open_index(&config, data_dir).await?;
    let chain = Chain::connect(&config).await?;
    let journal = Journal::open(&data_dir.join("journal"))?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let hands = Hands { chain, journal: journal.clone(), index: index.clone(), events: events.clone(), stop, tasks };

    let agent = match (&config.agent, keys.agent) {
        (Some(agent), Some((session, relayer))) => {
            Some(agent_side(&config, agent, session, relayer, data_dir, &hands).await?)
        }
        _ => None,
    };
    let provider = match (&config.provider, keys.provider) {
        (Some(provider), Some(key)) => Some(provider_side(&config, provider, key, data_dir, &hands).await?),
        _ => None,
    };
    if let Some(api) = &config.api {
        let listener = bind(api.listen, "api.listen").await?;
        info!(address = %listener.local_addr()?, "query API");
        let (index, stop) = (index.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = indexer::api::run(listener, ApiState::new(index), stop).await {
                error!(%error, "the query API ended");
            }
        });
    }
    let follower = (index.clone(), stop.clone());
    tasks.spawn(async move {
        let (index, stop) = follower;
        if let Err(error) = index.run(stop.clone()).await {
            error!(%error, "the index ended, and the keeper with it");
            stop.cancel();
        }
    });
    let listener = socket::bind(data_dir)?;
    tasks.spawn(socket::serve(listener, jobs_dir(data_dir), events.clone(), stop.clone()));
    let keeper = Keeper::new(config, index, journal, agent, provider, events, stop.clone())?;
    keeper.reconcile().await?;
    info!(data_dir = %data_dir.display(), "keeper ready");
    Ok((keeper, inbox))
}

/// What both roles' sides are made with.
struct Hands<'a> {
    chain: Chain,
    journal: Journal,
    index: Index,
    events: mpsc::Sender<Event>,
    stop: &'a CancellationToken,
    tasks: &'a TaskTracker,
}

impl Hands<'_> {
    fn relay(&self, config: &Config, signer: PrivateKeySigner, session: Option<Session>) -> mpsc::Sender<Record> {
        let (sender, inbox) = mpsc::channel(WAITING);
        let relay = Relay {
            provider: self.chain.provider.clone(),
            chain_id: config.chain.chain_id,
            signer,
            session,
            addresses: self.chain.addresses,
            journal: self.journal.clone(),
            preflight: Preflight::new(self.chain.provider.clone(), config.chain.chain_id),
            poll: Duration::from_millis(config.chain.poll_ms),
        };
        self.tasks.spawn(relay.run(inbox, self.events.clone(), self.stop.clone()));
        sender
    }
}

struct Keys {
    agent: Option<(PrivateKeySigner, PrivateKeySigner)>,
    provider: Option<PrivateKeySigner>,
}

impl Keys {
    async fn load(config: &Config) -> eyre::Result<Self> {
        let (agent, provider) = (config.agent.clone(), config.provider.clone());
        // Keystores are slow by design.
        tokio::task::spawn_blocking(move || {
            let agent = agent
                .map(|agent| eyre::Ok((keys::load(&agent.session_key)?, keys::load(&agent.relayer_key)?)))
                .transpose()?;
            let provider = provider.map(|provider| keys::load(&provider.key)).transpose()?;
            Ok(Self { agent, provider })
        })
        .await?
    }
}

struct Chain {
    provider: DynProvider,
    addresses: Addresses,
}

impl Chain {
    async fn connect(config: &Config) -> eyre::Result<Self> {
        let url = config.chain.rpc_urls.first().ok_or_eyre("chain.rpc_urls is empty")?;
        let url = url.parse().wrap_err_with(|| format!("chain.rpc_urls: '{url}' is no URL"))?;
        let provider = ProviderBuilder::default().connect_http(url).erased();
        let market = config.chain.market;
        let code = provider.get_code_at(config.chain.forwarder).await.wrap_err("reading the forwarder's code")?;
        if code.is_empty() {
            bail!("chain.forwarder {} has no code on this chain; check the address", config.chain.forwarder);
        }
        let token = Market::new(market, &provider).token().call().await.wrap_err("reading the market's token")?;
        Ok(Self { provider, addresses: Addresses { market, token } })
    }
}

async fn open_index(config: &Config, data_dir: &Path) -> eyre::Result<Index> {
    let chain = &config.chain;
    let index = Index::open(IndexConfig {
        rpc_urls: chain.rpc_urls.clone(),
        chain_id: chain.chain_id,
        market: chain.market,
        factory: chain.factory,
        start_block: chain.start_block,
        data_dir: data_dir.join("index"),
        undo_horizon_blocks: chain.preset.params().undo_horizon_blocks,
        poll_interval: Duration::from_millis(chain.poll_ms),
    })
    .await?;
    Ok(index)
}

fn jobs_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs")
}

async fn agent_side(
    config: &Config,
    agent: &AgentConfig,
    session: PrivateKeySigner,
    relayer: PrivateKeySigner,
    data_dir: &Path,
    hands: &Hands<'_>,
) -> eyre::Result<AgentSide> {
    let chain = &config.chain;
    let code = hands.chain.provider.get_code_at(agent.wallet).await.wrap_err("reading the wallet's code")?;
    if code.is_empty() {
        bail!("agent.wallet {} has no code on this chain; create it first, or check the address", agent.wallet);
    }
    let courier = Courier {
        key: session.clone(),
        chain_id: chain.chain_id,
        market: chain.market,
        allow_private: chain.preset == Preset::Demo,
        jobs_dir: jobs_dir(data_dir),
    };
    let key = session.address();
    let session = Session { wallet: agent.wallet, key: session, forwarder: chain.forwarder };
    let relay = hands.relay(config, relayer, Some(session));
    let purse =
        Purse { provider: hands.chain.provider.clone(), token: hands.chain.addresses.token, wallet: agent.wallet, key };
    info!(wallet = %agent.wallet, session_key = %key, "agent");
    Ok(AgentSide { wallet: agent.wallet, key, strategy: agent.strategy.clone(), courier, purse, relay })
}

async fn provider_side(
    config: &Config,
    provider: &ProviderConfig,
    key: PrivateKeySigner,
    data_dir: &Path,
    hands: &Hands<'_>,
) -> eyre::Result<ProviderSide> {
    let address = key.address();
    if !provider.worker.is_file() {
        bail!("provider.worker {} is no file; build the static worker first", provider.worker.display());
    }
    let owner = node_id(data_dir)?;
    let engine_config = match provider.engine {
        EngineKind::Docker => EngineConfig::Docker { socket: provider.docker_socket.clone(), owner },
        EngineKind::Process => {
            EngineConfig::Process { worker: provider.worker.clone(), state_dir: data_dir.join("processes"), owner }
        }
    };
    let engine = Engine::connect(&engine_config).await?;
    let image = engine.load_worker_image(&provider.worker).await?;
    let limits = StoreLimits { total_bytes: STORE_BYTES, rental_bytes: RENTAL_BYTES, grace_s: GRACE_S };
    let store = Store::open(&data_dir.join("blobs"), limits).await?;
    let listener = bind(provider.listen, "provider.listen").await?;
    let endpoint = match &provider.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => format!("http://{}", listener.local_addr()?),
    };
    let server = ServerConfig { chain_id: config.chain.chain_id, market: config.chain.market, provider: address };
    let (blob_events, mut blob_inbox) = mpsc::channel(EVENTS);
    let state = ServerState::new(server, store.clone(), access(hands.index.clone()), blob_events);
    let stop = hands.stop.clone();
    hands.tasks.spawn(async move {
        if let Err(error) = serve(listener, state, stop.cancelled_owned()).await {
            error!(%error, "the data plane ended");
        }
    });
    let (events, stop) = (hands.events.clone(), hands.stop.clone());
    hands.tasks.spawn(async move {
        while let Some(Some(event)) = stop.run_until_cancelled(blob_inbox.recv()).await {
            if events.send(Event::Blob(event)).await.is_err() {
                return;
            }
        }
    });
    let mut deliveries = std::collections::HashMap::new();
    let mut results = std::collections::HashMap::new();
    for rental in store.rentals().await {
        if let Some(files) = store.rental(rental).await {
            deliveries.insert(rental, files.into());
        }
        results.extend(hands.journal.result(rental)?.map(|result| (rental, result)));
    }
    let relay = hands.relay(config, key.clone(), None);
    info!(provider = %address, class = %provider.class, slots = provider.slots, engine = engine.name(), %image, %endpoint, "provider");
    let workshop = Workshop {
        engine,
        image,
        limits: Limits {
            memory_mib: provider.memory_mib,
            cpus: provider.cpus,
            pids: WORKER_PIDS,
            disk_mib: provider.disk_mib,
        },
        store,
        work_dir: data_dir.join("work"),
        key,
        chain_id: config.chain.chain_id,
        journal: hands.journal.clone(),
    };
    Ok(ProviderSide { address, endpoint, workshop, relay, deliveries, results })
}

/// Who may talk about a rental over the data plane: the index says.
fn access(index: Index) -> Access {
    Arc::new(move |rental: AgreementId| {
        let row = index.snapshot().ok()?.agreement(rental).ok()??;
        access_of(&row)
    })
}

fn access_of(row: &AgreementRow) -> Option<RentalAccess> {
    let open_until_unix_s = row.ended.as_ref().map_or(u64::MAX, |ended| ended.time_s + GRACE_S);
    Some(RentalAccess {
        agent: row.agent,
        provider: row.provider()?,
        status: row.status,
        spec_hash: row.spec_hash,
        open_until_unix_s,
    })
}

async fn bind(address: SocketAddr, field: &str) -> eyre::Result<TcpListener> {
    TcpListener::bind(address).await.wrap_err_with(|| {
        format!("{field} = {address} cannot be listened on; is the port taken? Choose another, or 0 for any free one")
    })
}

fn lock_file(data_dir: &Path) -> eyre::Result<File> {
    let path = data_dir.join("lock");
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .wrap_err_with(|| format!("lock file {}", path.display()))
}

fn note_owner(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn owner_of(data_dir: &Path) -> String {
    let mut text = String::new();
    let read = File::open(data_dir.join("lock")).and_then(|file| file.take(32).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".into(),
    }
}

/// A random name of this data folder: two keepers on one engine never touch each other's containers.
fn node_id(data_dir: &Path) -> eyre::Result<String> {
    let path = data_dir.join("node-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let id = format!("{:x}", Address::random());
    std::fs::write(&path, &id).wrap_err_with(|| path.display().to_string())?;
    Ok(id)
}
