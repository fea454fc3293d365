//! What a worker made becomes blobs and a part of its rental's result.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;

use super::{
    Store, StoreError, blocking,
    record::{self, BlobRef, ResultDocument, TaskDocument, at},
};
use crate::{
    act::containers::layout::{self, hash_file, safe_path},
    spec::{Manifest, Receipt},
};

impl Store {
    /// Makes the outputs in `out_dir` blobs and the task part of the rental's result. It can be repeated.
    ///
    /// # Errors
    /// [`StoreError::Outputs`] when a file is not what the manifest says.
    pub async fn publish_task(
        &self,
        rental: AgreementId,
        task: TaskDocument,
        out_dir: &Path,
    ) -> Result<(), StoreError> {
        let refuse = |what: String| StoreError::Outputs { rental, what };
        let manifest: Manifest = serde_json::from_str(&task.manifest)
            .map_err(|error| refuse(format!("the manifest does not parse: {error}")))?;
        layout::check_manifest(&manifest, self.0.limits.total_bytes).map_err(|error| refuse(error.to_string()))?;
        let outputs: Vec<_> =
            manifest.files.iter().map(|file| BlobRef { sha256: file.sha256, bytes: file.bytes }).collect();
        self.change(rental, |record| {
            let mut record = record.ok_or_else(|| refuse("nothing was ever delivered for it".into()))?;
            let known = std::mem::take(&mut record.outputs).into_iter().filter(|blob| !outputs.contains(blob));
            record.outputs = known.collect();
            record.outputs.extend(outputs);
            Ok(record)
        })
        .await?;
        for file in manifest.files {
            let path = out_dir.join(safe_path(&file.path).map_err(|error| refuse(error.to_string()))?);
            self.take_file(rental, path, file.sha256, file.bytes).await?;
        }
        let _writing = self.0.writing.lock().await;
        let store = self.clone();
        blocking(move || {
            let path = store.paths().result(rental);
            let mut document: ResultDocument = record::read(&path)?.unwrap_or_default();
            let is_of = |receipt: &Receipt| {
                (receipt.spec_hash, &receipt.task_id) == (task.receipt.spec_hash, &task.receipt.task_id)
            };
            document.tasks.retain(|known| !is_of(&known.receipt));
            document.tasks.push(task);
            store.paths().write(&path, &document)
        })
        .await
    }

    /// Makes a file of ours a blob. It is linked where the file system can, else copied, and hashed where it lies.
    async fn take_file(&self, rental: AgreementId, path: PathBuf, hash: B256, bytes: u64) -> Result<(), StoreError> {
        if self.has(&hash).await {
            return Ok(());
        }
        {
            let mut state = self.state();
            self.check_space(state.used, bytes)?;
            state.used += bytes;
        }
        let store = self.clone();
        blocking(move || {
            let temporary = store.paths().temporary();
            let take = || {
                fs::hard_link(&path, &temporary)
                    .or_else(|_| fs::copy(&path, &temporary).map(drop))
                    .map_err(at(&path))?;
                let found = hash_file(&temporary).map_err(at(&temporary))?;
                if found != (hash, bytes) {
                    let what = format!("{} is {} bytes of {}, not {bytes} of {hash}", path.display(), found.1, found.0);
                    return Err(StoreError::Outputs { rental, what });
                }
                fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(at(&temporary))?;
                record::move_in(&temporary, &store.paths().blob(&hash))
            };
            if let Err(error) = take() {
                store.give_back(bytes);
                record::remove(&temporary)?;
                return Err(error);
            }
            store.adopt(hash, bytes);
            Ok(())
        })
        .await
    }
}
