//! Joins the parts of a keeper: lock, keys, chain, index, engine, data plane, relays, socket, loop.

mod agent;
mod bucket;
mod folder;
mod provider;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::{
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use contracts::bindings::IAIPowerRental as Market;
use eyre::{Context as _, OptionExt as _, bail};
use indexer::{Index, IndexConfig, api::ApiState};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

pub use self::folder::known_node_id;
use self::{
    agent::agent_side,
    folder::{lock_file, note_owner, owner_of},
    provider::provider_side,
};
use crate::{
    act::{
        calls::Addresses,
        relay::{Relay, Session, fleet},
    },
    config::Config,
    event::Event,
    intake,
    journal::{Journal, Record},
    keeper::Keeper,
    keys, metrics,
    preflight::Preflight,
    socket,
};

/// Events waiting for the loop.
const EVENTS: usize = 1_024;
/// Transactions waiting for one account.
const WAITING: usize = 1_024;
/// An endpoint that has not answered by then has not answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
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
        (Some(agent), Some((session, relayers))) => {
            Some(agent_side(&config, agent, session, relayers, data_dir, &hands).await?)
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
    let metrics = match &config.metrics {
        Some(metrics) => Some(bind(metrics.listen, "metrics.listen").await?),
        None => None,
    };
    let listener = socket::bind(data_dir)?;
    let jobs = jobs_dir(data_dir);
    std::fs::create_dir_all(&jobs)
        .and_then(|()| intake::clear_unfinished(&jobs))
        .wrap_err_with(|| jobs.display().to_string())?;
    tasks.spawn(socket::serve(listener, jobs, events.clone(), stop.clone()));
    let keeper = Keeper::new(config, index, journal, agent, provider, events, stop.clone())?;
    if let Some(listener) = metrics {
        info!(address = %listener.local_addr()?, "metrics");
        let (source, stop) = (keeper.metrics_source(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = metrics::serve(listener, source, stop).await {
                error!(%error, "the metrics ended");
            }
        });
    }
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
    /// Starts a relay for each of `signers`; the first sends what the session key signs. Records for all of them go into
    /// one channel.
    async fn relays(
        &self,
        config: &Config,
        signers: Vec<PrivateKeySigner>,
        mut session: Option<Session>,
    ) -> eyre::Result<mpsc::Sender<Record>> {
        let mut relays = Vec::with_capacity(signers.len());
        for signer in signers {
            relays.push(self.relay(config, signer, session.take()).await?);
        }
        if relays.len() == 1 {
            return relays.pop().ok_or_eyre("no key to send with");
        }
        let (sender, inbox) = mpsc::channel(WAITING);
        self.tasks.spawn(fleet::share(inbox, relays, self.chain.addresses, self.stop.clone()));
        Ok(sender)
    }

    async fn relay(
        &self,
        config: &Config,
        signer: PrivateKeySigner,
        session: Option<Session>,
    ) -> eyre::Result<mpsc::Sender<Record>> {
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
            confirmations: config.chain.preset.params().confirmations,
            config: config.relay.clone(),
            index: Some(self.index.subscribe()),
        };
        relay.check_account().await?;
        let (events, stop) = (self.events.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(fault) = relay.run(inbox, events.clone(), stop).await {
                error!(%fault, "a relay ended, and the keeper with it");
                // If the loop is gone already, there is nobody to end.
                let _ = events.send(Event::Fault(fault.to_string())).await;
            }
        });
        Ok(sender)
    }
}

struct Keys {
    /// The session key, and those that pay for gas.
    agent: Option<(PrivateKeySigner, Vec<PrivateKeySigner>)>,
    provider: Option<PrivateKeySigner>,
}

impl Keys {
    async fn load(config: &Config) -> eyre::Result<Self> {
        let (agent, provider) = (config.agent.clone(), config.provider.clone());
        // Keystores are slow by design.
        tokio::task::spawn_blocking(move || {
            let agent = agent
                .map(|agent| {
                    let relayers = [&agent.relayer_key].into_iter().chain(&agent.more_relayer_keys).map(keys::load);
                    eyre::Ok((keys::load(&agent.session_key)?, relayers.collect::<Result<Vec<_>, _>>()?))
                })
                .transpose()?;
            let provider = provider.map(|provider| keys::load(&provider.key)).transpose()?;
            let relayers = agent.iter().flat_map(|(_, relayers)| relayers);
            keys::one_owner_each(relayers.chain(&provider).map(PrivateKeySigner::address))?;
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
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().wrap_err("an HTTP client")?;
        let provider = ProviderBuilder::default().connect_reqwest(client, url).erased();
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

async fn bind(address: SocketAddr, field: &str) -> eyre::Result<TcpListener> {
    TcpListener::bind(address).await.wrap_err_with(|| {
        format!("{field} = {address} cannot be listened on; is the port taken? Choose another, or 0 for any free one")
    })
}
