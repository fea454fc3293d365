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
        self.write_in_parts(name, media_type, |part| part.put(content))
    }

    /// The same for a result that is too large to be held in memory: `fill` puts it down piece by piece. If it fails,
    /// nothing of the result is left.
    ///
    /// # Errors
    /// As [`Self::write`], and those of `fill`.
    pub(crate) fn write_in_parts<T>(
        &mut self,
        name: &str,
        media_type: &'static str,
        fill: impl FnOnce(&mut Part) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.files.contains_key(name) {
            return Err(Failure::Internal(format!("two results want the name {name}")));
        }
        let (filled, sha256, bytes) = self.place(name, fill)?;
        self.files.insert(name.to_owned(), Entry { sha256, bytes, media_type });
        Ok(filled)
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
        self.place(MANIFEST, |part| part.put(&json)).map(|_| ())
    }

    /// Writes a file under its temporary name, then under its own; gives its SHA-256 and its length too.
    fn place<T>(
        &self,
        name: &str,
        fill: impl FnOnce(&mut Part) -> Result<T, Failure>,
    ) -> Result<(T, String, u64), Failure> {
        let (temporary, path) = (self.path.join(format!(".{name}.tmp")), self.path.join(name));
        let write = || {
            let mut part = Part::create(&temporary, path.clone())?;
            let filled = fill(&mut part)?;
            let (sha256, bytes) = part.close()?;
            fs::rename(&temporary, &path).map_err(|source| self.failed(name, source))?;
            Ok((filled, sha256, bytes))
        };
        write().inspect_err(|_| {
            // What is left of a failed write would only take the space that `error.json` needs.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn failed(&self, name: &str, source: io::Error) -> Failure {
        Failure::Output { path: self.path.join(name), source }
    }
}

/// A result that is being written.
pub(crate) struct Part {
    /// What it will be called.
    path: PathBuf,
    file: io::BufWriter<fs::File>,
    hasher: Sha256,
    bytes: u64,
}

impl Part {
    fn create(temporary: &Path, path: PathBuf) -> Result<Self, Failure> {
        match fs::File::create(temporary) {
            Ok(file) => Ok(Self { path, file: io::BufWriter::new(file), hasher: Sha256::new(), bytes: 0 }),
            Err(source) => Err(Failure::Output { path, source }),
        }
    }

    /// Adds `content` at the end.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn put(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.file.write_all(content).map_err(|source| Failure::Output { path: self.path.clone(), source })?;
        self.hasher.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Its SHA-256 and length, once it is on the disk.
    fn close(self) -> Result<(String, u64), Failure> {
        let Self { path, mut file, hasher, bytes } = self;
        match file.flush().and_then(|()| file.get_ref().sync_all()) {
            Ok(()) => Ok((hex::encode(hasher.finalize()), bytes)),
            Err(source) => Err(Failure::Output { path, source }),
        }
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
