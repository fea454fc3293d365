//! A provider's blobs on disk, and what each rental refers to. Layout: `store/record.rs`.
//!
//! Blobs are shared: one that two rentals refer to is stored once and deleted with the second. Everything survives a
//! kill at any point; what such a kill leaves half done is finished or removed by [`Store::open`].

mod error;
mod publish;
mod push;
mod record;
mod space;
mod statements;
mod sweep;
mod upload;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy::primitives::{Address, B256, Bytes};
use contracts::ids::AgreementId;
use serde::{Deserialize, Serialize};

pub use self::{
    error::StoreError,
    push::PushedSpec,
    record::{ResultDocument, TaskDocument},
    upload::Upload,
};
use self::{
    record::{BlobRef, Paths, Record, at},
    space::State,
    sweep::{folder_bytes, sweep},
    upload::Slot,
};
use crate::spec::{RentalSpec, sha256};

/// Rentals that one store remembers at a time.
const MAX_RENTALS: usize = 10_000;

/// Uploads of one rental at a time.
const MAX_RENTAL_UPLOADS: usize = 4;

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// All blobs and partial uploads together, bytes.
    pub total_bytes: u64,
    /// Inputs of one rental together, bytes.
    pub rental_bytes: u64,
    /// Inputs of all rentals of one agent together, bytes.
    pub agent_bytes: u64,
    /// Rentals of one agent that are remembered at a time.
    pub agent_rentals: usize,
    /// Partial uploads that nobody has touched for this long are removed when the store opens, seconds.
    pub grace_s: u64,
}

/// An input that has not fully arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingInput {
    /// Which one.
    pub sha256: B256,
    /// Its size, bytes.
    pub bytes: u64,
    /// How much of it has arrived, bytes.
    pub received: u64,
}

/// What the store has for a rental.
#[derive(Clone, Debug)]
pub struct RentalFiles {
    /// The spec's hash when it was accepted. After a reorganisation the rental's may be another.
    pub spec_hash: B256,
    /// The spec, once it has arrived.
    pub spec: Option<RentalSpec>,
    /// Inputs still to come.
    pub missing: Vec<MissingInput>,
    /// The agent's signature on the start, as it came.
    pub countersignature: Option<Bytes>,
    /// What was pushed while it ran, in that order.
    pub pushed: Vec<PushedSpec>,
    /// The published result, of the tasks that are done.
    pub result: Option<ResultDocument>,
}

/// A provider's blobs. Clones share one store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    paths: Paths,
    limits: StoreLimits,
    state: Mutex<State>,
    /// Held while a record or result changes, so that none is lost.
    writing: tokio::sync::Mutex<()>,
}

impl Store {
    /// Opens the store in `dir`, which is made if need be, and clears what a kill left behind.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn open(dir: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let paths = Paths(dir.to_owned());
        let state = blocking({
            let paths = paths.clone();
            move || sweep(&paths, Duration::from_secs(limits.grace_s))
        })
        .await?;
        tracing::info!(dir = %dir.display(), rentals = state.records.len(), used_bytes = state.used, "blob store open");
        let inner = Inner { paths, limits, state: Mutex::new(state), writing: tokio::sync::Mutex::new(()) };
        Ok(Self(Arc::new(inner)))
    }

    /// Takes the spec of a rental of `agent` whose hash on chain is `spec_hash`. The same spec again changes nothing; another
    /// one (the chain was reorganised) replaces all that was there.
    ///
    /// # Errors
    /// [`StoreError::WrongHash`], [`StoreError::Spec`], [`StoreError::Full`].
    pub async fn accept_spec(
        &self,
        rental: AgreementId,
        agent: Address,
        spec_hash: B256,
        bytes: &[u8],
    ) -> Result<RentalSpec, StoreError> {
        let found = sha256(bytes);
        if found != spec_hash {
            return Err(StoreError::WrongHash { expected: spec_hash, found });
        }
        let spec = RentalSpec::from_bytes(bytes).map_err(|source| StoreError::Spec { rental, source })?;
        let total = spec.inputs().map(|input| input.bytes).fold(0, u64::saturating_add);
        self.check_rental(rental, total)?;
        let known = self.state().records.get(&rental).map(|record| record.spec_hash);
        if known.is_some_and(|known| known != spec_hash) {
            self.release(rental).await?;
        }
        if known == Some(spec_hash) && self.has(&spec_hash).await {
            return Ok(spec);
        }
        let inputs = blobs_of(&[], &spec, spec_hash, bytes);
        self.change(rental, |record| match record {
            Some(record) => Ok(record),
            None => {
                self.check_share(agent, true, total)?;
                Ok(Record {
                    version: 1,
                    rental,
                    agent,
                    spec_hash,
                    inputs,
                    outputs: Vec::new(),
                    countersignature: None,
                    pushed: Vec::new(),
                    is_sealed: false,
                })
            }
        })
        .await?;
        self.put_bytes(spec_hash, bytes).await?;
        Ok(spec)
    }

    /// Begins or resumes the upload of a blob that the rental's spec names. `None` when it is here already.
    ///
    /// # Errors
    /// [`StoreError::NotReferenced`], [`StoreError::Offset`], [`StoreError::Busy`], [`StoreError::Full`].
    pub async fn begin(&self, rental: AgreementId, hash: B256, offset: u64) -> Result<Option<Upload>, StoreError> {
        let partial = record::size(&self.paths().partial(rental, &hash));
        let (slot, bytes) = {
            let mut state = self.state();
            let not_referenced = StoreError::NotReferenced { rental, hash };
            let record = state.records.get(&rental).ok_or(not_referenced)?;
            let named = record.inputs.iter().find(|blob| blob.sha256 == hash);
            let bytes = named.ok_or(StoreError::NotReferenced { rental, hash })?.bytes;
            if state.blobs.contains_key(&hash) {
                return Ok(None);
            }
            if offset != 0 && offset != partial || offset > bytes {
                return Err(StoreError::Offset { hash, received: partial, offset });
            }
            if state.uploads.contains(&(rental, hash)) {
                return Err(StoreError::Busy { hash });
            }
            if state.uploads.iter().filter(|(other, _)| *other == rental).count() >= MAX_RENTAL_UPLOADS {
                return Err(StoreError::TooMany { rental, limit: MAX_RENTAL_UPLOADS });
            }
            // Beginning anew throws the partial file away; what it took is counted out, what is to come in.
            let used = state.used.saturating_sub(partial - offset);
            let reserved = bytes - offset;
            self.check_space(used, reserved)?;
            state.used = used + reserved;
            state.uploads.insert((rental, hash));
            (Slot { store: self.clone(), rental, hash, reserved }, bytes)
        };
        Upload::open(slot, bytes, offset).await.map(Some)
    }

    /// How much of a blob that the rental refers to is here, and its size; `None` when the rental does not refer to it.
    pub async fn progress(&self, rental: AgreementId, hash: &B256) -> Option<(u64, u64)> {
        let (bytes, complete) = {
            let state = self.state();
            let bytes = state.records.get(&rental)?.refs().find(|blob| blob.sha256 == *hash)?.bytes;
            (bytes, state.blobs.contains_key(hash))
        };
        Some((if complete { bytes } else { record::size(&self.paths().partial(rental, hash)) }, bytes))
    }

    /// The spec's hash when it was accepted.
    pub fn spec_hash(&self, rental: AgreementId) -> Option<B256> {
        self.state().records.get(&rental).map(|record| record.spec_hash)
    }

    /// Whether the rental's result lists this output.
    pub fn is_output(&self, rental: AgreementId, hash: &B256) -> bool {
        self.state().records.get(&rental).is_some_and(|record| record.outputs.iter().any(|blob| blob.sha256 == *hash))
    }

    /// Where the bytes of a hash are or would be.
    pub fn blob_path(&self, hash: &B256) -> PathBuf {
        self.paths().blob(hash)
    }

    /// Whether a blob is complete.
    pub async fn has(&self, hash: &B256) -> bool {
        self.state().blobs.contains_key(hash)
    }

    /// Everything known of a rental; `None` if nothing ever came for it.
    pub async fn rental(&self, rental: AgreementId) -> Option<RentalFiles> {
        let (record, incomplete) = {
            let state = self.state();
            let record = state.records.get(&rental)?.clone();
            let incomplete = record.inputs.iter().filter(|blob| !state.blobs.contains_key(&blob.sha256));
            let incomplete: Vec<_> = incomplete.copied().collect();
            (record, incomplete)
        };
        let store = self.clone();
        blocking(move || {
            let paths = store.paths();
            let spec = read_spec(paths, &record.spec_hash);
            let pushed = record.pushed.iter().filter_map(|pushed| PushedSpec::read(paths, pushed, &incomplete));
            let pushed = pushed.collect();
            let missing = incomplete.into_iter().map(|blob| MissingInput {
                sha256: blob.sha256,
                bytes: blob.bytes,
                received: record::size(&paths.partial(rental, &blob.sha256)),
            });
            let result = record::read(&paths.result(rental)).unwrap_or_else(|error| {
                tracing::error!(%rental, %error, "the stored result cannot be read; publish it again");
                None
            });
            Ok(RentalFiles {
                spec_hash: record.spec_hash,
                spec,
                missing: missing.collect(),
                countersignature: record.countersignature.clone(),
                pushed,
                result,
            })
        })
        .await
        .inspect_err(|error: &StoreError| tracing::error!(%rental, %error, "the blob store cannot be read"))
        .ok()
    }

    /// Every rental for which anything is stored.
    pub async fn rentals(&self) -> Vec<AgreementId> {
        let mut rentals: Vec<_> = self.state().records.keys().copied().collect();
        rentals.sort();
        rentals
    }

    /// Keeps the agent's signature on the start. The answer is whether it was new.
    ///
    /// # Errors
    /// [`StoreError::NotReferenced`] before the spec has arrived.
    pub async fn put_countersignature(&self, rental: AgreementId, signature: Bytes) -> Result<bool, StoreError> {
        let mut is_new = false;
        self.change(rental, |record| {
            let mut record = record.ok_or(StoreError::NotReferenced { rental, hash: B256::ZERO })?;
            is_new = record.countersignature.as_ref() != Some(&signature);
            record.countersignature = Some(signature);
            Ok(record)
        })
        .await?;
        Ok(is_new)
    }

    /// Forgets a rental and deletes the blobs that no other one refers to.
    ///
    /// # Errors
    /// [`StoreError::Io`]; call again.
    pub async fn release(&self, rental: AgreementId) -> Result<(), StoreError> {
        let _writing = self.0.writing.lock().await;
        let store = self.clone();
        blocking(move || {
            let paths = store.paths();
            record::remove(&paths.result(rental))?;
            record::remove(&paths.statements(rental))?;
            record::remove(&paths.record(rental))?;
            let partials = paths.partials(rental);
            let partial_bytes = folder_bytes(&partials);
            record::remove(&partials)?;
            let mut state = store.state();
            state.used = state.used.saturating_sub(partial_bytes);
            let Some(record) = state.records.remove(&rental) else { return Ok(()) };
            for blob in record.refs() {
                if !state.drop_reference(&blob.sha256) {
                    continue;
                }
                if let Some(bytes) = state.blobs.remove(&blob.sha256) {
                    state.used = state.used.saturating_sub(bytes);
                    if let Err(error) = record::remove(&paths.blob(&blob.sha256)) {
                        tracing::warn!(%rental, %error, "a blob stays until the store is opened again");
                    }
                }
            }
            Ok(())
        })
        .await
    }

    fn paths(&self) -> &Paths {
        &self.0.paths
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a rental's record on disk, then in memory.
    async fn change(
        &self,
        rental: AgreementId,
        change: impl FnOnce(Option<Record>) -> Result<Record, StoreError>,
    ) -> Result<(), StoreError> {
        let _writing = self.0.writing.lock().await;
        let known = self.state().records.get(&rental).cloned();
        if known.is_none() && self.state().records.len() >= MAX_RENTALS {
            let what = "this provider remembers too many rentals; try again when some have ended";
            return Err(StoreError::Full(format!("rental {rental}: {what}")));
        }
        let record = change(known)?;
        let store = self.clone();
        blocking(move || {
            store.paths().write(&store.paths().record(rental), &record)?;
            let mut state = store.state();
            state.insert(record);
            Ok(())
        })
        .await
    }

    /// Stores a small blob that is at hand.
    async fn put_bytes(&self, hash: B256, bytes: &[u8]) -> Result<(), StoreError> {
        let (store, bytes) = (self.clone(), bytes.to_vec());
        let length = bytes.len() as u64;
        {
            let mut state = self.state();
            self.check_space(state.used, length)?;
            state.used += length;
        }
        blocking(move || {
            store.paths().write_bytes(&store.paths().blob(&hash), &bytes).inspect_err(|_| store.give_back(length))?;
            store.adopt(hash, length);
            Ok(())
        })
        .await
    }
}

/// `known` and all that a spec makes a rental refer to, each once.
fn blobs_of(known: &[BlobRef], spec: &RentalSpec, spec_hash: B256, bytes: &[u8]) -> Vec<BlobRef> {
    let mut blobs = known.to_vec();
    let own = BlobRef { sha256: spec_hash, bytes: bytes.len() as u64 };
    let inputs = spec.inputs().map(|input| BlobRef { sha256: input.sha256, bytes: input.bytes });
    for blob in std::iter::once(own).chain(inputs) {
        if !blobs.contains(&blob) {
            blobs.push(blob);
        }
    }
    blobs
}

fn read_spec(paths: &Paths, hash: &B256) -> Option<RentalSpec> {
    RentalSpec::from_bytes(&fs::read(paths.blob(hash)).ok()?).ok()
}

/// Runs `work` on a blocking thread; a panic there goes on here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(at(Path::new("."))(io::Error::other("the keeper is shutting down"))),
        },
    }
}
