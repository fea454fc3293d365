//! The cast: one process each for the agent's keeper and the providers' keepers, with their own keys and folders.

use std::{
    fs::File,
    ops::ControlFlow,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use eyre::{Context as _, bail};
use keeper::{
    metrics,
    socket::{self, Reply, Request},
};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::stage::{self, Stage};

/// Time in which a keeper must answer its socket.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running keeper.
#[derive(Debug)]
pub(crate) struct Actor {
    /// Name; also of its config and folder.
    pub name: &'static str,
    /// Data folder.
    pub data_dir: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Bytes of the log that are from before the last start.
    log_before: u64,
    child: Child,
}

impl Actor {
    /// Starts a keeper and waits until it answers.
    pub(crate) async fn start(stage: &Stage, name: &'static str) -> eyre::Result<Self> {
        let (config, data_dir) = (stage.config(name), stage.data_dir(name));
        let log = stage.data.join(format!("{name}.log"));
        let child = spawn(&config, &log, None)?;
        let mut actor = Self { name, data_dir, config, log, log_before: 0, child };
        actor.ready(READY_WITHIN).await?;
        Ok(actor)
    }

    /// Ends the process as a crash would.
    pub(crate) async fn crash(&mut self) -> eyre::Result<()> {
        self.child.kill().await.wrap_err_with(|| format!("killing {}", self.name))
    }

    /// Starts it again on the same folder, to die where `crash_at` says if it says; does not wait for its answer.
    pub(crate) fn come_back(&mut self, crash_at: Option<&str>) -> eyre::Result<()> {
        self.log_before = std::fs::metadata(&self.log)?.len();
        self.child = spawn(&self.config, &self.log, crash_at)?;
        Ok(())
    }

    /// Whether it has said since its last start that it is ready.
    pub(crate) fn was_ready(&self) -> eyre::Result<bool> {
        let log = std::fs::read(&self.log)?;
        let since = log.get(self.log_before as usize..).unwrap_or_default();
        Ok(String::from_utf8_lossy(since).contains("keeper ready"))
    }

    /// Whether its process is over.
    pub(crate) fn has_ended(&mut self) -> eyre::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Whether it was killed, by somebody or by itself.
    ///
    /// # Errors
    /// When it ended in another way.
    pub(crate) fn was_killed(&mut self) -> eyre::Result<bool> {
        match self.child.try_wait()? {
            Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => Ok(true),
            _ => self.check().map(|()| false),
        }
    }

    /// Memory its process holds, MiB; `None` while there is none.
    pub(crate) fn resident_mib(&self) -> Option<u64> {
        metrics::resident_bytes(self.child.id()?).map(|bytes| bytes >> 20)
    }

    /// An error when the process has ended by itself.
    pub(crate) fn check(&mut self) -> eyre::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); the end of {}:\n{}", self.name, self.log.display(), tail(&self.log))
            }
        }
    }

    /// Asks for a document.
    pub(crate) async fn document(&self, request: Request) -> eyre::Result<serde_json::Value> {
        match socket::ask(&self.data_dir, &request, |_| ControlFlow::Continue(())).await? {
            Reply::Document { body } => Ok(body),
            other => bail!("{}: unexpected reply {other:?}", self.name),
        }
    }

    /// Asks it to end, and ends it if it does not.
    pub(crate) async fn stop(mut self) {
        let asked = socket::ask(&self.data_dir, &Request::Stop, |_| ControlFlow::Continue(()));
        let _ = tokio::time::timeout(Duration::from_secs(3), asked).await;
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self, within: Duration) -> eyre::Result<()> {
        let since = Instant::now();
        while since.elapsed() < within {
            self.check()?;
            if self.document(Request::Status).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} does not answer after {within:?}; the end of {}:\n{}", self.name, self.log.display(), tail(&self.log))
    }
}

fn spawn(config: &Path, log: &Path, crash_at: Option<&str>) -> eyre::Result<Child> {
    // Beside this program, or one folder up from a test's.
    let own = std::env::current_exe()?;
    let program = own.ancestors().skip(1).take(2).map(|folder| folder.join("keeper")).find(|path| path.is_file());
    let program =
        program.ok_or_else(|| eyre::eyre!("there is no keeper beside {}; build the workspace", own.display()))?;
    let log = File::options().create(true).append(true).open(log)?;
    Command::new(&program)
        .args(["run", "--config"])
        .arg(config)
        .env(stage::PASSWORD_VARIABLE, stage::password())
        .env("NO_COLOR", "1")
        .envs(crash_at.map(|point| (keeper::crash::VARIABLE, point)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .wrap_err_with(|| format!("{} does not start; build the workspace first", program.display()))
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
