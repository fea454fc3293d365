//! The chain → added and removed blocks, written to the store.
//!
//! One step: look at the chain's head, decide what to do, do it. Reading may be dropped at any time; writing runs to
//! its end. Far behind the head, whole ranges are read and blocks without logs are skipped; inside the undo horizon
//! every block is kept with its hash and its undo record.
//!
//! A head below ours is lag until a different hash is proven at a height that we hold; then the blocks above the common
//! ancestor are undone from the undo log, never asked for again.

pub(crate) mod blocks;
pub(crate) mod rpc;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::primitives::B256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    blocks::{Block, Reader},
    rpc::{CallError, Rpc},
};
use crate::{
    Head,
    error::{IndexError, Result},
    project::{self, Emitters},
    store::{Depth, Header, Store, batch::Staging},
};

/// Blocks read at once inside the horizon.
const NEAR_BLOCKS: u64 = 32;
/// Blocks read at once below the horizon: at first, and at most.
const FAR_BLOCKS: u64 = 500;
const FAR_BLOCKS_MAX: u64 = 10_000;
/// A range with fewer logs than this makes the next one wider; one with ten times as many, narrower.
const FEW_LOGS: usize = 500;
/// Waits after errors: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the follower knows of the chain's head, for others to read.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    chain_head: AtomicU64,
    answered_s: AtomicU64,
}

impl Progress {
    /// Height of the chain when it last answered; 0 before.
    pub(crate) fn chain_head(&self) -> u64 {
        self.chain_head.load(Ordering::Relaxed)
    }

    /// Unix second of the chain's last answer; 0 before the first.
    pub(crate) fn answered_s(&self) -> u64 {
        self.answered_s.load(Ordering::Relaxed)
    }

    fn saw(&self, head: u64) {
        self.chain_head.store(head, Ordering::Relaxed);
        self.answered_s.store(now_s(), Ordering::Relaxed);
    }
}

/// Unix time, seconds.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why a step did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The chain changed while it was read; the next look settles it.
    #[error("the chain changed at block {0} while it was read")]
    Moved(u64),
    /// An endpoint does not have a block below the head it told of.
    #[error("block {0} is missing; the endpoint lags behind")]
    Missing(u64),
    /// An endpoint contradicts itself.
    #[error("an endpoint gave {0}")]
    Faulty(String),
    /// No endpoint answered.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Trying again does not help.
    #[error(transparent)]
    Fatal(#[from] IndexError),
}

/// What a look at the chain asks for.
enum Plan {
    Wait,
    /// Undo all blocks above this one (`None`: all).
    Undo(Option<u64>),
    /// Fold these.
    Add {
        blocks: Vec<Block>,
        inside_horizon: bool,
    },
}

/// Follows one chain into one store.
pub(crate) struct Follower {
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) store: Arc<Store>,
    pub(crate) emitters: Emitters,
    pub(crate) start_block: u64,
    pub(crate) horizon: u64,
    pub(crate) poll_interval: Duration,
    pub(crate) heads: watch::Sender<Head>,
    pub(crate) progress: Arc<Progress>,
    topics: Vec<B256>,
    far_blocks: u64,
}

/// Everything a [`Follower`] needs from outside.
pub(crate) struct Wiring {
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) store: Arc<Store>,
    pub(crate) emitters: Emitters,
    pub(crate) start_block: u64,
    pub(crate) horizon: u64,
    pub(crate) poll_interval: Duration,
    pub(crate) heads: watch::Sender<Head>,
    pub(crate) progress: Arc<Progress>,
}

impl Follower {
    pub(crate) fn new(wiring: Wiring) -> Self {
        let Wiring { rpc, store, emitters, start_block, horizon, poll_interval, heads, progress } = wiring;
        let topics = project::topics();
        Self {
            rpc,
            store,
            emitters,
            start_block,
            horizon,
            poll_interval,
            heads,
            progress,
            topics,
            far_blocks: FAR_BLOCKS,
        }
    }

    /// Follows until `shutdown`, or until an error that trying again does not mend.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let mut wait = FIRST_WAIT;
        loop {
            let planned = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                planned = self.plan() => planned,
            };
            let pause = match planned {
                Ok(Plan::Wait) => {
                    wait = FIRST_WAIT;
                    self.poll_interval
                }
                Ok(plan) => {
                    self.act(plan).await?;
                    wait = FIRST_WAIT;
                    continue;
                }
                Err(FollowError::Fatal(error)) => return Err(error),
                Err(error @ (FollowError::Moved(_) | FollowError::Missing(_))) => {
                    debug!(%error, "reading again");
                    wait.min(self.poll_interval)
                }
                Err(error) => {
                    warn!(%error, retry_ms = wait.as_millis() as u64, "the chain cannot be read, trying again");
                    self.rpc.rotate();
                    let pause = wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn plan(&mut self) -> Result<Plan, FollowError> {
        let Some(head) = self.rpc.latest().await? else { return Ok(Plan::Wait) };
        let head = head.header;
        self.progress.saw(head.number);
        let Some(cursor) = self.store.cursor()? else {
            if head.number < self.start_block {
                return Ok(Plan::Wait);
            }
            return self.read_on(self.start_block, head.number, None).await;
        };
        if head.number > cursor.number {
            return self.read_on(cursor.number + 1, head.number, Some(cursor)).await;
        }
        let held = if head.number == cursor.number { Some(cursor) } else { self.store.header(head.number)? };
        match held {
            Some(held) if held.hash == head.hash => {
                if head.number < cursor.number {
                    debug!(chain_head = head.number, index_head = cursor.number, "the endpoint lags behind");
                    self.rpc.rotate();
                }
                Ok(Plan::Wait)
            }
            Some(_) => self.find_ancestor(head.number).await,
            None => {
                warn!(chain_head = head.number, index_head = cursor.number, "the endpoint is far behind the index");
                self.rpc.rotate();
                Ok(Plan::Wait)
            }
        }
    }

    /// Reads the blocks from `from` on, as far as one step goes.
    async fn read_on(&mut self, from: u64, head: u64, cursor: Option<Header>) -> Result<Plan, FollowError> {
        let reader = Reader { rpc: &self.rpc, emitters: self.emitters, topics: &self.topics };
        let last_final = head.saturating_sub(self.horizon);
        if from <= last_final {
            if let Some(cursor) = cursor
                && reader.header(cursor.number).await?.header.hash != cursor.hash
            {
                return self.find_ancestor(cursor.number).await;
            }
            let to = last_final.min(from + self.far_blocks - 1);
            let blocks = match reader.blocks_with_logs(from, to).await {
                Err(FollowError::Call(error)) if error.refused && self.far_blocks > 1 => {
                    self.far_blocks = self.far_blocks.div_ceil(4);
                    debug!(%error, blocks = self.far_blocks, "asking for fewer blocks at once");
                    return Ok(Plan::Add { blocks: Vec::new(), inside_horizon: false });
                }
                read => read?,
            };
            let logs: usize = blocks.iter().map(|block| block.logs.len()).sum();
            self.far_blocks = match logs {
                0..FEW_LOGS => (self.far_blocks * 2).min(FAR_BLOCKS_MAX),
                logs if logs > 10 * FEW_LOGS => self.far_blocks.div_ceil(2),
                _ => self.far_blocks,
            };
            return Ok(Plan::Add { blocks, inside_horizon: false });
        }
        let blocks = reader.every_block(from, head.min(from + NEAR_BLOCKS - 1)).await?;
        match (cursor, blocks.first()) {
            (Some(cursor), Some(first)) if first.header.parent != cursor.hash => {
                self.find_ancestor(cursor.number).await
            }
            _ => Ok(Plan::Add { blocks, inside_horizon: true }),
        }
    }

    /// The highest block at or below `from` that we and the chain agree on.
    async fn find_ancestor(&self, from: u64) -> Result<Plan, FollowError> {
        let reader = Reader { rpc: &self.rpc, emitters: self.emitters, topics: &self.topics };
        let mut number = from;
        let cursor = self.store.cursor()?;
        loop {
            let held = match cursor {
                Some(cursor) if cursor.number == number => Some(cursor),
                _ => self.store.header(number)?,
            };
            let Some(held) = held else { return Err(self.store.too_deep(number).into()) };
            if reader.header(number).await?.header.hash == held.hash {
                // Nothing above it differs: the endpoints disagreed for a moment.
                let unchanged = cursor.is_some_and(|cursor| cursor.number == number);
                return Ok(if unchanged { Plan::Wait } else { Plan::Undo(Some(number)) });
            }
            if number <= self.start_block {
                return Ok(Plan::Undo(None));
            }
            number -= 1;
        }
    }

    /// Writes; runs to its end even when nobody waits for it any more.
    async fn act(&self, plan: Plan) -> Result<()> {
        let (store, emitters) = (self.store.clone(), self.emitters);
        let written = match plan {
            Plan::Wait => return Ok(()),
            Plan::Undo(ancestor) => {
                let from = store.cursor()?.map_or(0, |cursor| cursor.number);
                info!(from, to = ancestor, "the chain was reorganised: undoing blocks");
                tokio::task::spawn_blocking(move || store.undo_to(ancestor)).await
            }
            Plan::Add { blocks, inside_horizon } => {
                tokio::task::spawn_blocking(move || add(&store, &emitters, &blocks, inside_horizon)).await
            }
        };
        written.map_err(|error| IndexError::Task(error.to_string()))??;
        self.heads.send_replace(self.store.cursor()?.map(Head::from).unwrap_or_default());
        Ok(())
    }
}

/// Folds and commits `blocks`, one batch each.
pub(crate) fn add(store: &Store, emitters: &Emitters, blocks: &[Block], inside_horizon: bool) -> Result<()> {
    if !inside_horizon && !blocks.is_empty() {
        store.forget_history()?;
    }
    for (position, block) in blocks.iter().enumerate() {
        let base = |key: &[u8]| store.read(key);
        let mut rows = Staging::new(&base);
        project::fold_block(&mut rows, emitters, &block.header, &block.logs)?;
        // Syncing the last of a run syncs what was written before it.
        let synced = position + 1 == blocks.len();
        let depth = if inside_horizon { Depth::Undoable { synced } } else { Depth::Final };
        store.commit(&block.header, &rows.finish(), depth)?;
        if !block.logs.is_empty() {
            debug!(block = block.header.number, logs = block.logs.len(), "folded");
        }
    }
    Ok(())
}
