//! Result files and the manifest that commits to them.
//!
//! Every file is written under a temporary name and renamed, and the manifest comes last: a reader that finds
//! `manifest.json` finds everything it lists.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

const MANIFEST: &str = "manifest.json";
const ERROR: &str = "error.json";

/// A stem may have at most this many bytes, so that every name fits into any file system's 255.
const MAX_STEM_BYTES: usize = 120;

/// The folder of the results of one run.
pub(crate) struct OutDir {
    path: PathBuf,
    /// Sorted by name, as the manifest lists them.
    files: BTreeMap<String, Entry>,
}

struct Entry {
    sha256: String,
    bytes: u64,
    media_type: &'static str,
}

#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    files: Vec<ManifestFile<'a>>,
    task_id: Option<&'a str>,
    spec_sha256: Option<&'a str>,
}

#[derive(Serialize)]
struct ManifestFile<'a> {
    path: &'a str,
    sha256: &'a str,
    bytes: u64,
    media_type: &'a str,
}

#[derive(Serialize)]
struct ErrorFile<'a> {
    code: u8,
    message: String,
    inputs: Vec<&'a str>,
}

impl OutDir {
    /// Opens the folder, making it if need be, and takes away what an interrupted run may have left: from here on a
    /// manifest means that this run has ended.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let out = Self { path: path.to_owned(), files: BTreeMap::new() };
        fs::create_dir_all(path).map_err(|source| Failure::Output { path: path.to_owned(), source })?;
        for stale in [MANIFEST, ERROR] {
            match fs::remove_file(path.join(stale)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(out.failed(stale, source)),
                _ => {}
            }
        }
        Ok(out)
    }

    /// Writes one result and notes its hash for the manifest.
    ///
    /// # Errors
    /// [`Failure::Output`]; [`Failure::Internal`] if the name was used before.
    pub(crate) fn write(&mut self, name: &str, media_type: &'static str, content: &[u8]) -> Result<(), Failure> {
        if self.files.contains_key(name) {
            return Err(Failure::Internal(format!("two results want the name {name}")));
        }
        self.place(name, content)?;
        let entry = Entry { sha256: hex::encode(Sha256::digest(content)), bytes: content.len() as u64, media_type };
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Writes one result as readable JSON.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_json(&mut self, name: &str, content: &impl Serialize) -> Result<(), Failure> {
        let mut json = serde_json::to_vec_pretty(content).map_err(|error| Failure::Internal(error.to_string()))?;
        json.push(b'\n');
        self.write(name, "application/json", &json)
    }

    /// Writes `error.json`, which says why the task failed.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn write_error(&mut self, failure: &Failure) -> Result<(), Failure> {
        let error = ErrorFile { code: failure.code(), message: failure.to_string(), inputs: failure.names() };
        self.write_json(ERROR, &error)
    }

    /// Writes the manifest, which ends the run. `identity` is the task's id and spec hash; it is absent when
    /// `task.json` could not be read.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn finish(&self, identity: Option<(&str, &str)>) -> Result<(), Failure> {
        let manifest = Manifest {
            version: 1,
            files: self
                .files
                .iter()
                .map(|(path, entry)| ManifestFile {
                    path,
                    sha256: &entry.sha256,
                    bytes: entry.bytes,
                    media_type: entry.media_type,
                })
                .collect(),
            task_id: identity.map(|(task_id, _)| task_id),
            spec_sha256: identity.map(|(_, spec)| spec),
        };
        let mut json = serde_json::to_vec_pretty(&manifest).map_err(|error| Failure::Internal(error.to_string()))?;
        json.push(b'\n');
        self.place(MANIFEST, &json)
    }

    fn place(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let temporary = self.path.join(format!(".{name}.tmp"));
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, self.path.join(name))
        };
        write().map_err(|source| {
            // What is left of a failed write would only take the space that `error.json` needs.
            let _ = fs::remove_file(&temporary);
            self.failed(name, source)
        })
    }

    fn failed(&self, name: &str, source: io::Error) -> Failure {
        Failure::Output { path: self.path.join(name), source }
    }
}

/// One safe, distinct stem for the results of each input, in the inputs' order: `notes.md` becomes `notes`, a second
/// `notes.txt` becomes `notes-2`. Names that differ by case alone count as the same.
pub(crate) fn stems<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    names
        .map(|name| {
            let stem = stem(name);
            let mut candidate = stem.clone();
            let mut number = 2;
            while !taken.insert(candidate.to_lowercase()) {
                candidate = format!("{stem}-{number}");
                number += 1;
            }
            candidate
        })
        .collect()
}

/// The last part of a path without its extension, with everything but letters, digits, `.`, `-` and `_` replaced.
fn stem(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let base = match file.rsplit_once('.') {
        Some((base, extension)) if !base.is_empty() && extension.len() <= 8 => base,
        _ => file,
    };
    let mut stem = String::new();
    for character in base.chars() {
        let safe = if character.is_alphanumeric() || "._-".contains(character) { character } else { '_' };
        if stem.len() + safe.len_utf8() > MAX_STEM_BYTES {
            break;
        }
        stem.push(safe);
    }
    // A leading dot would hide the result, a leading dash would look like an option.
    let stem = stem.trim_matches(['.', '-', '_']);
    if stem.is_empty() { "input".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expect: &[&str]) {
        assert_eq!(stems(names.iter().copied()), expect);
    }

    #[test]
    fn stems_are_plain_names() {
        check(&["notes.md"], &["notes"]);
        check(&["../../etc/passwd"], &["passwd"]);
        check(&["C:\\docs\\Größe 2.txt"], &["Größe_2"]);
        check(&[".bashrc", "...", "", "-rf.txt"], &["bashrc", "input", "input-2", "rf"]);
        check(&["archive.tar.gz", "v1.2"], &["archive.tar", "v1"]);
        check(&["a\n\u{202e}b.csv"], &["a__b"]);
    }

    #[test]
    fn stems_are_distinct_even_when_a_number_is_taken() {
        check(&["a.md", "a-2.md", "a.txt", "A.csv"], &["a", "a-2", "a-3", "A-4"]);
    }

    #[test]
    fn stems_are_short_enough_for_any_file_system() {
        let long = "ß".repeat(400);
        assert_eq!(stems([long.as_str()].into_iter())[0].len(), MAX_STEM_BYTES);
    }
}
