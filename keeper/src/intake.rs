//! Takes work in: reads a request's files into the keeper's own folder and writes the spec, so that later changes of
//! the user's files change nothing.

use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use rand::Rng;
use tokio::{fs, io::AsyncReadExt};

use crate::{
    socket::RentRequest,
    spec::{InputRef, MAX_BLOB_BYTES, MAX_INPUTS, RentalSpec, TaskSpec, sha256},
};

/// A request whose inputs are stored.
#[derive(Debug)]
pub struct Intake {
    /// What was asked.
    pub request: RentRequest,
    /// What a provider will be asked.
    pub spec: RentalSpec,
    /// SHA-256 of the spec's bytes.
    pub spec_hash: B256,
}

/// Folder of a job's inputs inside the jobs folder.
pub fn inputs_dir(jobs_dir: &Path, spec_hash: B256) -> PathBuf {
    jobs_dir.join(format!("{spec_hash:x}"))
}

/// Where one stored input is.
pub fn input_path(jobs_dir: &Path, spec_hash: B256, input: B256) -> PathBuf {
    inputs_dir(jobs_dir, spec_hash).join(format!("{input:x}"))
}

/// Reads and stores the inputs.
///
/// # Errors
/// One line that names the file and the remedy.
pub async fn take(request: RentRequest, jobs_dir: &Path) -> Result<Intake, String> {
    if request.inputs.is_empty() || request.inputs.len() > MAX_INPUTS {
        return Err(format!("{} inputs given; 1 to {MAX_INPUTS} are taken (--input FILE)", request.inputs.len()));
    }
    let mut files = Vec::new();
    let mut inputs = Vec::new();
    for path in &request.inputs {
        let bytes = read(path).await?;
        let hash = sha256(&bytes);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "input".into());
        inputs.push(InputRef { name, sha256: hash, bytes: bytes.len() as u64 });
        files.push((hash, bytes));
    }
    let task =
        TaskSpec { task_id: "t0".into(), task_type: request.task_type, inputs, parameters: request.parameters.clone() };
    let spec = RentalSpec { version: 1, salt: B256::from(rand::thread_rng().r#gen::<[u8; 32]>()), tasks: vec![task] };
    let bytes = spec.to_bytes();
    // The same checks as a provider makes: a spec that nobody would take is refused here.
    RentalSpec::from_bytes(&bytes).map_err(|error| error.to_string())?;
    let spec_hash = sha256(&bytes);
    store(jobs_dir, spec_hash, files).await.map_err(|error| format!("the keeper cannot store the inputs: {error}"))?;
    Ok(Intake { request, spec, spec_hash })
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let explain = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("input {shown} does not exist; check the path"),
        std::io::ErrorKind::PermissionDenied => {
            format!("input {shown} cannot be read by the keeper; allow its user to")
        }
        _ => format!("input {shown}: {error}"),
    };
    let about = fs::metadata(path).await.map_err(explain)?;
    if !about.is_file() {
        return Err(format!("input {shown} is no file; give files, not folders"));
    }
    if about.len() == 0 {
        return Err(format!("input {shown} is empty; there is nothing to work on"));
    }
    if about.len() > MAX_BLOB_BYTES {
        return Err(format!("input {shown} has {} bytes; at most {MAX_BLOB_BYTES} are taken", about.len()));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).await.map_err(explain)?;
    // One byte over the bound, in case the file grew since it was measured.
    file.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes).await.map_err(explain)?;
    Ok(bytes)
}

async fn store(jobs_dir: &Path, spec_hash: B256, files: Vec<(B256, Vec<u8>)>) -> std::io::Result<()> {
    fs::create_dir_all(inputs_dir(jobs_dir, spec_hash)).await?;
    for (hash, bytes) in files {
        let path = input_path(jobs_dir, spec_hash, hash);
        let partial = path.with_extension("partial");
        fs::write(&partial, &bytes).await?;
        fs::File::open(&partial).await?.sync_all().await?;
        fs::rename(&partial, &path).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{job::Priority, spec::TaskType};

    fn request(inputs: Vec<PathBuf>) -> RentRequest {
        RentRequest {
            task_type: TaskType::TextProcessing,
            inputs,
            parameters: Default::default(),
            class: None,
            max_price_per_hour: None,
            priority: Priority::Normal,
            max_duration_s: 60,
            out_dir: "/tmp".into(),
        }
    }

    #[tokio::test]
    async fn inputs_are_kept_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notes.md");
        std::fs::write(&file, "first").unwrap();
        let taken = take(request(vec![file.clone()]), dir.path()).await.unwrap();
        std::fs::write(&file, "second").unwrap();
        let input = &taken.spec.tasks[0].inputs[0];
        assert_eq!((input.name.as_str(), input.bytes), ("notes.md", 5));
        assert_eq!(std::fs::read(input_path(dir.path(), taken.spec_hash, input.sha256)).unwrap(), b"first");
    }

    #[tokio::test]
    async fn files_that_cannot_be_worked_on_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.txt");
        std::fs::write(&empty, "").unwrap();
        for (path, words) in [
            (dir.path().join("nowhere.txt"), "nowhere.txt does not exist"),
            (empty, "empty.txt is empty"),
            (dir.path().to_owned(), "is no file"),
        ] {
            let error = take(request(vec![path]), dir.path()).await.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(take(request(vec![]), dir.path()).await.unwrap_err().contains("--input"));
    }
}
