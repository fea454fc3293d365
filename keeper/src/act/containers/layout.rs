//! The folders of a worker: what it finds under `/in`, and the bounds on what is taken out of `/out`.
//!
//! Everything here blocks; call it from a blocking thread. Folders appear whole or not at all: they are filled under
//! a temporary name and renamed.

mod intake;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use serde_json::json;
use sha2::{Digest, Sha256};

pub(super) use self::intake::Intake;
use crate::spec::{Manifest, TaskSpec, sha256};

/// Most files and folders taken from one `/out`.
pub const MAX_OUTPUT_ENTRIES: usize = 4_096;

/// Largest manifest, bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Longest path of an output, bytes.
pub const MAX_PATH_BYTES: usize = 512;

/// Deepest path of an output, components.
pub const MAX_PATH_DEPTH: usize = 8;

/// Name of the manifest under `/out`.
pub const MANIFEST_NAME: &str = "manifest.json";

/// Outputs that are refused, or a folder that failed.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A path that could leave the folder or hide in it.
    #[error("path '{path}' is refused: {why}")]
    Path {
        /// As found, escaped.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Neither file nor folder.
    #[error("'{path}' is a {kind}; a worker may write only files and folders")]
    Kind {
        /// As found, escaped.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Over a bound.
    #[error("too much: {0}; let the task write less or raise disk_mib")]
    TooMuch(String),
    /// The worker's list is absent or wrong.
    #[error("manifest.json {0}")]
    Manifest(String),
    /// A file or folder of the keeper.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LayoutError {
    /// Whether the worker is to blame; otherwise the keeper's own disk is, and the outputs may be taken later.
    pub fn is_by_worker(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// What a worker made, checked against its own list.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// The list.
    pub manifest: Manifest,
    /// The list's exact bytes.
    pub manifest_bytes: Vec<u8>,
    /// Their hash, which goes into the result hash.
    pub manifest_sha256: B256,
}

/// Fills `in_dir` for a worker: `task.json` and `blobs/<sha256>`, readable by any user. `blob` says where the bytes
/// of a hash are. A complete folder of an earlier call for the same task is kept, as a running worker may have it mounted.
///
/// # Errors
/// [`LayoutError::Io`] naming the file.
pub fn write_inputs(
    in_dir: &Path,
    rental: AgreementId,
    spec_hash: B256,
    task: &TaskSpec,
    blob: impl Fn(&B256) -> PathBuf,
) -> Result<(), LayoutError> {
    let document = task_document(rental, spec_hash, task);
    let same_task = fs::read_to_string(in_dir.join("task.json")).is_ok_and(|found| found == document);
    let complete = task.inputs.iter().all(|input| {
        fs::metadata(in_dir.join("blobs").join(hex::encode(input.sha256))).is_ok_and(|found| found.len() == input.bytes)
    });
    if same_task && complete {
        return Ok(());
    }
    let temporary = beside(in_dir, "filling");
    clear(&temporary)?;
    let blobs = temporary.join("blobs");
    fs::create_dir_all(&blobs).map_err(at(&blobs))?;
    let path = temporary.join("task.json");
    fs::write(&path, document).map_err(at(&path))?;
    set_mode(&path, 0o644)?;
    for input in &task.inputs {
        let target = blobs.join(hex::encode(input.sha256));
        let source = blob(&input.sha256);
        // A copy, not a link: the process engine seals nothing off, and the store's bytes must stay what they are.
        fs::copy(&source, &target).map_err(at(&source))?;
        set_mode(&target, 0o644)?;
    }
    set_mode(&blobs, 0o755)?;
    set_mode(&temporary, 0o755)?;
    swap_in(&temporary, in_dir)
}

/// Reads and checks what a worker left in `out_dir`: the manifest, and the size and hash of every file it lists.
///
/// # Errors
/// [`LayoutError::Manifest`] when the list and the files disagree, [`LayoutError::TooMuch`] over `max_bytes`.
pub fn read_outputs(out_dir: &Path, max_bytes: u64) -> Result<Outputs, LayoutError> {
    let refuse = |why: String| LayoutError::Manifest(why);
    let path = out_dir.join(MANIFEST_NAME);
    let mut manifest_bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut manifest_bytes))
        .map_err(|error| refuse(format!("cannot be read ({error}); the worker did not finish")))?;
    if manifest_bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(LayoutError::TooMuch(format!("manifest.json has more than {MAX_MANIFEST_BYTES} bytes")));
    }
    let manifest: Manifest =
        serde_json::from_slice(&manifest_bytes).map_err(|error| refuse(format!("does not parse: {error}")))?;
    check_manifest(&manifest, max_bytes)?;
    for file in &manifest.files {
        let path = out_dir.join(safe_path(&file.path)?);
        let (hash, bytes) = hash_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                refuse(format!("lists '{}', which is no file in /out", file.path.escape_debug()))
            }
            _ => at(&path)(error),
        })?;
        if (hash, bytes) != (file.sha256, file.bytes) {
            return Err(refuse(format!(
                "says {} bytes of {} for '{}', but the file has {bytes} bytes of {hash}",
                file.bytes,
                file.sha256,
                file.path.escape_debug()
            )));
        }
    }
    let manifest_sha256 = sha256(&manifest_bytes);
    Ok(Outputs { manifest, manifest_bytes, manifest_sha256 })
}

/// Checks a manifest in itself: version, safe and distinct paths, count and sum of sizes.
///
/// # Errors
/// [`LayoutError`] names what is wrong.
pub fn check_manifest(manifest: &Manifest, max_bytes: u64) -> Result<(), LayoutError> {
    if manifest.version != 1 {
        return Err(LayoutError::Manifest(format!("has version {}; only version 1 is known", manifest.version)));
    }
    if manifest.files.len() > MAX_OUTPUT_ENTRIES {
        return Err(LayoutError::TooMuch(format!("{} outputs, at most {MAX_OUTPUT_ENTRIES}", manifest.files.len())));
    }
    let mut total = 0_u64;
    let mut last: Option<&str> = None;
    for file in &manifest.files {
        safe_path(&file.path)?;
        if last.is_some_and(|last| last >= file.path.as_str()) {
            return Err(LayoutError::Manifest(format!("is not sorted at '{}', or lists it twice", file.path)));
        }
        last = Some(&file.path);
        total = total.saturating_add(file.bytes);
    }
    if total > max_bytes {
        return Err(LayoutError::TooMuch(format!("{total} bytes of outputs, at most {max_bytes}")));
    }
    Ok(())
}

/// A relative path that stays inside its folder, on this system and on most others.
///
/// # Errors
/// [`LayoutError::Path`].
pub fn safe_path(text: &str) -> Result<PathBuf, LayoutError> {
    let refuse = |why| Err(LayoutError::Path { path: text.escape_debug().to_string(), why });
    if text.is_empty() || text.len() > MAX_PATH_BYTES {
        return refuse("it is empty or longer than 512 bytes");
    }
    if text.chars().any(|c| c.is_control() || c == '\\' || c == ':') {
        return refuse("it has control characters, a backslash or a colon");
    }
    let path = Path::new(text);
    // `components` forgives `a//b` and `a/./b`; two spellings of one file are refused instead.
    if text.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        || !path.components().all(|part| matches!(part, Component::Normal(_)))
    {
        return refuse("it must be relative, without empty parts, . or ..");
    }
    if path.components().count() > MAX_PATH_DEPTH {
        return refuse("it is more than 8 folders deep");
    }
    Ok(path.to_owned())
}

/// SHA-256 and size of a file, read in pieces.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(B256, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((B256::from_slice(&hasher.finalize()), total)),
            read => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
        }
    }
}

/// What the worker reads as `task.json`; hashes are plain hexadecimal digits, as in file names.
fn task_document(rental: AgreementId, spec_hash: B256, task: &TaskSpec) -> String {
    let inputs = task
        .inputs
        .iter()
        .map(|input| json!({ "name": input.name, "sha256": hex::encode(input.sha256), "bytes": input.bytes }));
    json!({
        "version": 1,
        "rental": rental,
        "task_id": task.task_id,
        "task_type": task.task_type,
        "spec_sha256": hex::encode(spec_hash),
        "inputs": inputs.collect::<Vec<_>>(),
        "parameters": task.parameters,
    })
    .to_string()
}

/// Replaces `target` by `temporary`. A crash in between leaves `target` absent, never half full.
fn swap_in(temporary: &Path, target: &Path) -> Result<(), LayoutError> {
    let old = beside(target, "old");
    clear(&old)?;
    match fs::rename(target, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(target)(error)),
        _ => {}
    }
    fs::rename(temporary, target).map_err(at(target))?;
    if let Some(parent) = target.parent() {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(at(parent))?;
    }
    clear(&old)
}

/// Deletes a folder of ours, if it is there.
pub(crate) fn clear(folder: &Path) -> Result<(), LayoutError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    folder.with_file_name(name)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), LayoutError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> LayoutError + '_ {
    move |source| LayoutError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::{InputRef, OutputRef, TaskType};

    #[test]
    fn only_paths_that_stay_inside_are_safe() {
        for good in ["a", "a.txt", "a/b/c.md", "..a", "a b", "ü.md"] {
            assert_eq!(safe_path(good).unwrap(), Path::new(good));
        }
        let long = "x".repeat(513);
        for bad in [
            "",
            ".",
            "..",
            "/a",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "c:x",
            "a\0",
            "a\nb",
            "1/2/3/4/5/6/7/8/9",
            &long,
        ] {
            assert!(matches!(safe_path(bad), Err(LayoutError::Path { .. })), "{bad:?}");
        }
    }

    #[test]
    fn inputs_are_filled_once_for_a_spec_and_anew_for_another() {
        let root = tempfile::tempdir().unwrap();
        let (in_dir, blob) = (root.path().join("in"), root.path().join("blob"));
        fs::write(&blob, "abc").unwrap();
        let input = InputRef { name: "a".into(), sha256: sha256(b"abc"), bytes: 3 };
        let task = TaskSpec {
            task_id: "t0".into(),
            task_type: TaskType::DataAnalysis,
            inputs: vec![input.clone(), input],
            parameters: Default::default(),
        };
        let fill = |hash| write_inputs(&in_dir, AgreementId::default(), hash, &task, |_| blob.clone()).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&in_dir).unwrap());
        fill(B256::ZERO);
        assert_eq!(fs::read(in_dir.join("blobs").join(hex::encode(sha256(b"abc")))).unwrap(), b"abc");
        let first = inode();
        fill(B256::ZERO);
        assert_eq!(inode(), first, "a running worker keeps its folder");
        fs::write(in_dir.join("stale"), "x").unwrap();
        fill(B256::repeat_byte(1));
        assert!(!in_dir.join("stale").exists());
        assert!(fs::read_to_string(in_dir.join("task.json")).unwrap().contains(&"01".repeat(32)));
    }

    #[test]
    fn outputs_must_be_what_the_manifest_says() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &[u8]| fs::write(root.path().join(name), content).unwrap();
        let list = |files: Vec<OutputRef>| {
            let manifest = Manifest { version: 1, task_id: "t0".into(), spec_sha256: B256::ZERO, files };
            put(MANIFEST_NAME, &serde_json::to_vec(&manifest).unwrap());
        };
        let entry = |path: &str, content: &[u8]| OutputRef {
            path: path.into(),
            sha256: sha256(content),
            bytes: content.len() as u64,
            media_type: "text/plain".into(),
        };
        let check = |word: &str| {
            let error = read_outputs(root.path(), 100).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("did not finish");
        put("a", b"abc");
        list(vec![entry("a", b"abc")]);
        assert_eq!(read_outputs(root.path(), 100).unwrap().manifest.files.len(), 1);
        put("a", b"abd");
        check("'a'");
        list(vec![entry("../a", b"abc")]);
        check("../a");
        for absent in ["gone", "a/b", "folder"] {
            fs::create_dir_all(root.path().join("folder")).unwrap();
            list(vec![entry(absent, b"abc")]);
            check(&format!("lists '{absent}', which is no file"));
            assert!(read_outputs(root.path(), 100).unwrap_err().is_by_worker());
        }
        list(vec![entry("a", b"abd"), entry("a", b"abd")]);
        check("twice");
        list(vec![OutputRef { bytes: 101, ..entry("a", b"abd") }]);
        check("at most 100");
        put(MANIFEST_NAME, b"{}");
        check("does not parse");
    }
}
