//! A provider's side: the workers of a started rental, task after task, from their inputs to signed receipts.

mod attempt;
mod keep;

use std::{path::PathBuf, time::Duration};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use contracts::ids::AgreementId;
use indexer::rows::AgreementRow;
use tracing::warn;

use super::{ErrandError, KILLED, retry};
use crate::{
    act::containers::{Engine, Limits, WorkOrder, layout},
    blobs::{RentalFiles, Store},
    clock::now_s,
    journal::{Attempt, AttemptState, Journal, WorkResult},
    spec::{TaskName, TaskSpec},
};

/// A worker gets this much less than the rental's time, so that its result can still be submitted, seconds.
pub(super) const SUBMIT_MARGIN_S: u64 = 5;

/// A rental that is kept for more tasks looks for them this often.
const LOOK_FOR_MORE: Duration = Duration::from_millis(200);

/// Copying and hashing files must not hold up the loop's threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrandError> {
    tokio::task::spawn_blocking(work).await.map_err(retry)
}

/// What a provider needs to run workers.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// Runs containers.
    pub engine: Engine,
    /// Worker image.
    pub image: B256,
    /// What each worker may use.
    pub limits: Limits,
    /// CDI ids of the accelerators, of which each worker gets one.
    pub devices: Vec<String>,
    /// Blobs.
    pub store: Store,
    /// Folder for `/in` and `/out`.
    pub work_dir: PathBuf,
    /// Signs receipts.
    pub key: PrivateKeySigner,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Memory.
    pub journal: Journal,
}

/// What is to be done next for a rental.
enum Next {
    Task(TaskName, TaskSpec),
    /// Nothing for now, but more may come.
    Wait,
    /// All is done; so many specs were pushed.
    Seal(usize),
}

impl Workshop {
    /// Brings the work of a started rental to its result and keeps that: its own tasks, then those that are pushed while it
    /// runs, one after the other. Goes on with the live attempt, running or ended, or makes a new one while time allows. An
    /// engine that does not answer is asked until the rental's time is long over; it costs no attempt.
    ///
    /// # Errors
    /// [`ErrandError::Retry`] when an attempt was lost, or engine or disk failed; a worker's own failure is a result.
    pub async fn work(&self, row: &AgreementRow) -> Result<WorkResult, ErrandError> {
        let made = self.journal.result(row.id).map_err(retry)?.filter(|made| made.spec_hash == row.spec_hash);
        let mut made = made.unwrap_or_else(|| WorkResult::begun(row.spec_hash));
        if made.is_final {
            // A crash after the result was kept may have left what it was made with.
            self.clear_away(row.id, |_| true).await;
            return Ok(made);
        }
        let started = row.started.as_ref().ok_or_else(|| retry("the rental has not started"))?;
        let deadline_unix_s = started.end_time_s.saturating_sub(SUBMIT_MARGIN_S).max(started.time_s + 1);
        let mut idle_since_s = now_s();
        while !made.is_final {
            let files =
                self.store.rental(row.id).await.ok_or_else(|| retry("nothing was delivered for this rental"))?;
            let keep_warm_s = files.spec.as_ref().map_or(0, |spec| u64::from(spec.keep_warm_s));
            // What an agent pays for waiting is bound by what it asked for.
            let waited_s = || now_s().saturating_sub(idle_since_s).min(keep_warm_s);
            let live = self.journal.attempts(row.id).map_err(retry)?.pop().filter(|last| last.state.is_live());
            match next(&files, row, &made, live.as_ref(), idle_since_s, deadline_unix_s)? {
                Next::Task(name, task) => {
                    made.idle_s += if made.tasks.is_empty() { 0 } else { waited_s() };
                    let is_begun = live.is_some_and(|live| live.is_at(&name));
                    let is_late = !made.tasks.is_empty() && !is_begun && now_s() >= deadline_unix_s;
                    match is_late {
                        true => self.give_up(row, &name, &mut made).await?,
                        false => self.do_task(row, &files, &name, task, deadline_unix_s, &mut made).await?,
                    }
                    idle_since_s = now_s();
                }
                Next::Wait => tokio::time::sleep(LOOK_FOR_MORE).await,
                Next::Seal(known) => {
                    if self.store.seal(row.id, known).await.map_err(retry)? {
                        made.idle_s += waited_s();
                        made.is_final = true;
                        self.journal.keep_result(row.id, &made).map_err(retry)?;
                    }
                }
            }
        }
        Ok(made)
    }

    /// Brings one task to its result.
    async fn do_task(
        &self,
        row: &AgreementRow,
        files: &RentalFiles,
        name: &TaskName,
        task: TaskSpec,
        deadline_unix_s: u64,
        made: &mut WorkResult,
    ) -> Result<(), ErrandError> {
        let is_only = files.spec.as_ref().is_some_and(|spec| spec.keep_warm_s == 0 && spec.tasks.len() == 1);
        let attempt = self.live_attempt(row, name, is_only, deadline_unix_s).await?;
        let order = WorkOrder {
            chain_id: self.chain_id,
            rental: row.id,
            attempt: attempt.number,
            spec_hash: row.spec_hash,
            image: self.image,
            in_dir: self.folder(row.id, "in"),
            out_dir: self.folder(row.id, "out"),
            limits: self.limits,
            devices: self.devices.clone(),
            deadline_unix_s,
        };
        // An attempt that was started is never started again: if it is gone, it is lost.
        if attempt.state == AttemptState::Planned {
            self.refuse_late_start(&order).await?;
            let (store, in_dir, rental, spec_hash) = (self.store.clone(), order.in_dir.clone(), row.id, name.spec_hash);
            blocking(move || layout::write_inputs(&in_dir, rental, spec_hash, &task, |hash| store.blob_path(hash)))
                .await?
                .map_err(retry)?;
            self.start(&order).await?;
        }
        let (code, seconds) = self.beating(row, &name.task_id, self.finish(&order)).await?;
        let outputs = self.collect(&order).await?;
        self.keep(name, &order, outputs, (code, seconds), is_only, made).await?;
        self.clear_away(row.id, |attempt| attempt.is_at(name)).await;
        Ok(())
    }

    /// Takes away what results were made with, of the attempts that `which` says. The results are safe by now: what stays is
    /// removed when containers are compared with the chain.
    async fn clear_away(&self, rental: AgreementId, which: impl Fn(&Attempt) -> bool) {
        for attempt in self.journal.attempts(rental).unwrap_or_default().into_iter().filter(which) {
            if let Err(error) = self.engine.remove(self.attempt(rental, attempt.number)).await {
                warn!(%rental, attempt = attempt.number, %error, "a container stays behind for now");
            }
        }
        self.clear(rental);
    }

    fn folder(&self, rental: AgreementId, side: &str) -> PathBuf {
        self.work_dir.join(format!("{rental}-{side}"))
    }

    fn clear(&self, rental: AgreementId) {
        for dir in [self.folder(rental, "in"), self.folder(rental, "out")] {
            if let Err(error) = std::fs::remove_dir_all(&dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(dir = %dir.display(), %error, "a work folder stays behind");
            }
        }
    }
}

/// What is to be done next for a rental whose results so far are `made`; `live` is an attempt that was not brought to its end.
fn next(
    files: &RentalFiles,
    row: &AgreementRow,
    made: &WorkResult,
    live: Option<&Attempt>,
    idle_since_s: u64,
    deadline_unix_s: u64,
) -> Result<Next, ErrandError> {
    let own = files.spec.as_ref().filter(|_| files.spec_hash == row.spec_hash);
    let own = own.ok_or_else(|| retry("the spec of this rental has not arrived"))?;
    let pushed = files.pushed.iter().map(|pushed| (pushed.spec_hash, &pushed.spec, pushed.is_complete));
    let named = std::iter::once((row.spec_hash, own, true)).chain(pushed).flat_map(|(spec_hash, spec, is_complete)| {
        spec.tasks.iter().map(move |task| (TaskName { spec_hash, task_id: task.task_id.clone() }, task, is_complete))
    });
    let open: Vec<_> = named.filter(|(name, ..)| !made.has(name)).collect();
    let begun = open.iter().find(|(name, ..)| live.is_some_and(|live| live.is_at(name)));
    if let Some((name, task, _)) = begun.or_else(|| open.iter().find(|(_, _, is_complete)| *is_complete)) {
        return Ok(Next::Task(name.clone(), (*task).clone()));
    }
    let last_push_s = files.pushed.iter().map(|pushed| pushed.at_unix_s).max().unwrap_or_default();
    let wait_until_s = idle_since_s.max(last_push_s) + u64::from(own.keep_warm_s);
    match own.keep_warm_s > 0 && now_s() < wait_until_s.min(deadline_unix_s) {
        true => Ok(Next::Wait),
        false => Ok(Next::Seal(files.pushed.len())),
    }
}
