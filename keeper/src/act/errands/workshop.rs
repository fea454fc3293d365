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
    act::containers::{AttemptId, ContainerState, Engine, Limits, WorkOrder, layout},
    blobs::{ResultDocument, Store},
    clock::now_s,
    journal::{Journal, WorkResult},
    spec::{Manifest, Receipt, result_hash, sha256},
};

/// A worker gets this much less than the rental's time, so that its result can still be submitted, seconds.
const SUBMIT_MARGIN_S: u64 = 5;

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
    /// Runs the worker of a started rental to its end and keeps its result.
    ///
    /// # Errors
    /// [`ErrandError::Retry`] when the engine or the disk failed; the worker's own failure is a result.
    pub async fn work(&self, row: &AgreementRow, attempt: u32) -> Result<WorkResult, ErrandError> {
        let made = self.journal.result(row.id).map_err(retry)?;
        if let Some(result) = made.filter(|made| made.receipt.spec_hash == row.spec_hash) {
            // A crash after the result was kept may have left what it was made with.
            for earlier in 1..=attempt {
                self.engine.remove(self.attempt(row.id, earlier)).await.map_err(retry)?;
            }
            self.clear(row.id);
            return Ok(result);
        }
        let started = row.started.as_ref().ok_or_else(|| retry("the rental has not started"))?;
        let files = self.store.rental(row.id).await.ok_or_else(|| retry("nothing was delivered for this rental"))?;
        let spec = files.spec.filter(|_| files.spec_hash == row.spec_hash);
        let spec = spec.ok_or_else(|| retry("the spec of this rental has not arrived"))?;
        let task_id = spec.tasks.first().map(|task| task.task_id.clone()).unwrap_or_default();
        let deadline_unix_s = started.end_time_s.saturating_sub(SUBMIT_MARGIN_S).max(started.time_s + 1);
        // An attempt that went wrong is taken away before the next one starts.
        for earlier in 1..attempt {
            self.engine.remove(self.attempt(row.id, earlier)).await.map_err(retry)?;
        }
        let order = WorkOrder {
            chain_id: self.chain_id,
            rental: row.id,
            attempt,
            image: self.image,
            in_dir: self.folder(row.id, "in"),
            out_dir: self.folder(row.id, "out"),
            limits: self.limits,
            deadline_unix_s,
        };
        let (store, in_dir, rental, spec_hash) = (self.store.clone(), order.in_dir.clone(), row.id, row.spec_hash);
        blocking(move || layout::write_inputs(&in_dir, rental, spec_hash, &spec, |hash| store.blob_path(hash)))
            .await?
            .map_err(retry)?;
        let began = self.engine.start(&order).await.map_err(retry)?;
        info!(rental = %row.id, container = %began.name, adopted = began.adopted, "worker runs");
        let (code, seconds) = self.beating(row, &task_id, self.finish(&order)).await?;
        self.engine.collect(&order).await.map_err(retry)?;
        let result = self.keep(row, &task_id, &order, code, seconds).await?;
        self.engine.remove(order.id()).await.map_err(retry)?;
        self.clear(row.id);
        Ok(result)
    }

    fn attempt(&self, rental: AgreementId, attempt: u32) -> AttemptId {
        AttemptId { chain_id: self.chain_id, rental, attempt }
    }

    /// Waits for the worker, and ends it at its deadline. Gives its exit code and the seconds it ran, rounded up.
    async fn finish(&self, order: &WorkOrder) -> Result<(i32, u64), ErrandError> {
        let left_s = order.deadline_unix_s.saturating_sub(now_s());
        let mut state = self.engine.wait(order.id(), Duration::from_secs(left_s)).await.map_err(retry)?;
        if let ContainerState::Running { .. } = state {
            warn!(rental = %order.rental, "the worker's time is over; it is ended");
            self.engine.stop(order.id()).await.map_err(retry)?;
            state = self.engine.state(order.id()).await.map_err(retry)?;
        }
        match state {
            ContainerState::Exited { code, oom_killed, started_unix_s, finished_unix_s } => {
                let code = if oom_killed { KILLED } else { code };
                Ok((code, finished_unix_s.saturating_sub(started_unix_s).max(1)))
            }
            ContainerState::Running { .. } => Err(retry("the worker could not be ended; the engine is asked again")),
            ContainerState::Missing => Err(retry("the worker's container is gone")),
        }
    }

    /// Signs the receipt, publishes the outputs, journals the result.
    async fn keep(
        &self,
        row: &AgreementRow,
        task_id: &str,
        order: &WorkOrder,
        code: i32,
        seconds: u64,
    ) -> Result<WorkResult, ErrandError> {
        let disk_bytes = u64::from(order.limits.disk_mib) << 20;
        let out_dir = order.out_dir.clone();
        let (manifest, manifest_bytes) = match blocking(move || layout::read_outputs(&out_dir, disk_bytes)).await? {
            Ok(outputs) => (outputs.manifest, outputs.manifest_bytes),
            // A worker that was killed, or broke, leaves no manifest: its result is an empty one and its exit code.
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
        self.journal.keep_result(row.id, &result).map_err(retry)?;
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
