//! Tasks that come while their rental runs: taken until the provider seals the rental, which it does when none has come for
//! as long as the rental's own spec asks to be kept.

use alloy::primitives::B256;
use contracts::ids::AgreementId;

use super::{
    Store, StoreError, blobs_of, blocking, read_spec,
    record::{self, BlobRef, Paths, Pushed, ResultDocument},
};
use crate::{
    clock::now_s,
    spec::{RentalSpec, sha256},
};

/// Tasks of a rental together, its own and pushed ones.
const MAX_RENTAL_TASKS: usize = 64;

/// A spec that came while its rental ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedSpec {
    /// SHA-256 of its bytes.
    pub spec_hash: B256,
    /// The spec.
    pub spec: RentalSpec,
    /// When it came, Unix seconds.
    pub at_unix_s: u64,
    /// Whether all its inputs are here.
    pub is_complete: bool,
}

impl PushedSpec {
    pub(super) fn read(paths: &Paths, pushed: &Pushed, incomplete: &[BlobRef]) -> Option<Self> {
        let Pushed { spec_hash, at_unix_s } = *pushed;
        // One that a kill left without its bytes is pushed again, or is not wanted any more.
        let spec = read_spec(paths, &spec_hash)?;
        let is_complete = spec.inputs().all(|input| incomplete.iter().all(|blob| blob.sha256 != input.sha256));
        Some(Self { spec_hash, spec, at_unix_s, is_complete })
    }
}

impl Store {
    /// Takes more tasks for a rental whose spec asks to be kept for them. The same spec again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when it takes no more, [`StoreError::WrongHash`], [`StoreError::Spec`], [`StoreError::Full`].
    pub async fn push_spec(&self, rental: AgreementId, spec_hash: B256, bytes: &[u8]) -> Result<(), StoreError> {
        let found = sha256(bytes);
        if found != spec_hash {
            return Err(StoreError::WrongHash { expected: spec_hash, found });
        }
        let spec = RentalSpec::from_bytes(bytes).map_err(|source| StoreError::Spec { rental, source })?;
        let files = self.rental(rental).await;
        let files = files.ok_or(StoreError::NotReferenced { rental, hash: spec_hash })?;
        let own = files.spec.ok_or(StoreError::NotReferenced { rental, hash: files.spec_hash })?;
        let sealed = |why| StoreError::Sealed { rental, why };
        if own.keep_warm_s == 0 {
            return Err(sealed("its spec does not ask to be kept"));
        }
        let known = files.pushed.iter().filter(|pushed| pushed.spec_hash != spec_hash);
        let tasks = known.map(|pushed| pushed.spec.tasks.len()).sum::<usize>() + own.tasks.len() + spec.tasks.len();
        if tasks > MAX_RENTAL_TASKS {
            return Err(sealed("it has as many as a rental may have"));
        }
        self.change(rental, |record| {
            let mut record = record.ok_or(StoreError::NotReferenced { rental, hash: spec_hash })?;
            if record.pushed.iter().any(|pushed| pushed.spec_hash == spec_hash) {
                return Ok(record);
            }
            if record.is_sealed {
                return Err(sealed("it was done with all it had, and is about to be submitted"));
            }
            let inputs = blobs_of(&record.inputs, &spec, spec_hash, bytes);
            let total = inputs.iter().map(|blob| blob.bytes).fold(0, u64::saturating_add);
            let before = record.inputs.iter().map(|blob| blob.bytes).fold(0, u64::saturating_add);
            self.check_rental(rental, total)?;
            self.check_share(record.agent, false, total - before)?;
            record.inputs = inputs;
            record.pushed.push(Pushed { spec_hash, at_unix_s: now_s() });
            Ok(record)
        })
        .await?;
        if !self.has(&spec_hash).await {
            self.put_bytes(spec_hash, bytes).await?;
        }
        Ok(())
    }

    /// Takes no more tasks for a rental for which `known` specs were pushed, and says so in its result. The answer is no,
    /// and nothing changes, when another one has come meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotReferenced`] for a rental that is not known.
    pub async fn seal(&self, rental: AgreementId, known: usize) -> Result<bool, StoreError> {
        let mut is_sealed = false;
        self.change(rental, |record| {
            let mut record = record.ok_or(StoreError::NotReferenced { rental, hash: B256::ZERO })?;
            record.is_sealed |= record.pushed.len() == known;
            is_sealed = record.is_sealed;
            Ok(record)
        })
        .await?;
        if is_sealed {
            let _writing = self.0.writing.lock().await;
            let store = self.clone();
            blocking(move || {
                let path = store.paths().result(rental);
                let document: ResultDocument = record::read(&path)?.unwrap_or_default();
                store.paths().write(&path, &ResultDocument { is_final: true, ..document })
            })
            .await?;
        }
        Ok(is_sealed)
    }

    /// Whether a rental's inputs are not too much.
    pub(super) fn check_rental(&self, rental: AgreementId, bytes: u64) -> Result<(), StoreError> {
        let limit = self.0.limits.rental_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(StoreError::Full(format!(
            "rental {rental}: {bytes} bytes of inputs, but this provider takes {limit}; split the work or choose another provider"
        )))
    }
}
