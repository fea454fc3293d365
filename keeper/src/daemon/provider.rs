//! Joins the provider's side: engine, data plane, workshop.

use std::{path::Path, sync::Arc, time::Duration};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use contracts::{ids::AgreementId, params::Preset};
use eyre::{OptionExt as _, bail};
use indexer::{Index, rows::AgreementRow};
use tokio::{sync::mpsc, time::Instant};
use tracing::{error, info, warn};

use super::{
    EVENTS, Hands, bind,
    bucket::{bucket, mirror},
    folder::node_id,
};
use crate::{
    act::{
        containers::{Engine, EngineConfig, EngineError, Limits},
        errands::Workshop,
    },
    benchmark::{Template, cpus_milli},
    blobs::{Access, RentalAccess, Seen, ServerConfig, ServerLimits, ServerState, Store, StoreLimits, Tls, serve},
    config::{Config, EngineKind, ProviderConfig},
    event::Event,
    keeper::{GRACE_S, Gauge, ProviderSide},
    seller::Seller,
};

/// All blobs of a provider together, bytes.
const STORE_BYTES: u64 = 8 << 30;
/// Blobs of one rental, bytes.
const RENTAL_BYTES: u64 = 1 << 30;
/// Inputs of all rentals of one agent together, bytes.
const AGENT_BYTES: u64 = STORE_BYTES / 2;
/// Rentals of one agent whose blobs are kept at a time.
const AGENT_RENTALS: usize = 5_000;
/// An engine that does not answer at the start is waited for so long.
const ENGINE_PATIENCE: Duration = Duration::from_secs(30);
/// Time between two questions to it.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
/// A worker's processes and threads.
const WORKER_PIDS: u32 = 64;

pub(super) async fn provider_side(
    config: &Config,
    provider: &ProviderConfig,
    key: PrivateKeySigner,
    data_dir: &Path,
    hands: &Hands<'_>,
) -> eyre::Result<ProviderSide> {
    let account = key.address();
    let seller = Seller::of(provider, account);
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
    let ready = engine_with_image(&engine_config, &provider.worker);
    let (engine, image) =
        hands.stop.run_until_cancelled(ready).await.ok_or_eyre("stopped before the engine answered")??;
    let limits = StoreLimits {
        total_bytes: STORE_BYTES,
        rental_bytes: RENTAL_BYTES,
        agent_bytes: AGENT_BYTES,
        agent_rentals: AGENT_RENTALS,
        grace_s: GRACE_S,
    };
    let store = Store::open(&data_dir.join("blobs"), limits).await?;
    let listener = bind(provider.listen, "provider.listen").await?;
    let tls = provider.tls.as_ref().map(|files| Tls::open(&files.certificate, &files.key)).transpose()?;
    let endpoint = provider.published(listener.local_addr()?);
    if config.chain.preset != Preset::Demo && endpoint.starts_with("http://") {
        warn!(%endpoint, "the data plane is PLAIN HTTP: everybody on the way reads inputs and results, and agents refuse it unless told otherwise; set provider.tls");
    }
    let server = ServerConfig {
        chain_id: config.chain.chain_id,
        market: config.chain.market,
        provider: seller.provider,
        limits: ServerLimits::default(),
    };
    let gauge = Gauge::new(hands.journal.own_score()?.filter(|scored| {
        let score = &scored.score;
        // What was measured on another class, worker or share of the machine is not this node's.
        (score.provider, score.class, score.image, score.cpus_milli)
            == (seller.provider, provider.class, image, cpus_milli(provider.cpus))
            && score.template == Template::of(provider.class).spec_hash
    }));
    let (blob_events, mut blob_inbox) = mpsc::channel(EVENTS);
    if let Some(config) = &provider.bucket {
        let mirror = mirror(
            bucket(config)?,
            seller.clone(),
            hands.index.clone(),
            store.clone(),
            gauge.score.subscribe(),
            blob_events.clone(),
        );
        hands.tasks.spawn(mirror.run(hands.stop.clone()));
    }
    let state = ServerState::new(server, store.clone(), access(hands.index.clone(), seller.clone()), blob_events)
        .with_score(gauge.score.subscribe());
    let stop = hands.stop.clone();
    hands.tasks.spawn(async move {
        if let Err(error) = serve(listener, tls, state, stop.cancelled_owned()).await {
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
    let relay = hands.relay(config, key.clone(), None).await?;
    info!(provider = %seller.provider, %account, offers = ?seller.offers, class = %provider.class, slots = provider.slots, engine = engine.name(), %image, %endpoint, "provider");
    let workshop = Workshop {
        engine,
        image,
        limits: Limits {
            memory_mib: provider.memory_mib,
            cpus: provider.cpus,
            pids: WORKER_PIDS,
            disk_mib: provider.disk_mib,
        },
        devices: provider.gpus.clone(),
        store,
        work_dir: data_dir.join("work"),
        key,
        chain_id: config.chain.chain_id,
        journal: hands.journal.clone(),
    };
    Ok(ProviderSide { seller, endpoint, workshop, relay, deliveries, results, gauge })
}

/// Who may talk about a rental over the data plane: the index says.
fn access(index: Index, seller: Seller) -> Access {
    Arc::new(move |rental: AgreementId| {
        let Ok(snapshot) = index.snapshot() else { return Seen { block: 0, rental: None } };
        let block = snapshot.head().map_or(0, |head| head.number);
        Seen { block, rental: snapshot.agreement(rental).ok().flatten().and_then(|row| access_of(&row, &seller)) }
    })
}

pub(super) fn access_of(row: &AgreementRow, seller: &Seller) -> Option<RentalAccess> {
    let open_until_unix_s = row.ended.as_ref().map_or(u64::MAX, |ended| ended.time_s + GRACE_S);
    Some(RentalAccess {
        agent: row.agent,
        provider: row.provider()?,
        offer: row.matched.as_ref()?.offer_id,
        here: seller.works_on(row),
        status: row.status,
        spec_hash: row.spec_hash,
        open_until_unix_s,
    })
}

/// The engine with the worker's image in it. One that starts with the machine, or is just being restarted, is waited for.
async fn engine_with_image(config: &EngineConfig, worker: &Path) -> Result<(Engine, B256), EngineError> {
    let until = Instant::now() + ENGINE_PATIENCE;
    loop {
        let ready = async {
            let engine = Engine::connect(config).await?;
            let image = engine.load_worker_image(worker).await?;
            Ok((engine, image))
        };
        match ready.await {
            Err(error @ (EngineError::Unreachable { .. } | EngineError::Engine { .. }))
                if error.is_retryable() && Instant::now() < until =>
            {
                warn!(%error, "the engine is asked again");
                tokio::time::sleep(ENGINE_PAUSE).await;
            }
            ready => return ready,
        }
    }
}
