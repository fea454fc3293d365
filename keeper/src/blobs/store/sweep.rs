//! What a kill left behind: read again what counts, remove the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;

use super::{
    State, StoreError,
    record::{self, Paths, Record, at},
};

/// Reads all records and removes what none of them refers to.
pub(super) fn sweep(paths: &Paths, partial_age: Duration) -> Result<State, StoreError> {
    record::remove(&paths.0.join("tmp"))?;
    paths.create()?;
    let mut state = State::default();
    for path in entries(&paths.0.join("rentals"))? {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match record::read::<Record>(&path) {
            Ok(Some(record)) if record.version == 1 && path == paths.record(record.rental) => state.insert(record),
            Ok(_) => tracing::error!(path = %path.display(), "not a record of this version; its blobs are removed"),
            Err(error) => tracing::error!(%error, "a record cannot be read; its blobs are removed"),
        }
    }
    for folder in entries(&paths.0.join("blobs"))? {
        for path in entries(&folder)? {
            let hash = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<B256>().ok());
            match hash.filter(|hash| state.references.contains_key(hash)) {
                Some(hash) => {
                    let bytes = record::size(&path);
                    state.blobs.insert(hash, bytes);
                    state.used += bytes;
                }
                None => record::remove(&path)?,
            }
        }
    }
    for folder in entries(&paths.0.join("partial"))? {
        let rental =
            folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<AgreementId>().ok());
        if rental.is_none_or(|rental| !state.records.contains_key(&rental)) {
            record::remove(&folder)?;
            continue;
        }
        for path in entries(&folder)? {
            let age = fs::metadata(&path).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > partial_age) {
                record::remove(&path)?;
            } else {
                state.used += record::size(&path);
            }
        }
    }
    Ok(state)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs::read_dir(folder).and_then(|found| found.map(|entry| entry.map(|entry| entry.path())).collect());
    listed.map_err(at(folder))
}

pub(super) fn folder_bytes(folder: &Path) -> u64 {
    entries(folder).map_or(0, |paths| paths.iter().map(|path| record::size(path)).sum())
}
