//! A bucket between an agent and a provider that cannot open a port: an S3-compatible one, or whatever else
//! [`object_store`] knows.
//!
//! ```text
//! <prefix>/<rental>/spec               by the agent
//! <prefix>/<rental>/blobs/<sha256>     by the agent: every input that the spec names
//! <prefix>/<rental>/countersignature   by the agent, last: all of the above is there
//! <prefix>/<rental>/outputs/<sha256>   by the provider
//! <prefix>/<rental>/result             by the provider, last: a ResultDocument
//! <prefix>/score                       by the provider: a Scored
//! ```
//!
//! Nothing here is believed because it is here. The spec's hash is on chain, blobs are named by theirs, the market
//! checks the countersignature, and the result is bound by a receipt whose hash is on chain. Who may read and write is
//! for the bucket's own rights; whoever may write can withhold and waste, not deceive.

mod mirror;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy::primitives::{Address, B256, Bytes};
use contracts::ids::AgreementId;
use futures_util::StreamExt;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, buffered::BufWriter};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

pub use self::mirror::{Mirror, Rentals, Standing};
use super::{
    BlobEvent, ResultDocument, Store, StoreError,
    client::{MAX_JSON_BYTES, MAX_SCORE_BYTES, hashed},
};
use crate::{
    act::containers::layout::{self, safe_path},
    benchmark::Scored,
    spec::{InputRef, MAX_SPEC_BYTES, Manifest, OutputRef, RentalSpec},
};

/// Largest countersignature object, bytes.
const MAX_COUNTERSIGNATURE_BYTES: u64 = 8 * 1024;

/// Something was not done by way of the bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The bucket did not do it.
    #[error("bucket, {object}: {source}; it is tried again")]
    Bucket {
        /// Of which object.
        object: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// What is there is not what was promised.
    #[error("rental {rental}: the bucket holds a wrong {what}")]
    Content {
        /// The rental.
        rental: AgreementId,
        /// What is wrong with what.
        what: String,
    },
    /// The provider's own store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file here.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BucketError {
    /// Whether it is that nothing is there yet.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Bucket { source: object_store::Error::NotFound { .. }, .. })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Countersignature {
    signature: Bytes,
}

/// One provider's part of a bucket. Clones share it.
#[derive(Clone, Debug)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: object_store::path::Path,
}

impl Bucket {
    /// The part of `objects` under `prefix`.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, prefix: prefix.into() }
    }

    /// Puts the work of a rental there, then its countersignature. What is there already is not sent again.
    ///
    /// # Errors
    /// [`BucketError`]; a later call goes on.
    pub async fn deliver(
        &self,
        rental: AgreementId,
        spec_bytes: &[u8],
        spec: &RentalSpec,
        blob: impl Fn(&InputRef) -> PathBuf,
        countersignature: &Bytes,
    ) -> Result<(), BucketError> {
        self.put(&self.path(rental, "spec"), spec_bytes.to_vec()).await?;
        for input in spec.inputs() {
            self.put_file(&self.named(rental, "blobs", &input.sha256), &blob(input), input.bytes).await?;
        }
        let signed = serde_json::to_vec(&Countersignature { signature: countersignature.clone() }).unwrap_or_default();
        self.put(&self.path(rental, "countersignature"), signed).await
    }

    /// Takes a rental's work into a provider's store, and goes on where the last call was cut off. `false` while it is
    /// not all there.
    ///
    /// # Errors
    /// [`BucketError::Content`] when it is not what the chain says.
    pub async fn collect(
        &self,
        rental: AgreementId,
        agent: Address,
        spec_hash: B256,
        store: &Store,
    ) -> Result<Option<[BlobEvent; 3]>, BucketError> {
        let signed = match self.small(&self.path(rental, "countersignature"), MAX_COUNTERSIGNATURE_BYTES, rental).await
        {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let Countersignature { signature } = serde_json::from_slice(&signed)
            .map_err(|error| BucketError::Content { rental, what: format!("countersignature: {error}") })?;
        let spec = self.small(&self.path(rental, "spec"), MAX_SPEC_BYTES as u64, rental).await?;
        store.accept_spec(rental, agent, spec_hash, &spec).await?;
        let missing = store.rental(rental).await.map(|files| files.missing).unwrap_or_default();
        for input in missing {
            // A partial file that is as long as it may be is no good, or it would be a blob.
            let offset = if input.received < input.bytes { input.received } else { 0 };
            let Some(mut upload) = store.begin(rental, input.sha256, offset).await? else { continue };
            let path = self.named(rental, "blobs", &input.sha256);
            let found = self.get(&path, offset).await?;
            if found.meta.size != input.bytes {
                let what = format!("input {}: {} bytes, not {}", input.sha256, found.meta.size, input.bytes);
                return Err(BucketError::Content { rental, what });
            }
            let mut chunks = found.into_stream();
            while let Some(chunk) = chunks.next().await {
                upload.write(&chunk.map_err(at(&path))?).await?;
            }
            upload.finish().await?;
        }
        store.put_countersignature(rental, signature.clone()).await?;
        let ready = BlobEvent::SpecReady { rental };
        Ok(Some([ready, BlobEvent::InputsComplete { rental }, BlobEvent::Countersigned { rental, signature }]))
    }

    /// Puts a published result there, outputs first. What is there already is not sent again.
    ///
    /// # Errors
    /// [`BucketError`]; a later call goes on.
    pub async fn publish(
        &self,
        rental: AgreementId,
        document: &ResultDocument,
        store: &Store,
    ) -> Result<(), BucketError> {
        for task in &document.tasks {
            let manifest: Manifest = serde_json::from_str(&task.manifest)
                .map_err(|error| BucketError::Content { rental, what: format!("manifest: {error}") })?;
            for file in &manifest.files {
                let path = self.named(rental, "outputs", &file.sha256);
                self.put_file(&path, &store.blob_path(&file.sha256), file.bytes).await?;
            }
        }
        self.put(&self.path(rental, "result"), serde_json::to_vec(document).unwrap_or_default()).await
    }

    /// The rental's result. Whether it is the submitted one is for the caller to check.
    ///
    /// # Errors
    /// [`BucketError`]; [`BucketError::is_missing`] while there is none.
    pub async fn result(&self, rental: AgreementId) -> Result<ResultDocument, BucketError> {
        let bytes = self.small(&self.path(rental, "result"), MAX_JSON_BYTES, rental).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| BucketError::Content { rental, what: format!("result: {error}") })
    }

    /// Fetches the outputs that the manifest lists into `folder`, and gives their paths in its order. Files that are
    /// there already and are right are kept.
    ///
    /// # Errors
    /// [`BucketError::Content`] when a file is not what the manifest says, or they are more than `max_bytes` together.
    pub async fn outputs(
        &self,
        rental: AgreementId,
        manifest: &Manifest,
        folder: &Path,
        max_bytes: u64,
    ) -> Result<Vec<PathBuf>, BucketError> {
        let wrong = |error: layout::LayoutError| BucketError::Content { rental, what: format!("manifest: {error}") };
        layout::check_manifest(manifest, max_bytes).map_err(wrong)?;
        let mut paths = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            let path = folder.join(safe_path(&file.path).map_err(wrong)?);
            self.download(rental, file, &path).await?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// Puts the node's score there, in place of an earlier one.
    ///
    /// # Errors
    /// [`BucketError`]; a later call goes on.
    pub async fn put_score(&self, scored: &Scored) -> Result<(), BucketError> {
        self.put(&self.prefix.clone().join("score"), serde_json::to_vec(scored).unwrap_or_default()).await
    }

    /// The node's score. Whether it holds is for the caller to check.
    ///
    /// # Errors
    /// [`BucketError`]; [`BucketError::is_missing`] while there is none.
    pub async fn score(&self) -> Result<Scored, BucketError> {
        let none = AgreementId::default();
        let bytes = self.small(&self.prefix.clone().join("score"), MAX_SCORE_BYTES, none).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| BucketError::Content { rental: none, what: format!("score: {error}") })
    }

    /// Removes all that is there of a rental.
    ///
    /// # Errors
    /// [`BucketError`]; call again.
    pub async fn clear(&self, rental: AgreementId) -> Result<(), BucketError> {
        let folder = self.prefix.clone().join(rental.to_string());
        let mut found = self.objects.list(Some(&folder));
        while let Some(object) = found.next().await {
            let path = object.map_err(at(&folder))?.location;
            match self.objects.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => {}
                Err(source) => return Err(at(&path)(source)),
            }
        }
        Ok(())
    }

    /// Every rental of which anything is there.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn rentals(&self) -> Result<Vec<AgreementId>, BucketError> {
        let found = self.objects.list_with_delimiter(Some(&self.prefix)).await.map_err(at(&self.prefix))?;
        let names = found.common_prefixes.into_iter();
        Ok(names.filter_map(|path| path.filename().and_then(|name| name.parse().ok())).collect())
    }

    async fn download(&self, rental: AgreementId, file: &OutputRef, target: &Path) -> Result<(), BucketError> {
        let at_file = |path: &Path, source| BucketError::Io { path: path.to_owned(), source };
        if hashed(target).await.is_ok_and(|found| found == (file.sha256, file.bytes)) {
            return Ok(());
        }
        let folder = target.parent().unwrap_or(target);
        tokio::fs::create_dir_all(folder).await.map_err(|source| at_file(folder, source))?;
        let part = folder.join(format!(".{}.part", hex::encode(file.sha256)));
        let path = self.named(rental, "outputs", &file.sha256);
        let found = self.get(&path, 0).await?;
        let mut out = tokio::fs::File::create(&part).await.map_err(|source| at_file(&part, source))?;
        let mut chunks = found.into_stream();
        let mut bytes = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(at(&path))?;
            bytes += chunk.len() as u64;
            if bytes > file.bytes {
                break;
            }
            out.write_all(&chunk).await.map_err(|source| at_file(&part, source))?;
        }
        out.flush().await.map_err(|source| at_file(&part, source))?;
        out.sync_all().await.map_err(|source| at_file(&part, source))?;
        drop(out);
        let found = hashed(&part).await.map_err(|source| at_file(&part, source))?;
        if bytes != file.bytes || found != (file.sha256, file.bytes) {
            tokio::fs::remove_file(&part).await.map_err(|source| at_file(&part, source))?;
            return Err(BucketError::Content { rental, what: format!("output '{}'", file.path) });
        }
        tokio::fs::rename(&part, target).await.map_err(|source| at_file(target, source))
    }

    /// A whole object, if it has at most `limit` bytes.
    async fn small(
        &self,
        path: &object_store::path::Path,
        limit: u64,
        rental: AgreementId,
    ) -> Result<Vec<u8>, BucketError> {
        let found = self.get(path, 0).await?;
        let mut bytes = Vec::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.map_err(at(path))?);
            if bytes.len() as u64 > limit {
                let what = format!("object {path}: more than {limit} bytes");
                return Err(BucketError::Content { rental, what });
            }
        }
        Ok(bytes)
    }

    async fn get(&self, path: &object_store::path::Path, offset: u64) -> Result<GetResult, BucketError> {
        let range = (offset > 0).then_some(GetRange::Offset(offset));
        self.objects.get_opts(path, GetOptions { range, ..Default::default() }).await.map_err(at(path))
    }

    async fn put(&self, path: &object_store::path::Path, bytes: Vec<u8>) -> Result<(), BucketError> {
        self.objects.put(path, bytes.into()).await.map(drop).map_err(at(path))
    }

    /// Sends a file unless an object of its name and size is there.
    async fn put_file(&self, path: &object_store::path::Path, file: &Path, bytes: u64) -> Result<(), BucketError> {
        match self.objects.head(path).await {
            Ok(found) if found.size == bytes => return Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(at(path)(source)),
        }
        let at_file = |source| BucketError::Io { path: file.to_owned(), source };
        let mut from = tokio::fs::File::open(file).await.map_err(at_file)?;
        let mut to = BufWriter::new(self.objects.clone(), path.clone());
        let sent = async {
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await
        };
        if let Err(source) = sent.await {
            // A part of it must not stay and cost.
            let _ = to.abort().await;
            return Err(at_file(source));
        }
        Ok(())
    }

    fn path(&self, rental: AgreementId, name: &str) -> object_store::path::Path {
        self.prefix.clone().join(rental.to_string()).join(name)
    }

    fn named(&self, rental: AgreementId, kind: &str, hash: &B256) -> object_store::path::Path {
        self.path(rental, kind).join(hex::encode(hash))
    }
}

fn at(path: &object_store::path::Path) -> impl Fn(object_store::Error) -> BucketError + '_ {
    move |source| BucketError::Bucket { object: path.to_string(), source }
}
