//! A steady stream of work: as many jobs at once as the providers have slots, some of them of several tasks in rentals that
//! are kept, so that later ones ride in them.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use contracts::classes::HardwareClass;
use keeper::socket::{self, ClientError, Reply, Request};
use tokio_util::sync::CancellationToken;

use crate::{
    stage::{PROVIDERS, Stage},
    work::{Piece, pieces},
};

/// Every so manieth piece of work asks for its rental to be kept.
const KEPT_EVERY: usize = 4;
/// For so long, seconds.
const KEEP_WARM_S: u32 = 8;
/// Longest kept rental, seconds: others fit into what its own tasks leave.
const KEPT_S: u32 = 150;

/// The stream, until it is ended.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<eyre::Result<()>>,
}

impl Load {
    /// Starts handing work to the agent.
    ///
    /// # Errors
    /// When the inputs cannot be worked on.
    pub(crate) fn begin(stage: &Stage, inputs: &[PathBuf]) -> eyre::Result<Self> {
        let stop = CancellationToken::new();
        let mut pieces = pieces(inputs, &stage.data.join("results"))?;
        for piece in pieces.iter_mut().step_by(KEPT_EVERY) {
            let again = piece.request.tasks.clone();
            piece.request.tasks.extend(again);
            (piece.request.keep_warm_s, piece.request.max_duration_s) = (KEEP_WARM_S, KEPT_S);
        }
        // One piece is for a class of its own, so that it never rides with the others and each provider has work.
        if let Some(piece) = pieces.get_mut(1) {
            piece.request.class = Some(HardwareClass::MidRangeGpu);
        }
        let task = tokio::spawn(hand_in(stage.data_dir("agent"), pieces, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Hands nothing in any more.
    ///
    /// # Errors
    /// When the agent refused a piece of work.
    pub(crate) async fn end(self) -> eyre::Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn hand_in(agent: PathBuf, pieces: Vec<Piece>, stop: CancellationToken) -> eyre::Result<()> {
    let at_once = PROVIDERS.iter().map(|role| usize::from(role.slots)).sum();
    let mut next = pieces.iter().cycle();
    while !stop.is_cancelled() {
        if active(&agent).await?.is_some_and(|active| active < at_once)
            && let Some(piece) = next.next()
        {
            match socket::ask(&agent, &Request::Rent(piece.request.clone()), |_| ControlFlow::Break(())).await {
                Ok(Reply::Error { text }) => eyre::bail!("{}: {text}", piece.label),
                Ok(_) => continue,
                // The agent is away, or went away: it has the job or not, and either is fine.
                Err(ClientError::Reply(error)) => return Err(error.into()),
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Jobs that are not over; `None` while the agent is away.
async fn active(agent: &Path) -> eyre::Result<Option<usize>> {
    match socket::ask(agent, &Request::Status, |_| ControlFlow::Continue(())).await {
        Ok(Reply::Document { body }) => {
            let jobs = body["jobs"].as_array().cloned().unwrap_or_default();
            Ok(Some(jobs.iter().filter(|job| job["outcome"]["state"] == "active").count()))
        }
        Ok(Reply::Error { text }) => eyre::bail!("the agent's status: {text}"),
        Ok(_) | Err(ClientError::NoKeeper(_) | ClientError::Gone | ClientError::Io(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until every job is over.
///
/// # Errors
/// When the agent's answers make no sense.
pub(crate) async fn await_jobs(stage: &Stage) -> eyre::Result<()> {
    let agent = stage.data_dir("agent");
    while active(&agent).await? != Some(0) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
