//! What came of a task: its receipt signed, its outputs published, its result journalled.

use std::path::Path;

use contracts::ids::AgreementId;
use indexer::rows::AgreementRow;
use tracing::warn;

use super::{ErrandError, KILLED, Workshop, blocking, retry};
use crate::{
    act::containers::{
        WorkOrder,
        layout::{self, MAX_MANIFEST_BYTES},
    },
    blobs::TaskDocument,
    clock::now_s,
    journal::{TaskResult, WorkResult},
    spec::{Manifest, Receipt, Statement, TaskName, result_hash, sha256},
};

impl Workshop {
    /// Signs the receipt, publishes the outputs, journals the result; `is_last` makes it the rental's.
    pub(super) async fn keep(
        &self,
        name: &TaskName,
        order: &WorkOrder,
        collected: Result<(), String>,
        (code, seconds): (i32, u64),
        is_last: bool,
        made: &mut WorkResult,
    ) -> Result<(), ErrandError> {
        let outputs = match collected {
            Err(refused) => Err(refused),
            Ok(()) => {
                let (out_dir, disk_bytes) = (order.out_dir.clone(), u64::from(order.limits.disk_mib) << 20);
                match blocking(move || layout::read_outputs(&out_dir, disk_bytes)).await? {
                    Ok(outputs) if !is_of(&outputs.manifest, name) => {
                        Err("manifest.json names another spec or task".to_owned())
                    }
                    Ok(outputs) if !self.fits(order, outputs.manifest_bytes.len()).await => {
                        Err(format!("the lists of all tasks have more than {MAX_MANIFEST_BYTES} bytes"))
                    }
                    Ok(outputs) => Ok(outputs),
                    Err(error) if error.is_by_worker() => Err(error.to_string()),
                    // This machine's disk must not cost the worker its result.
                    Err(error) => return Err(retry(error)),
                }
            }
        };
        let manifest_bytes = match outputs {
            Ok(outputs) => outputs.manifest_bytes,
            // A worker that was killed, broke, or wrote what it may not, leaves no list: its result is an empty one and its
            // exit code.
            Err(error) => {
                let tail = self.engine.stderr_tail(order.id()).await.unwrap_or_default();
                warn!(rental = %order.rental, code, %error, stderr = %tail, "the worker left no usable result");
                empty_manifest(name)?
            }
        };
        let result = self.publish(order.rental, &order.out_dir, name, manifest_bytes, (code, seconds)).await?;
        if is_last {
            self.store.seal(order.rental, 0).await.map_err(retry)?;
        }
        let mut more = made.clone();
        more.tasks.push(result);
        more.is_final = is_last;
        self.journal.accept(order.rental, order.attempt, &more, now_s()).map_err(retry)?;
        *made = more;
        Ok(())
    }

    /// Keeps that a task was not begun before the rental's time was over.
    pub(super) async fn give_up(
        &self,
        row: &AgreementRow,
        name: &TaskName,
        made: &mut WorkResult,
    ) -> Result<(), ErrandError> {
        warn!(rental = %row.id, task = %name.task_id, "the rental's time is over before this task began");
        let out_dir = self.folder(row.id, "out");
        let result = self.publish(row.id, &out_dir, name, empty_manifest(name)?, (KILLED, 0)).await?;
        let mut more = made.clone();
        more.tasks.push(result);
        self.journal.keep_result(row.id, &more).map_err(retry)?;
        *made = more;
        Ok(())
    }

    async fn publish(
        &self,
        rental: AgreementId,
        out_dir: &Path,
        name: &TaskName,
        manifest_bytes: Vec<u8>,
        (code, seconds): (i32, u64),
    ) -> Result<TaskResult, ErrandError> {
        let manifest: Manifest = serde_json::from_slice(&manifest_bytes).map_err(retry)?;
        // A worker without a manifest that says it succeeded did not succeed.
        let exit_code = if manifest.files.is_empty() && code == 0 { KILLED } else { code };
        let manifest_sha256 = sha256(&manifest_bytes);
        let TaskName { spec_hash, task_id } = name.clone();
        let receipt = Receipt {
            rental,
            task_id,
            spec_hash,
            manifest_sha256,
            exit_code,
            result_hash: result_hash(rental, spec_hash, manifest_sha256, exit_code),
            seconds,
            sequence: self.store.next_sequence(rental).await.map_err(retry)?,
        };
        let Statement { receipt, signature } = Statement::sign(receipt, &self.key).map_err(retry)?;
        let document = TaskDocument {
            exit_code,
            manifest: String::from_utf8(manifest_bytes).map_err(retry)?,
            receipt: receipt.clone(),
            receipt_signature: signature.clone(),
        };
        self.store.publish_task(rental, document, out_dir).await.map_err(retry)?;
        Ok(TaskResult { receipt, signature, manifest })
    }

    /// Whether the lists of all tasks together are small enough to be served.
    async fn fits(&self, order: &WorkOrder, more: usize) -> bool {
        let known = self.store.rental(order.rental).await.and_then(|files| files.result).unwrap_or_default();
        let known = known.tasks.iter().map(|task| task.manifest.len()).sum::<usize>();
        (known + more) as u64 <= MAX_MANIFEST_BYTES
    }
}

fn is_of(manifest: &Manifest, name: &TaskName) -> bool {
    manifest.spec_sha256 == name.spec_hash && manifest.task_id == name.task_id
}

fn empty_manifest(name: &TaskName) -> Result<Vec<u8>, ErrandError> {
    let TaskName { spec_hash, task_id } = name.clone();
    serde_json::to_vec(&Manifest { version: 1, task_id, spec_sha256: spec_hash, files: Vec::new() }).map_err(retry)
}
