//! One blob on its way in: hashed as it comes, kept when it is cut off, thrown away when it is not what was promised.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{
    Store, StoreError, blocking,
    record::{at, move_in, remove},
};

/// An upload under way; there is at most one for each blob of a rental. Dropping it keeps what has arrived.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    rental: AgreementId,
    hash: B256,
    bytes: u64,
    received: u64,
    hasher: Sha256,
    file: tokio::fs::File,
    slot: Slot,
}

/// The right to write one blob, and the space set aside for it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) store: Store,
    pub(super) rental: AgreementId,
    pub(super) hash: B256,
    /// Set aside and not yet on disk, bytes.
    pub(super) reserved: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.uploads.remove(&(self.rental, self.hash));
        // What has arrived stays on disk and so stays counted: the next upload counts only the rest.
        state.used = state.used.saturating_sub(self.reserved);
    }
}

impl Upload {
    /// Opens the partial file at `offset`, which must be how much of it there is, or 0 to begin anew.
    pub(super) async fn open(slot: Slot, bytes: u64, offset: u64) -> Result<Self, StoreError> {
        let path = slot.store.paths().partial(slot.rental, &slot.hash);
        let (file, hasher) = blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(at(folder))?;
            }
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
            file.set_len(offset).map_err(at(&path))?;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 64 * 1024];
            let mut rest = offset;
            while rest > 0 {
                let want = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                file.read_exact(&mut buffer[..want]).map_err(at(&path))?;
                hasher.update(&buffer[..want]);
                rest -= want as u64;
            }
            file.seek(SeekFrom::Start(offset)).map_err(at(&path))?;
            Ok((file, hasher))
        })
        .await?;
        Ok(Self {
            store: slot.store.clone(),
            rental: slot.rental,
            hash: slot.hash,
            bytes,
            received: offset,
            hasher,
            file: tokio::fs::File::from_std(file),
            slot,
        })
    }

    /// Bytes that have arrived, counting those of earlier uploads.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] when more than promised comes.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let length = chunk.len() as u64;
        if length > self.bytes - self.received {
            return Err(StoreError::TooLong { hash: self.hash, bytes: self.bytes });
        }
        self.hasher.update(chunk);
        let path = self.store.paths().partial(self.rental, &self.hash);
        self.file.write_all(chunk).await.map_err(at(&path))?;
        // The file writes in the background: what is still on its way there when this upload is dropped would come to
        // light only after others have asked how much has arrived.
        self.file.flush().await.map_err(at(&path))?;
        self.received += length;
        // On disk now: it stays counted whatever becomes of this upload.
        self.slot.reserved -= length;
        Ok(())
    }

    /// Makes the upload a blob if it is all there and is what its name says.
    ///
    /// # Errors
    /// [`StoreError::TooShort`] keeps what has arrived; [`StoreError::WrongHash`] throws it away.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let path = self.store.paths().partial(self.rental, &self.hash);
        self.file.flush().await.map_err(at(&path))?;
        if self.received < self.bytes {
            return Err(StoreError::TooShort { hash: self.hash, received: self.received, bytes: self.bytes });
        }
        let found = B256::from_slice(&std::mem::take(&mut self.hasher).finalize());
        if found != self.hash {
            remove(&path)?;
            self.store.give_back(self.bytes);
            return Err(StoreError::WrongHash { expected: self.hash, found });
        }
        self.file.sync_all().await.map_err(at(&path))?;
        let target = self.store.paths().blob(&self.hash);
        blocking(move || move_in(&path, &target)).await?;
        self.store.adopt(self.hash, self.bytes);
        Ok(())
    }
}
