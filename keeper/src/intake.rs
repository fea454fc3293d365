//! Takes work in: reads a request's files into the keeper's own folder and writes the spec, so that later changes of
//! the user's files change nothing.

use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use rand::Rng;
use tokio::{fs, io::AsyncReadExt};

use crate::{
    act::containers::layout::hash_file,
    socket::RentRequest,
    spec::{InputRef, MAX_BLOB_BYTES, MAX_INPUTS, RentalSpec, TaskSpec, sha256},
};

/// Opens the name of a folder whose inputs are still being stored.
const UNFINISHED: &str = "taking-";

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

/// Removes what a kill left of requests that were being taken in.
///
/// # Errors
/// When the folder cannot be read.
pub fn clear_unfinished(jobs_dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(jobs_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Reads and stores the inputs.
///
/// # Errors
/// One line that names the file and the remedy.
pub async fn take(request: RentRequest, jobs_dir: &Path) -> Result<Intake, String> {
    let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(jobs_dir).map_err(cannot_store)?;
    let mut tasks = Vec::new();
    for (number, task) in request.tasks.iter().enumerate() {
        if task.inputs.is_empty() || task.inputs.len() > MAX_INPUTS {
            return Err(format!("{} inputs given; 1 to {MAX_INPUTS} are taken (--input FILE)", task.inputs.len()));
        }
        let mut inputs = Vec::new();
        for path in &task.inputs {
            inputs.push(take_file(path, folder.path()).await?);
        }
        let (task_type, parameters) = (task.task_type, task.parameters.clone());
        tasks.push(TaskSpec { task_id: format!("t{number}"), task_type, inputs, parameters });
    }
    let salt = B256::from(rand::thread_rng().r#gen::<[u8; 32]>());
    let spec = RentalSpec { version: 1, salt, tasks, keep_warm_s: request.keep_warm_s };
    let bytes = spec.to_bytes();
    // The same checks as a provider makes: a spec that nobody would take is refused here.
    RentalSpec::from_bytes(&bytes).map_err(|error| error.to_string())?;
    let spec_hash = sha256(&bytes);
    // All of them or none: from here on they are a job's.
    fs::rename(folder.path(), inputs_dir(jobs_dir, spec_hash)).await.map_err(cannot_store)?;
    Ok(Intake { request, spec, spec_hash })
}

/// Copies an input into `folder` under its hash.
async fn take_file(path: &Path, folder: &Path) -> Result<InputRef, String> {
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
    let file = fs::File::open(path).await.map_err(explain)?;
    let copy = folder.join("partial");
    let copied = async {
        // What the file grows by after it was measured is left out.
        let mut from = file.take(about.len());
        let mut to = fs::File::create(&copy).await?;
        tokio::io::copy(&mut from, &mut to).await?;
        to.sync_all().await?;
        let (hash, bytes) = {
            let copy = copy.clone();
            tokio::task::spawn_blocking(move || hash_file(&copy)).await.map_err(std::io::Error::other)??
        };
        fs::rename(&copy, folder.join(format!("{hash:x}"))).await?;
        Ok((hash, bytes))
    };
    let (sha256, bytes) = copied.await.map_err(cannot_store)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "input".into());
    Ok(InputRef { name, sha256, bytes })
}

fn cannot_store(error: std::io::Error) -> String {
    format!("the keeper cannot store the inputs: {error}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{job::Priority, socket::TaskRequest, spec::TaskType};

    fn request(inputs: Vec<PathBuf>) -> RentRequest {
        let task = TaskRequest { task_type: TaskType::TextProcessing, inputs, parameters: Default::default() };
        RentRequest {
            tasks: vec![task],
            keep_warm_s: 0,
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
    async fn tasks_keep_their_order_and_share_what_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.md"), dir.path().join("two.md"));
        std::fs::write(&one, "same").unwrap();
        std::fs::write(&two, "same").unwrap();
        let mut request = request(vec![one]);
        request.tasks.push(TaskRequest { inputs: vec![two], ..request.tasks[0].clone() });
        request.keep_warm_s = 30;
        let taken = take(request.clone(), dir.path()).await.unwrap();
        let named: Vec<_> = taken.spec.tasks.iter().map(|task| (&*task.task_id, &*task.inputs[0].name)).collect();
        assert_eq!((named, taken.spec.keep_warm_s), (vec![("t0", "one.md"), ("t1", "two.md")], 30));
        assert_eq!(std::fs::read_dir(inputs_dir(dir.path(), taken.spec_hash)).unwrap().count(), 1);
        request.keep_warm_s = 3_601;
        assert!(take(request, dir.path()).await.unwrap_err().contains("3601"));
        // A kill in the middle leaves a folder that the next start removes.
        std::fs::create_dir(dir.path().join("taking-x")).unwrap();
        clear_unfinished(dir.path()).unwrap();
        assert!(!dir.path().join("taking-x").exists() && inputs_dir(dir.path(), taken.spec_hash).exists());
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
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left but the empty file");
    }
}
