//! A plain process for each attempt, for development where no container engine is at hand.
//!
//! It seals nothing off: the worker runs as the keeper's user and can read and write whatever the keeper can. Only
//! memory, processor time and file sizes are limited, by the shell that starts it. Linux only, since it asks `/proc`.
//!
//! Everything an attempt has is in one folder: `order.json` (the labels), `pid` (who runs it), `exit` (how it ended),
//! `out`, `stderr`. The shell claims the attempt by creating `pid`, which only one can, and writes `exit` by itself:
//! neither needs the keeper to be alive. A process counts as ours only while its start time and the machine's boot id
//! are those in `pid`, so a reused number is never adopted or killed.

mod claim;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::primitives::B256;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use self::claim::Claim;
use super::{
    AttemptId, ContainerState, EngineError, Found, Owner, STDERR_TAIL_BYTES, Started, Starting, WorkOrder,
    layout::{self, Intake, LayoutError},
    tail_text,
};

/// Starts the worker: $1 folder of the attempt, $2 worker, $3 `/in`, $4 memory KiB, $5 file size in 512-byte blocks,
/// $6 processor seconds. Only built-in commands, so it needs no environment.
const SCRIPT: &str = r#"
set -C
{
    read -r stat < /proc/$$/stat && read -r boot < /proc/sys/kernel/random/boot_id &&
    printf '%s\n%s\nend\n' "$stat" "$boot"
} > "$1/pid" || exit 75
ulimit -c 0 && ulimit -v "$4" && ulimit -f "$5" && ulimit -t "$6" || exit 76
"$2" --in "$3" --out "$1/out" < /dev/null > /dev/null
printf '%s end\n' "$?" > "$1/exit"
"#;

/// Exit code of [`SCRIPT`] when another one has claimed the attempt.
const CLAIMED: i32 = 75;

/// How long a new shell may take to write its claim.
const CLAIM_TIME: Duration = Duration::from_secs(5);

/// Plain processes.
#[derive(Clone, Debug)]
pub struct ProcessEngine {
    worker: PathBuf,
    folder: PathBuf,
    owner: Owner,
    starting: Starting,
}

/// The labels of an attempt.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    chain_id: u64,
    rental: contracts::ids::AgreementId,
    attempt: u32,
    #[serde(default)]
    spec_hash: B256,
    deadline_unix_s: u64,
    owner: String,
}

impl Order {
    fn id(&self) -> AttemptId {
        AttemptId { chain_id: self.chain_id, rental: self.rental, attempt: self.attempt }
    }
}

impl ProcessEngine {
    /// Reaches what is in `folder`, whoever started it, to end it; it cannot start anything.
    pub(super) fn to_reap(folder: &Path) -> Self {
        Self { worker: PathBuf::new(), folder: folder.to_owned(), owner: Owner::new(""), starting: Starting::default() }
    }

    /// The same engine in another keeper's name.
    pub(super) fn of(self, owner: &str) -> Self {
        Self { owner: Owner::new(owner), ..self }
    }

    pub(super) async fn open(worker: &Path, folder: &Path, owner: &str) -> Result<Self, EngineError> {
        let failed = |what, path: &Path, source| EngineError::Io { what, path: path.to_owned(), source };
        if !Path::new("/proc/self/stat").exists() {
            let source = io::Error::other("the process engine needs Linux; use Docker or Podman here");
            return Err(failed("read", Path::new("/proc/self/stat"), source));
        }
        let worker = fs::canonicalize(worker).map_err(|source| failed("find the worker", worker, source))?;
        let private = fs::Permissions::from_mode(0o700);
        fs::create_dir_all(folder)
            .and_then(|()| fs::set_permissions(folder, private))
            .map_err(|source| failed("create", folder, source))?;
        let folder = fs::canonicalize(folder).map_err(|source| failed("find", folder, source))?;
        tracing::warn!(
            worker = %worker.display(),
            "the process engine does not isolate: tasks run as this user; use it for your own tasks only"
        );
        Ok(Self { worker, folder, owner: Owner::new(owner), starting: Starting::default() })
    }

    pub(super) async fn load_worker_image(&self, binary: &Path) -> Result<B256, EngineError> {
        let path = binary.to_owned();
        let hash = blocking(move || layout::hash_file(&path)).await;
        hash.map(|(hash, _)| hash)
            .map_err(|error| EngineError::Image { path: binary.to_owned(), what: error.to_string() })
    }

    pub(super) async fn start(&self, order: &WorkOrder) -> Result<Started, EngineError> {
        let _guard = self.starting.enter(order.rental)?;
        if !order.devices.is_empty() {
            let what = "plain processes cannot be given accelerators; use Docker".to_owned();
            return Err(EngineError::Limits { rental: order.rental, what });
        }
        let name = self.owner.container(order.id());
        let other = |found: &Found| found.running && found.id.rental == order.rental && found.id != order.id();
        if let Some(other) = self.list(Some(order.chain_id)).await?.into_iter().find(other) {
            let (rental, running, wanted) = (order.rental, other.id.attempt, order.attempt);
            return Err(EngineError::AnotherAttempt { rental, running, wanted });
        }
        let folder = self.folder.join(&name);
        if let Some(known) = read_order(&folder).filter(|known| known.spec_hash != order.spec_hash) {
            return Err(EngineError::OtherWork { name, found: known.spec_hash, wanted: order.spec_hash });
        }
        if self.state(order.id()).await? != ContainerState::Missing {
            return Ok(Started { name, adopted: true });
        }
        self.prepare(order, &folder).await?;
        // The worker's own folder is another one.
        let in_dir = std::path::absolute(&order.in_dir).map_err(|source| EngineError::Io {
            what: "find",
            path: order.in_dir.clone(),
            source,
        })?;

        let stderr_path = folder.join("stderr");
        let stderr = File::options().create(true).append(true).open(&stderr_path);
        let stderr = stderr.map_err(|source| EngineError::Io { what: "create", path: stderr_path, source })?;
        let limits = &order.limits;
        let seconds = order.deadline_unix_s.saturating_sub(unix_s(SystemTime::now())).clamp(1, 7 * 86_400);
        // The child is not killed on drop: it must outlive the keeper. Tokio reaps it if the keeper lives.
        let mut child = tokio::process::Command::new("/bin/sh")
            .args(["-c", SCRIPT, "openclaw-worker"])
            .args([&folder, &self.worker, &in_dir])
            .arg((u64::from(limits.memory_mib) * 1_024).to_string())
            .arg((limits.disk_bytes() / 512).to_string())
            .arg((seconds as f64 * limits.cpus).ceil().to_string())
            .env_clear()
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|source| EngineError::Io { what: "run", path: "/bin/sh".into(), source })?;

        let until = Instant::now() + CLAIM_TIME;
        let mut ended = None;
        loop {
            if Claim::read(&folder).is_some() {
                break;
            }
            if ended.is_some() || Instant::now() >= until {
                let what =
                    format!("its shell did not begin ({ended:?}); is /bin/sh a POSIX shell? remove it and start again");
                return Err(EngineError::Process { name, what });
            }
            ended = child.try_wait().ok().flatten();
            sleep(Duration::from_millis(5)).await;
        }
        let adopted = ended.or_else(|| child.try_wait().ok().flatten()).is_some_and(|end| end.code() == Some(CLAIMED));
        Ok(Started { name, adopted })
    }

    pub(super) async fn state(&self, id: AttemptId) -> Result<ContainerState, EngineError> {
        Ok(self.state_in(&self.folder.join(self.owner.container(id))))
    }

    pub(super) async fn wait(&self, id: AttemptId, timeout: Duration) -> Result<ContainerState, EngineError> {
        let until = Instant::now() + timeout;
        loop {
            let state = self.state(id).await?;
            if !matches!(state, ContainerState::Running { .. }) || Instant::now() >= until {
                return Ok(state);
            }
            sleep(Duration::from_millis(50).min(until - Instant::now())).await;
        }
    }

    pub(super) async fn stop(&self, id: AttemptId) -> Result<(), EngineError> {
        let name = self.owner.container(id);
        let folder = self.folder.join(&name);
        let until = Instant::now() + Duration::from_secs(10);
        while let Some(pid) = Claim::read(&folder).filter(Claim::is_alive).and_then(|claim| Pid::from_raw(claim.pid)) {
            // Gone between the two calls is as good.
            let _ = kill_process_group(pid, Signal::KILL);
            if Instant::now() >= until {
                let what = "it does not end although it was killed; see what it waits for with `ps`".to_owned();
                return Err(EngineError::Process { name, what });
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) async fn collect(&self, order: &WorkOrder) -> Result<(), EngineError> {
        let name = self.owner.container(order.id());
        match self.state(order.id()).await? {
            ContainerState::Missing => return Err(EngineError::NotFound { name }),
            ContainerState::Running { .. } => return Err(EngineError::StillRunning { name }),
            ContainerState::Exited { .. } => {}
        }
        let source = self.folder.join(&name).join("out");
        let (target, max_bytes) = (order.out_dir.clone(), order.limits.disk_bytes());
        let copied = blocking(move || {
            let mut intake = Intake::begin(&target, max_bytes)?;
            copy_tree(&source, "", &mut intake)?;
            intake.commit()
        });
        copied.await.map_err(|source| EngineError::Outputs { name, source })
    }

    pub(super) async fn stderr_tail(&self, id: AttemptId) -> Result<String, EngineError> {
        use io::{Read, Seek, SeekFrom};
        let path = self.folder.join(self.owner.container(id)).join("stderr");
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES as u64)))?;
            let mut tail = Vec::new();
            file.take(STDERR_TAIL_BYTES as u64).read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => Ok(tail_text(&tail)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(EngineError::Io { what: "read", path, source }),
        }
    }

    pub(super) async fn remove(&self, id: AttemptId) -> Result<(), EngineError> {
        self.stop(id).await?;
        let name = self.owner.container(id);
        let folder = self.folder.join(&name);
        // Renamed first: a half-deleted folder must not pass for an attempt.
        let trash = self.folder.join(format!(".trash-{name}"));
        let failed = |source| EngineError::Io { what: "delete", path: folder.clone(), source };
        match fs::rename(&folder, &trash) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // What is left of a removal that was cut short is in the way.
                delete(&trash).await.map_err(failed)?;
                fs::rename(&folder, &trash).map_err(failed)?;
            }
            _ => {}
        }
        delete(&trash).await.map_err(failed)
    }

    pub(super) async fn list(&self, chain_id: Option<u64>) -> Result<Vec<Found>, EngineError> {
        let mut found = self.list_all().await?;
        found.retain(|found| found.owner == self.owner.name && chain_id.is_none_or(|chain| chain == found.id.chain_id));
        Ok(found)
    }

    /// Everything of every keeper.
    pub(super) async fn list_all(&self) -> Result<Vec<Found>, EngineError> {
        let failed = |source| EngineError::Io { what: "list", path: self.folder.clone(), source };
        let mut attempts = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let folder = entry.map_err(failed)?.path();
            // Folders that are being made or deleted have no order under the name that it gives.
            let Some(order) = read_order(&folder) else { continue };
            let (id, owner) = (order.id(), Owner::new(&order.owner));
            let name = owner.container(id);
            if folder.file_name() != Some(name.as_ref()) {
                continue;
            }
            let running = matches!(self.state_in(&folder), ContainerState::Running { .. });
            let (spec_hash, deadline_unix_s) = (order.spec_hash, order.deadline_unix_s);
            attempts.push(Found { id, spec_hash, deadline_unix_s, owner: owner.name, name, running });
        }
        attempts.sort_by_key(|found| found.id);
        Ok(attempts)
    }

    /// Makes the attempt's folder, whole or not at all; one that is there is kept.
    async fn prepare(&self, order: &WorkOrder, folder: &Path) -> Result<(), EngineError> {
        if read_order(folder).is_some() {
            return Ok(());
        }
        let labels = Order {
            chain_id: order.chain_id,
            rental: order.rental,
            attempt: order.attempt,
            spec_hash: order.spec_hash,
            deadline_unix_s: order.deadline_unix_s,
            owner: self.owner.name.clone(),
        };
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.folder.join(format!(".new-{name}"));
        let failed = |source| EngineError::Io { what: "create", path: folder.to_owned(), source };
        delete(&temporary).await.map_err(failed)?;
        let make = || {
            fs::create_dir_all(temporary.join("out"))?;
            fs::write(temporary.join("order.json"), serde_json::to_vec(&labels)?)?;
            fs::rename(&temporary, folder)
        };
        make().map_err(failed)
    }

    fn state_in(&self, folder: &Path) -> ContainerState {
        let Some(claim) = Claim::read(folder) else { return ContainerState::Missing };
        let started_unix_s = modified_unix_s(&folder.join("pid"));
        // The order matters: a shell that ends in between has written `exit` before.
        let alive = claim.is_alive();
        match read_exit(folder) {
            Some(code) => {
                let finished_unix_s = modified_unix_s(&folder.join("exit"));
                ContainerState::Exited { code, oom_killed: false, started_unix_s, finished_unix_s }
            }
            None if alive => ContainerState::Running { started_unix_s },
            // Killed together with its shell, or the machine went down.
            None => {
                let finished_unix_s = modified_unix_s(folder).max(started_unix_s);
                ContainerState::Exited { code: 137, oom_killed: false, started_unix_s, finished_unix_s }
            }
        }
    }
}

fn read_order(folder: &Path) -> Option<Order> {
    serde_json::from_slice(&fs::read(folder.join("order.json")).ok()?).ok()
}

fn read_exit(folder: &Path) -> Option<i32> {
    fs::read_to_string(folder.join("exit")).ok()?.strip_suffix(" end\n")?.parse().ok()
}

fn modified_unix_s(path: &Path) -> u64 {
    fs::metadata(path).and_then(|found| found.modified()).map_or(0, unix_s)
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Copies regular files and folders; anything else is refused.
fn copy_tree(folder: &Path, prefix: &str, intake: &mut Intake) -> Result<(), LayoutError> {
    let at = |path: &Path, source| LayoutError::Io { path: path.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(|source| at(folder, source))? {
        let entry = entry.map_err(|source| at(folder, source))?;
        let (source, file_name) = (entry.path(), entry.file_name());
        let name = file_name.to_str().ok_or_else(|| LayoutError::Path {
            path: file_name.to_string_lossy().escape_debug().to_string(),
            why: "it is not UTF-8",
        })?;
        let path = format!("{prefix}{name}");
        // Of the entry itself: a link is not followed.
        let kind = entry.file_type().map_err(|error| at(&source, error))?;
        if kind.is_dir() {
            intake.folder(&path)?;
            copy_tree(&source, &format!("{path}/"), intake)?;
        } else if kind.is_file() {
            let mut file = File::open(&source).map_err(|error| at(&source, error))?;
            intake.file(&path, &mut file)?;
        } else {
            let kind = if kind.is_symlink() { "symbolic link" } else { "special file" };
            return Err(LayoutError::Kind { path: path.escape_debug().to_string(), kind });
        }
    }
    Ok(())
}

async fn delete(folder: &Path) -> io::Result<()> {
    let folder = folder.to_owned();
    match blocking(move || fs::remove_dir_all(folder)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs `work` on a blocking thread; a panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down; nothing after this point runs.
            Err(_) => std::future::pending().await,
        },
    }
}
