//! The index as a part of another program.

use std::{path::PathBuf, sync::Arc, time::Duration};

use alloy::primitives::{Address, B256};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{IndexError, Result},
    follow::{Follower, Progress, Wiring, rpc::Rpc},
    project::Emitters,
    store::{Header, Identity, Store, snapshot::Snapshot},
    verify::{self, VerifyReport},
};

/// What an index needs to know.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// HTTP endpoints of one chain, the preferred one first.
    pub rpc_urls: Vec<String>,
    /// The chain they must serve.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
    /// The wallets' factory.
    pub factory: Address,
    /// Block in which the first of the two was deployed, or an earlier one.
    pub start_block: u64,
    /// Folder of this index alone.
    pub data_dir: PathBuf,
    /// Blocks that a reorganisation may take away; at least 1.
    pub undo_horizon_blocks: u64,
    /// Pause between looks at the chain's head.
    pub poll_interval: Duration,
}

/// The newest block folded. Number 0 with a zero hash stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Unix seconds.
    pub timestamp: u64,
}

impl From<Header> for Head {
    fn from(header: Header) -> Self {
        Self { number: header.number, hash: header.hash, timestamp: header.timestamp_s }
    }
}

/// An open index; clones share it. The folder is free again when the last clone is dropped and [`Self::run`] returned.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    config: IndexConfig,
    store: Arc<Store>,
    rpc: Arc<Rpc>,
    heads: watch::Sender<Head>,
    progress: Arc<Progress>,
    running: Mutex<()>,
}

impl Index {
    /// Opens or creates the index, after checking that an endpoint answers, serves the configured chain and has code
    /// at both addresses.
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub async fn open(config: IndexConfig) -> Result<Self> {
        let rpc = Rpc::new(&config.rpc_urls)?;
        rpc.check(config.chain_id, &[("market", config.market), ("factory", config.factory)]).await?;
        let store = Store::open(&config.data_dir, &identity(&config), config.undo_horizon_blocks.max(1))?;
        Self::with(config, rpc, store)
    }

    /// Opens an existing index to read it as it is now; another process may go on writing it. It cannot [`Self::run`].
    ///
    /// # Errors
    /// When there is no index of this market in the folder.
    pub fn open_read_only(config: IndexConfig) -> Result<Self> {
        let rpc = Rpc::new(&config.rpc_urls)?;
        let store = Store::open_read_only(&config.data_dir, &identity(&config))?;
        Self::with(config, rpc, store)
    }

    fn with(config: IndexConfig, rpc: Rpc, store: Store) -> Result<Self> {
        let head = store.cursor()?.map(Head::from).unwrap_or_default();
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                store: Arc::new(store),
                rpc: Arc::new(rpc),
                heads: watch::Sender::new(head),
                progress: Arc::default(),
                running: Mutex::new(()),
            }),
        })
    }

    /// Follows the chain until `shutdown`. Endpoint errors are retried with growing pauses and logged.
    ///
    /// # Errors
    /// When trying again cannot help: a reorganisation deeper than the horizon, events that contradict each other, a
    /// failing disk, or a second call while the first still runs.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<()> {
        let inner = &self.inner;
        let _running = inner
            .running
            .try_lock()
            .map_err(|_| IndexError::Task("the index is followed already; call run once".into()))?;
        let follower = Follower::new(Wiring {
            rpc: inner.rpc.clone(),
            store: inner.store.clone(),
            emitters: Emitters { market: inner.config.market, factory: inner.config.factory },
            start_block: inner.config.start_block,
            horizon: inner.config.undo_horizon_blocks.max(1),
            poll_interval: inner.config.poll_interval,
            heads: inner.heads.clone(),
            progress: inner.progress.clone(),
        });
        follower.run(shutdown).await
    }

    /// Tells every new head; after a reorganisation the number may be lower. Only the newest is kept.
    pub fn subscribe(&self) -> watch::Receiver<Head> {
        self.inner.heads.subscribe()
    }

    /// Everything as of the newest block.
    ///
    /// # Errors
    /// When the database fails.
    pub fn snapshot(&self) -> Result<Snapshot<'_>> {
        self.inner.store.snapshot()
    }

    /// Compares the whole index with the chain, by calls as of the index's head.
    ///
    /// # Errors
    /// When the index is empty or the chain does not answer.
    pub async fn verify(&self) -> Result<VerifyReport> {
        let snapshot = self.snapshot()?;
        verify::verify(&snapshot, &self.inner.rpc, &self.inner.config).await
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &IndexConfig {
        &self.inner.config
    }

    /// Height of the chain when it last answered, and the Unix second of that answer; zeros before the first.
    pub fn chain_head(&self) -> (u64, u64) {
        (self.inner.progress.chain_head(), self.inner.progress.answered_s())
    }
}

fn identity(config: &IndexConfig) -> Identity {
    Identity {
        chain_id: config.chain_id,
        market: config.market,
        factory: config.factory,
        start_block: config.start_block,
    }
}
