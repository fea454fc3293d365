//! Worker containers: one name a rental and attempt, adopted or removed, never left behind.
//!
//! - [`docker`]: Docker, or Podman through its Docker-compatible socket. Seals the worker off.
//! - [`process`]: a plain process for development. Seals nothing off, and says so.
//! - [`image`]: the worker's image, made byte for byte the same from the same binary.
//! - [`layout`]: the folders a worker reads and writes, and the bounds on what is taken out of them.
//!
//! The engine keeps all state (names, labels, files); a keeper that is killed between any two calls makes the same
//! calls again and ends in the same place. Deliberately absent: decisions about when to start, stop or retry.

pub mod docker;
mod error;
pub mod image;
pub mod layout;
pub mod process;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;

pub use self::{docker::DockerEngine, error::EngineError, process::ProcessEngine};
use crate::spec::sha256;

/// One attempt at a rental's work: what names a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// Chain of the market.
    pub chain_id: u64,
    /// The rental.
    pub rental: AgreementId,
    /// Counts from 1.
    pub attempt: u32,
}

/// Everything an engine needs to run one attempt.
#[derive(Clone, Debug)]
pub struct WorkOrder {
    /// Chain of the market.
    pub chain_id: u64,
    /// The rental.
    pub rental: AgreementId,
    /// Counts from 1.
    pub attempt: u32,
    /// The spec it works to. A container of the same name that works to another one is never adopted.
    pub spec_hash: B256,
    /// Image id, as [`Engine::load_worker_image`] gave it.
    pub image: B256,
    /// Folder the worker sees read-only as `/in`; see [`layout::write_inputs`].
    pub in_dir: PathBuf,
    /// Folder that [`Engine::collect`] creates or replaces with what the worker wrote to `/out`.
    pub out_dir: PathBuf,
    /// What the worker may use.
    pub limits: Limits,
    /// CDI ids of the node's accelerators, as `nvidia.com/gpu=0`. The worker gets one that no other worker on this engine has;
    /// none when the list is empty. Docker alone.
    pub devices: Vec<String>,
    /// Unix second from which [`Engine::reap`] kills and removes the attempt.
    pub deadline_unix_s: u64,
}

impl WorkOrder {
    /// What names the container.
    pub fn id(&self) -> AttemptId {
        AttemptId { chain_id: self.chain_id, rental: self.rental, attempt: self.attempt }
    }
}

/// What a worker may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Memory without swap, MiB; what is written to `/out` counts too, since it is kept in memory. At least 16.
    pub memory_mib: u32,
    /// Processor cores, at least 0.01.
    pub cpus: f64,
    /// Processes and threads, at least 4.
    pub pids: u32,
    /// Bytes in `/out`, MiB, at least 1.
    pub disk_mib: u32,
}

impl Limits {
    fn check(&self, rental: AgreementId) -> Result<(), EngineError> {
        let refuse = |what: &str| Err(EngineError::Limits { rental, what: what.to_owned() });
        match self {
            Self { memory_mib: ..16, .. } => refuse("memory_mib is below 16"),
            Self { pids: ..4, .. } => refuse("pids is below 4"),
            Self { disk_mib: 0, .. } => refuse("disk_mib is 0"),
            Self { cpus, .. } if !(0.01..=1_024.0).contains(cpus) => refuse("cpus is not between 0.01 and 1024"),
            _ => Ok(()),
        }
    }

    fn disk_bytes(&self) -> u64 {
        u64::from(self.disk_mib) << 20
    }
}

/// Which engine to use and under whose name.
///
/// `owner` tells the containers of this keeper from those of any other on the same engine. It must be unique to the
/// data folder and stay the same over restarts; a market address alone is not enough.
#[derive(Clone, Debug)]
pub enum EngineConfig {
    /// Docker or Podman.
    Docker {
        /// `unix:///path`; without one, `DOCKER_HOST` and then the usual places are tried.
        socket: Option<String>,
        /// See [`EngineConfig`].
        owner: String,
    },
    /// Plain processes, for development: the worker can read and write whatever the keeper can.
    Process {
        /// The worker's binary.
        worker: PathBuf,
        /// Folder for the state of the processes.
        state_dir: PathBuf,
        /// See [`EngineConfig`].
        owner: String,
    },
}

/// What [`Engine::start`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Name in the engine.
    pub name: String,
    /// Whether the attempt had been started before; it may even have ended.
    pub adopted: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Never started, or removed. What was created but never started counts as missing: `start` starts it.
    Missing,
    /// At work.
    Running {
        /// Unix seconds.
        started_unix_s: u64,
    },
    /// Ended.
    Exited {
        /// The worker's exit code; 128 + n when signal n ended it.
        code: i32,
        /// Whether it was killed for wanting more memory than it may have.
        oom_killed: bool,
        /// Unix seconds.
        started_unix_s: u64,
        /// Unix seconds.
        finished_unix_s: u64,
    },
}

/// An attempt of which the engine holds at least a part: container, holder, volume or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which attempt.
    pub id: AttemptId,
    /// From its label: the spec it works to, as [`WorkOrder::spec_hash`].
    pub spec_hash: B256,
    /// From its label.
    pub deadline_unix_s: u64,
    /// From its label: the keeper it belongs to, as in [`EngineConfig`].
    pub owner: String,
    /// Name in the engine.
    pub name: String,
    /// Whether the worker is at work.
    pub running: bool,
}

/// A worker that is asked to end has so long before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// An attempt that was past its deadline and is gone now.
pub type Reaped = Found;

/// Socket of a container engine that answers within 3 seconds: `socket` if given, else `DOCKER_HOST`, Docker's and
/// Podman's usual places.
pub async fn probe(socket: Option<&str>) -> Option<String> {
    docker::find(socket).await.ok().map(|(_, socket)| socket)
}

/// A container engine. Clones share one connection.
#[derive(Clone, Debug)]
pub enum Engine {
    /// Docker or Podman.
    Docker(DockerEngine),
    /// Plain processes.
    Process(ProcessEngine),
}

macro_rules! each {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Engine::Docker($engine) => $call.await,
            Engine::Process($engine) => $call.await,
        }
    };
}

impl Engine {
    /// Connects and checks that the engine answers.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`]; [`EngineError::Io`] when the process engine lacks its folder or binary.
    pub async fn connect(config: &EngineConfig) -> Result<Self, EngineError> {
        match config {
            EngineConfig::Docker { socket, owner } => {
                DockerEngine::connect(socket.as_deref(), owner).await.map(Self::Docker)
            }
            EngineConfig::Process { worker, state_dir, owner } => {
                ProcessEngine::open(worker, state_dir, owner).await.map(Self::Process)
            }
        }
    }

    /// Reaches the plain processes whose state is in `folder`, whoever started them, to end them; it cannot start any.
    pub fn processes_in(folder: &Path) -> Self {
        Self::Process(ProcessEngine::to_reap(folder))
    }

    /// `docker` or `process`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Process(_) => "process",
        }
    }

    /// Makes the worker's image known to the engine and returns its id: for Docker the SHA-256 that the engine
    /// itself knows it by, for processes the SHA-256 of the binary. Call it once after connecting.
    ///
    /// # Errors
    /// [`EngineError::Image`] when the binary cannot be an image or the engine made another image of it.
    pub async fn load_worker_image(&self, worker_binary: &Path) -> Result<B256, EngineError> {
        each!(self, engine => engine.load_worker_image(worker_binary))
    }

    /// Starts the attempt, or adopts it if it was started before. Calls for one rental must not overlap.
    ///
    /// # Errors
    /// [`EngineError::AnotherAttempt`] while another attempt of the rental is at work, [`EngineError::OtherWork`] when
    /// the attempt's name holds other work, and whatever the engine says.
    pub async fn start(&self, order: &WorkOrder) -> Result<Started, EngineError> {
        order.limits.check(order.rental)?;
        each!(self, engine => engine.start(order))
    }

    /// Where the attempt stands.
    ///
    /// # Errors
    /// Whatever the engine says; the attempt's state is then unknown.
    pub async fn state(&self, id: AttemptId) -> Result<ContainerState, EngineError> {
        each!(self, engine => engine.state(id))
    }

    /// Waits until the attempt is no longer running, at most `timeout`; then the answer is still `Running`. Dropping
    /// the future stops the waiting and nothing else.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub async fn wait(&self, id: AttemptId, timeout: Duration) -> Result<ContainerState, EngineError> {
        each!(self, engine => engine.wait(id, timeout))
    }

    /// Ends the work and keeps its outputs; nothing happens if it has ended already. A container has [`STOP_GRACE`] to end by
    /// itself, a plain process none.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub async fn stop(&self, id: AttemptId) -> Result<(), EngineError> {
        each!(self, engine => engine.stop(id))
    }

    /// Copies what an ended attempt wrote into `order.out_dir`, which appears or is replaced as a whole.
    ///
    /// # Errors
    /// [`EngineError::OutputsLost`] when the engine was restarted since; [`EngineError::Outputs`] for links, devices
    /// or more than `disk_mib`.
    pub async fn collect(&self, order: &WorkOrder) -> Result<(), EngineError> {
        each!(self, engine => engine.collect(order))
    }

    /// The end of what the worker wrote to its standard error, at most 4 KiB; empty if there is none.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub async fn stderr_tail(&self, id: AttemptId) -> Result<String, EngineError> {
        each!(self, engine => engine.stderr_tail(id))
    }

    /// Kills the attempt and removes every trace of it from the engine; nothing happens if there is none.
    ///
    /// # Errors
    /// Whatever the engine says; call again.
    pub async fn remove(&self, id: AttemptId) -> Result<(), EngineError> {
        each!(self, engine => engine.remove(id))
    }

    /// Everything this keeper has in the engine for one chain.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub async fn list(&self, chain_id: u64) -> Result<Vec<Found>, EngineError> {
        each!(self, engine => engine.list(Some(chain_id)))
    }

    /// Kills and removes everything of this keeper that is past its deadline, whatever its chain. It needs nothing but
    /// the engine, so it works when the keeper is dead.
    ///
    /// # Errors
    /// The first failure, after all have been tried.
    pub async fn reap(&self, now_unix_s: u64) -> Result<Vec<Reaped>, EngineError> {
        let found = each!(self, engine => engine.list(None))?;
        let (reaped, failure) = self.reap_of(found, now_unix_s).await;
        failure.map_or(Ok(reaped), Err)
    }

    /// As [`Self::reap`], for the containers of one keeper or of every one on this engine. What could not be removed comes as
    /// the second part.
    ///
    /// # Errors
    /// When the engine cannot list what it holds.
    pub async fn reap_late(
        &self,
        only: Option<&str>,
        now_unix_s: u64,
    ) -> Result<(Vec<Reaped>, Option<EngineError>), EngineError> {
        let mut found = each!(self, engine => engine.list_all())?;
        found.retain(|found| only.is_none_or(|owner| found.owner == owner));
        Ok(self.reap_of(found, now_unix_s).await)
    }

    async fn reap_of(&self, found: Vec<Found>, now_unix_s: u64) -> (Vec<Reaped>, Option<EngineError>) {
        let mut reaped = Vec::new();
        let mut failure = None;
        for late in found.into_iter().filter(|found| found.deadline_unix_s <= now_unix_s) {
            match self.of(&late.owner).remove(late.id).await {
                Ok(()) => {
                    tracing::warn!(rental = %late.id.rental, attempt = late.id.attempt, name = late.name, "reaped");
                    reaped.push(late);
                }
                Err(error) => {
                    tracing::error!(rental = %late.id.rental, attempt = late.id.attempt, %error, "cannot be reaped");
                    failure.get_or_insert(error);
                }
            }
        }
        (reaped, failure)
    }

    /// The same engine in another keeper's name.
    fn of(&self, owner: &str) -> Self {
        match self.clone() {
            Self::Docker(engine) => Self::Docker(engine.of(owner)),
            Self::Process(engine) => Self::Process(engine.of(owner)),
        }
    }
}

/// Whose containers these are, and what they are called.
#[derive(Clone, Debug)]
struct Owner {
    name: String,
    tag: String,
}

impl Owner {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tag: hex::encode(&sha256(name.as_bytes())[..4]) }
    }

    /// The tag keeps apart keepers whose chains, and so whose rental ids, are equal: every local chain is 31337.
    fn container(&self, id: AttemptId) -> String {
        format!("openclaw-{}-{}-{}-{}", id.chain_id, id.rental, id.attempt, self.tag)
    }
}

/// Rentals with a `start` under way in this process.
#[derive(Clone, Debug, Default)]
struct Starting(Arc<Mutex<HashSet<AgreementId>>>);

impl Starting {
    fn enter(&self, rental: AgreementId) -> Result<StartGuard, EngineError> {
        let mut rentals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rentals.insert(rental) {
            Ok(StartGuard { starting: self.clone(), rental })
        } else {
            Err(EngineError::StartUnderWay { rental })
        }
    }
}

struct StartGuard {
    starting: Starting,
    rental: AgreementId,
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        self.starting.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.rental);
    }
}

/// At most this much of a worker's standard error is read.
const STDERR_TAIL_BYTES: usize = 4 * 1024;

/// The last bytes of a log as text that is safe to print.
fn tail_text(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_TAIL_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect::<String>().trim().to_owned()
}
