//! A provider's side: the worker of a started rental, from its inputs to a signed receipt.

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{B256, Bytes},
    signers::{Signer, local::PrivateKeySigner},
};
use contracts::ids::AgreementId;
use indexer::rows::AgreementRow;
use tracing::{info, warn};

use super::{ErrandError, KILLED, retry};
use crate::{
    act::containers::{AttemptId, ContainerState, Engine, EngineError, Limits, WorkOrder, layout},
    blobs::{ResultDocument, Store},
    clock::now_s,
    journal::{Attempt, AttemptState, Journal, WorkResult},
    spec::{Manifest, Receipt, result_hash, sha256},
};

/// A worker gets this much less than the rental's time, so that its result can still be submitted, seconds.
const SUBMIT_MARGIN_S: u64 = 5;

/// An engine that does not answer is asked for so long after a worker's time, seconds; its outputs may still count.
const PATIENCE_S: u64 = 120;

/// Exit code of a worker that was asked to end.
const TERMINATED: i32 = 143;

/// Opens the reason of an attempt that was lost this way.
const KILLED_FROM_OUTSIDE: &str = "its worker was killed, not by this keeper";

/// Longest pause between two questions to an engine that does not answer.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// Copying and hashing files must not hold up the loop's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrandError> {
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

impl Workshop {
    /// Brings the work of a started rental to its result and keeps that: goes on with the live attempt, running or ended, or
    /// makes a new one while time allows. An engine that does not answer is asked until the rental's time is long over; it
    /// costs no attempt.
    ///
    /// # Errors
    /// [`ErrandError::Retry`] when an attempt was lost, or engine or disk failed; the worker's own failure is a result.
    pub async fn work(&self, row: &AgreementRow) -> Result<WorkResult, ErrandError> {
        let made = self.journal.result(row.id).map_err(retry)?;
        if let Some(result) = made.filter(|made| made.receipt.spec_hash == row.spec_hash) {
            // A crash after the result was kept may have left what it was made with.
            self.clear_away(row.id).await;
            return Ok(result);
        }
        let started = row.started.as_ref().ok_or_else(|| retry("the rental has not started"))?;
        let files = self.store.rental(row.id).await.ok_or_else(|| retry("nothing was delivered for this rental"))?;
        let spec = files.spec.filter(|_| files.spec_hash == row.spec_hash);
        let spec = spec.ok_or_else(|| retry("the spec of this rental has not arrived"))?;
        let task_id = spec.tasks.first().map(|task| task.task_id.clone()).unwrap_or_default();
        let deadline_unix_s = started.end_time_s.saturating_sub(SUBMIT_MARGIN_S).max(started.time_s + 1);
        let attempt = self.live_attempt(row, deadline_unix_s).await?;
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
            let (store, in_dir, rental, spec_hash) = (self.store.clone(), order.in_dir.clone(), row.id, row.spec_hash);
            blocking(move || layout::write_inputs(&in_dir, rental, spec_hash, &spec, |hash| store.blob_path(hash)))
                .await?
                .map_err(retry)?;
            self.start(&order).await?;
        }
        let (code, seconds) = self.beating(row, &task_id, self.finish(&order)).await?;
        let outputs = self.collect(&order).await?;
        let result = self.keep(row, &task_id, &order, outputs, code, seconds).await?;
        self.clear_away(row.id).await;
        Ok(result)
    }

    /// The attempt to go on with: the live one, one of this spec that the engine holds though the journal does not know it,
    /// or a new one.
    async fn live_attempt(&self, row: &AgreementRow, deadline_unix_s: u64) -> Result<Attempt, ErrandError> {
        let rental = row.id;
        if let Some(live) = self.journal.attempts(rental).map_err(retry)?.pop().filter(|last| last.state.is_live()) {
            if live.spec_hash == row.spec_hash {
                return Ok(live);
            }
            let why = "the rental's id stands for other work since a reorganisation";
            self.lose(rental, live.number, why).await?;
        }
        let last = self.journal.attempts(rental).map_err(retry)?.last().map_or(0, |last| last.number);
        let held = self.patiently(deadline_unix_s, || self.engine.list(self.chain_id)).await.map_err(retry)?;
        let held: Vec<_> = held.into_iter().filter(|found| found.id.rental == rental).collect();
        let known = held.iter().rfind(|found| found.id.attempt > last && found.spec_hash == row.spec_hash);
        let number = match known {
            Some(found) => {
                warn!(%rental, container = %found.name, "the journal does not know this attempt; it is adopted");
                found.id.attempt
            }
            None if now_s() >= deadline_unix_s => {
                return Err(retry("no attempt is left, and no time for another one"));
            }
            None => held.iter().map(|found| found.id.attempt).fold(last, u32::max) + 1,
        };
        for other in held.iter().filter(|found| found.id.attempt != number) {
            self.patiently(deadline_unix_s, || self.engine.remove(other.id)).await.map_err(retry)?;
        }
        self.journal.plan_attempt(rental, row.spec_hash, number, now_s()).map_err(retry)?;
        Ok(Attempt { number, spec_hash: row.spec_hash, at_s: now_s(), state: AttemptState::Planned })
    }

    /// A planned attempt may have been started before a crash, and is then collected; but none starts after its time.
    async fn refuse_late_start(&self, order: &WorkOrder) -> Result<(), ErrandError> {
        if now_s() < order.deadline_unix_s {
            return Ok(());
        }
        let until_s = order.deadline_unix_s + PATIENCE_S;
        match self.patiently(until_s, || self.engine.state(order.id())).await.map_err(retry)? {
            ContainerState::Missing => {
                let why = "its time was over before it began";
                self.lose(order.rental, order.attempt, why).await?;
                Err(retry(format!("attempt {}: {why}", order.attempt)))
            }
            _ => Ok(()),
        }
    }

    async fn start(&self, order: &WorkOrder) -> Result<(), ErrandError> {
        let until_s = order.deadline_unix_s;
        match self.patiently(until_s, || self.engine.start(order)).await {
            Ok(began) => {
                info!(rental = %order.rental, container = %began.name, adopted = began.adopted, "worker runs");
                let state = AttemptState::Started;
                self.journal.move_attempt(order.rental, order.attempt, state, now_s()).map_err(retry)
            }
            Err(error @ EngineError::OtherWork { .. }) => {
                let why = error.to_string();
                self.lose(order.rental, order.attempt, &why).await?;
                Err(retry(why))
            }
            Err(error) => Err(retry(error)),
        }
    }

    /// Waits for the worker, and ends it at its deadline. Gives its exit code and the seconds it ran, rounded up.
    async fn finish(&self, order: &WorkOrder) -> Result<(i32, u64), ErrandError> {
        let until_s = order.deadline_unix_s + PATIENCE_S;
        let wait = || {
            let left_s = order.deadline_unix_s.saturating_sub(now_s());
            self.engine.wait(order.id(), Duration::from_secs(left_s))
        };
        let mut state = self.patiently(until_s, wait).await.map_err(retry)?;
        let ended = matches!(state, ContainerState::Running { .. });
        if ended {
            warn!(rental = %order.rental, "the worker's time is over; it is ended");
            self.patiently(until_s, || self.engine.stop(order.id())).await.map_err(retry)?;
            state = self.patiently(until_s, || self.engine.state(order.id())).await.map_err(retry)?;
        }
        match state {
            ContainerState::Exited { code, oom_killed, started_unix_s, finished_unix_s } => {
                let code = if oom_killed { KILLED } else { code };
                if !ended && !oom_killed && self.may_be_the_engines(order, code)? {
                    let why = format!("{KILLED_FROM_OUTSIDE}: exit code {code}");
                    self.lose(order.rental, order.attempt, &why).await?;
                    return Err(retry(format!("attempt {}: {why}", order.attempt)));
                }
                Ok((code, finished_unix_s.saturating_sub(started_unix_s).max(1)))
            }
            ContainerState::Running { .. } => Err(retry("the worker could not be ended; the engine is asked again")),
            ContainerState::Missing => {
                let why = "its container is gone";
                self.lose(order.rental, order.attempt, why).await?;
                Err(retry(format!("attempt {}: {why}", order.attempt)))
            }
        }
    }

    /// Whether a worker's end may be the engine's doing: one that is shut down kills what it runs, and for a moment that looks
    /// like the worker's own end. The first such end is not held against the worker while time allows another attempt; a
    /// second one is its result, since a worker can also kill itself.
    fn may_be_the_engines(&self, order: &WorkOrder, code: i32) -> Result<bool, ErrandError> {
        if !matches!(code, KILLED | TERMINATED) || now_s() >= order.deadline_unix_s {
            return Ok(false);
        }
        let attempts = self.journal.attempts(order.rental).map_err(retry)?;
        let before = attempts.iter().any(|attempt| {
            attempt.spec_hash == order.spec_hash
                && matches!(&attempt.state, AttemptState::Lost { why } if why.starts_with(KILLED_FROM_OUTSIDE))
        });
        Ok(!before)
    }

    /// Brings the outputs into the order's folder. What a worker may not write is its own failure, given as text.
    async fn collect(&self, order: &WorkOrder) -> Result<Result<(), String>, ErrandError> {
        let until_s = order.deadline_unix_s + PATIENCE_S;
        match self.patiently(until_s, || self.engine.collect(order)).await {
            Ok(()) => Ok(Ok(())),
            Err(EngineError::Outputs { source, .. }) if source.is_by_worker() => Ok(Err(source.to_string())),
            Err(error @ (EngineError::OutputsLost { .. } | EngineError::NotFound { .. })) => {
                let why = error.to_string();
                self.lose(order.rental, order.attempt, &why).await?;
                Err(retry(why))
            }
            Err(error) => Err(retry(error)),
        }
    }

    /// Journals that an attempt came to nothing, then takes its rest away: in this order, since what is gone from the engine
    /// must not count as live.
    async fn lose(&self, rental: AgreementId, number: u32, why: &str) -> Result<(), ErrandError> {
        warn!(%rental, attempt = number, why, "an attempt is lost");
        let state = AttemptState::Lost { why: why.to_owned() };
        self.journal.move_attempt(rental, number, state, now_s()).map_err(retry)?;
        self.patiently(now_s() + PATIENCE_S, || self.engine.remove(self.attempt(rental, number)))
            .await
            .map_err(retry)?;
        Ok(())
    }

    /// Asks an engine that does not answer, or is busy, again and again until `until_s`.
    async fn patiently<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        until_s: u64,
        ask: impl Fn() -> F,
    ) -> Result<T, EngineError> {
        let mut pause = Duration::from_millis(100);
        loop {
            match ask().await {
                Err(error) if error.is_retryable() && now_s() < until_s => {
                    warn!(%error, "the engine is asked again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    fn attempt(&self, rental: AgreementId, attempt: u32) -> AttemptId {
        AttemptId { chain_id: self.chain_id, rental, attempt }
    }

    /// Takes away what a rental's result was made with. The result is safe by now: what stays is removed when containers are
    /// compared with the chain.
    async fn clear_away(&self, rental: AgreementId) {
        for attempt in self.journal.attempts(rental).unwrap_or_default() {
            if let Err(error) = self.engine.remove(self.attempt(rental, attempt.number)).await {
                warn!(%rental, attempt = attempt.number, %error, "a container stays behind for now");
            }
        }
        self.clear(rental);
    }

    /// Signs the receipt, publishes the outputs, journals the result.
    async fn keep(
        &self,
        row: &AgreementRow,
        task_id: &str,
        order: &WorkOrder,
        collected: Result<(), String>,
        code: i32,
        seconds: u64,
    ) -> Result<WorkResult, ErrandError> {
        let outputs = match collected {
            Err(refused) => Err(refused),
            Ok(()) => {
                let (out_dir, disk_bytes) = (order.out_dir.clone(), u64::from(order.limits.disk_mib) << 20);
                match blocking(move || layout::read_outputs(&out_dir, disk_bytes)).await? {
                    Ok(outputs) if names(&outputs.manifest, row.spec_hash, task_id) => Ok(outputs),
                    Ok(_) => Err("manifest.json names another spec or task".to_owned()),
                    Err(error) if error.is_by_worker() => Err(error.to_string()),
                    // This machine's disk must not cost the worker its result.
                    Err(error) => return Err(retry(error)),
                }
            }
        };
        let (manifest, manifest_bytes) = match outputs {
            Ok(outputs) => (outputs.manifest, outputs.manifest_bytes),
            // A worker that was killed, broke, or wrote what it may not, leaves no list: its result is an empty one and its
            // exit code.
            Err(error) => {
                let tail = self.engine.stderr_tail(order.id()).await.unwrap_or_default();
                warn!(rental = %row.id, code, %error, stderr = %tail, "the worker left no usable result");
                let manifest =
                    Manifest { version: 1, task_id: task_id.into(), spec_sha256: row.spec_hash, files: Vec::new() };
                let bytes = serde_json::to_vec(&manifest).map_err(retry)?;
                (manifest, bytes)
            }
        };
        // A worker without a manifest that says it succeeded did not succeed.
        let exit_code = if manifest.files.is_empty() && code == 0 { KILLED } else { code };
        let manifest_sha256 = sha256(&manifest_bytes);
        let receipt = Receipt {
            rental: row.id,
            task_id: task_id.into(),
            spec_hash: row.spec_hash,
            manifest_sha256,
            exit_code,
            result_hash: result_hash(row.id, row.spec_hash, manifest_sha256, exit_code),
            seconds,
            sequence: self.store.next_sequence(row.id).await.map_err(retry)?,
        };
        let signature = self.key.sign_hash(&receipt.digest()).await.map_err(retry)?.as_bytes().to_vec();
        let signature = Bytes::from(signature);
        let document = ResultDocument {
            exit_code,
            manifest: String::from_utf8(manifest_bytes).map_err(retry)?,
            receipt: receipt.clone(),
            receipt_signature: signature.clone(),
        };
        self.store.publish_result(row.id, document, &order.out_dir).await.map_err(retry)?;
        let result = WorkResult { receipt, signature, manifest };
        self.journal.accept(row.id, order.attempt, &result, now_s()).map_err(retry)?;
        Ok(result)
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

fn names(manifest: &Manifest, spec_hash: B256, task_id: &str) -> bool {
    manifest.spec_sha256 == spec_hash && manifest.task_id == task_id
}
