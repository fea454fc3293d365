//! What the store keeps on disk about each rental, and where everything is.
//!
//! ```text
//! blobs/ab/<hash>             a blob, complete and named by its SHA-256
//! partial/<rental>/<hash>     an upload that is not complete yet
//! rentals/<rental>.json       a Record: the spec's hash, every blob the rental refers to, the countersignature, pushed specs
//! rentals/<rental>.result     a ResultDocument: each task once all its outputs are blobs
//! rentals/<rental>.statements the newest statements on the work while it was under way
//! tmp/                        files being written; emptied at every start
//! ```
//!
//! A record is written before the blobs it refers to, so a blob without a record is garbage and a record without its
//! blobs is an upload still to come.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, B256, Bytes};
use contracts::ids::AgreementId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::StoreError;
use crate::spec::Receipt;

/// A blob that a rental refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobRef {
    pub(super) sha256: B256,
    pub(super) bytes: u64,
}

/// What is known of a rental.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Format, 1.
    pub(super) version: u32,
    pub(super) rental: AgreementId,
    /// Whose share of the store it takes.
    #[serde(default)]
    pub(super) agent: Address,
    pub(super) spec_hash: B256,
    /// The spec and its inputs.
    pub(super) inputs: Vec<BlobRef>,
    /// What the worker made.
    #[serde(default)]
    pub(super) outputs: Vec<BlobRef>,
    #[serde(default)]
    pub(super) countersignature: Option<Bytes>,
    /// Specs that came while it ran, in that order.
    #[serde(default)]
    pub(super) pushed: Vec<Pushed>,
    /// Whether no more of them are taken.
    #[serde(default)]
    pub(super) is_sealed: bool,
}

/// A spec that came while its rental ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pushed {
    pub(super) spec_hash: B256,
    pub(super) at_unix_s: u64,
}

impl Record {
    pub(super) fn refs(&self) -> impl Iterator<Item = &BlobRef> {
        self.inputs.iter().chain(&self.outputs)
    }
}

/// What a provider serves of a rental's work: of each task as soon as it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct ResultDocument {
    /// In the order in which they were done.
    pub tasks: Vec<TaskDocument>,
    /// Whether no more will come.
    pub is_final: bool,
}

/// As it comes: a keeper that knew one task a rental wrote just that.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Many { tasks: Vec<TaskDocument>, is_final: bool },
    One(TaskDocument),
}

impl From<Stored> for ResultDocument {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Many { tasks, is_final } => Self { tasks, is_final },
            Stored::One(task) => Self { tasks: vec![task], is_final: true },
        }
    }
}

impl ResultDocument {
    /// Receipts of the tasks, in the order in which they were done.
    pub fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.tasks.iter().map(|task| &task.receipt)
    }
}

/// What came of one task. Every part is bound by the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDocument {
    /// How the worker ended.
    pub exit_code: i32,
    /// The manifest's exact text, as its hash is what counts.
    pub manifest: String,
    /// What the provider says of the work.
    pub receipt: Receipt,
    /// The operator's signature over the receipt's digest.
    pub receipt_signature: Bytes,
}

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct Paths(pub(super) PathBuf);

impl Paths {
    pub(super) fn create(&self) -> Result<(), StoreError> {
        for folder in ["blobs", "partial", "rentals", "tmp"] {
            let path = self.0.join(folder);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    pub(super) fn blob(&self, hash: &B256) -> PathBuf {
        let name = hex::encode(hash);
        self.0.join("blobs").join(&name[..2]).join(name)
    }

    pub(super) fn partials(&self, rental: AgreementId) -> PathBuf {
        self.0.join("partial").join(rental.to_string())
    }

    pub(super) fn partial(&self, rental: AgreementId, hash: &B256) -> PathBuf {
        self.partials(rental).join(hex::encode(hash))
    }

    pub(super) fn record(&self, rental: AgreementId) -> PathBuf {
        self.0.join("rentals").join(format!("{rental}.json"))
    }

    pub(super) fn result(&self, rental: AgreementId) -> PathBuf {
        self.0.join("rentals").join(format!("{rental}.result"))
    }

    pub(super) fn statements(&self, rental: AgreementId) -> PathBuf {
        self.0.join("rentals").join(format!("{rental}.statements"))
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.0.join("tmp").join(format!("{:032x}", rand::random::<u128>()))
    }

    /// Writes a document whole or not at all.
    pub(super) fn write(&self, path: &Path, document: &impl Serialize) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(document).map_err(io::Error::other).map_err(at(path))?;
        self.write_bytes(path, &bytes)
    }

    pub(super) fn write_bytes(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.temporary();
        let mut file = File::create(&temporary).map_err(at(&temporary))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
        move_in(&temporary, path)
    }
}

/// Puts a complete, synced file where it belongs, for good.
pub(super) fn move_in(from: &Path, to: &Path) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(at(folder))?;
    fs::rename(from, to).map_err(at(to))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// A document, or `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at(path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from).map_err(at(path))
}

/// Removes a file or folder that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Size of a file, 0 if there is none.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}
