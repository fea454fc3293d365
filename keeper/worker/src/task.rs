//! What is asked: `task.json`, checked, and its blobs, each verified against its size and SHA-256 before use.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// `task.json` may have at most this many bytes.
const MAX_TASK_BYTES: u64 = 1 << 20;

/// A task may have at most this many inputs.
const MAX_INPUTS: usize = 256;

/// The one version of `task.json` that this worker reads.
const VERSION: u32 = 1;

/// One task as the keeper describes it. Fields that a later keeper adds are ignored; a change of meaning changes
/// `version`.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    version: u32,
    /// Chosen by the agent, unique within its rental.
    pub(crate) task_id: String,
    /// One of the market's task types, e.g. `text_processing`.
    pub(crate) task_type: String,
    /// SHA-256 of the rental's spec, 64 hexadecimal digits; repeated in the manifest.
    pub(crate) spec_sha256: String,
    /// The files to work on.
    pub(crate) inputs: Vec<Input>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// One input as `task.json` names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    /// The file's name at the agent's side; a label, never a path.
    pub(crate) name: String,
    sha256: String,
    bytes: u64,
}

/// One input, verified and open at its first byte. The handle stays open, so what is processed is what was hashed.
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    file: File,
}

impl Task {
    /// Reads and checks `task.json` in the folder `input`.
    ///
    /// # Errors
    /// [`Failure::Missing`] if it cannot be read, [`Failure::BadInput`] if it is not what it must be,
    /// [`Failure::Usage`] for an unknown version.
    pub(crate) fn load(input: &Path) -> Result<Self, Failure> {
        const NAME: &str = "task.json";
        let path = input.join(NAME);
        let missing = |source| Failure::Missing { name: NAME.to_owned(), path: path.clone(), source };
        let mut json = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_TASK_BYTES + 1).read_to_end(&mut json)).map_err(missing)?;
        if json.len() as u64 > MAX_TASK_BYTES {
            return Err(Failure::bad(NAME, format!("is larger than {MAX_TASK_BYTES} bytes")));
        }
        let task: Self =
            serde_json::from_slice(&json).map_err(|error| Failure::bad(NAME, format!("is not a task: {error}")))?;
        task.check()?;
        Ok(task)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.version != VERSION {
            return Err(Failure::Usage(format!(
                "task.json has version {}; this worker reads version {VERSION}: use a worker image of that version",
                self.version
            )));
        }
        let bad = |reason: String| Err(Failure::bad("task.json", reason));
        if !is_sha256(&self.spec_sha256) {
            return bad(format!("spec_sha256 {:?} is not 64 lower-case hexadecimal digits", self.spec_sha256));
        }
        if self.inputs.is_empty() || self.inputs.len() > MAX_INPUTS {
            return bad(format!("has {} inputs; a task has 1 to {MAX_INPUTS}", self.inputs.len()));
        }
        // The hash becomes a path below, so it must be nothing but a hash.
        match self.inputs.iter().find(|input| !is_sha256(&input.sha256)) {
            Some(input) => bad(format!(
                "sha256 {:?} of input {:?} is not 64 lower-case hexadecimal digits",
                input.sha256, input.name
            )),
            None => Ok(()),
        }
    }

    /// The task's parameters as those of one craft.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a parameter that the craft does not know or that has the wrong type.
    pub(crate) fn parameters<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let object = Value::Object(self.parameters.clone().unwrap_or_default());
        serde_json::from_value(object)
            .map_err(|error| Failure::Usage(format!("parameters of {}: {error}", self.task_type)))
    }

    /// Opens and verifies all inputs, so that no work is done for a task that cannot be finished.
    ///
    /// # Errors
    /// [`Failure::Missing`] or [`Failure::Mismatch`] for the first input that is not as named.
    pub(crate) fn open_blobs(&self, input: &Path) -> Result<Vec<Blob>, Failure> {
        self.inputs.iter().map(|named| Blob::open(named, input)).collect()
    }
}

impl Blob {
    fn open(named: &Input, input: &Path) -> Result<Self, Failure> {
        let path = input.join("blobs").join(&named.sha256);
        let missing = |source| Failure::Missing { name: named.name.clone(), path: path.clone(), source };
        let mismatch =
            |expected: String, found: String| Failure::Mismatch { name: named.name.clone(), expected, found };
        let mut file = File::open(&path).map_err(missing)?;
        let bytes = file.metadata().map_err(missing)?.len();
        if bytes != named.bytes {
            return Err(mismatch(format!("{} bytes", named.bytes), format!("{bytes} bytes")));
        }
        let found = sha256_of(&mut file).map_err(missing)?;
        if found != named.sha256 {
            return Err(mismatch(format!("sha256 {}", named.sha256), format!("sha256 {found}")));
        }
        Ok(Self { name: named.name.clone(), bytes, file })
    }

    /// The content from its first byte.
    ///
    /// # Errors
    /// [`Failure::Missing`] if the file cannot be rewound.
    pub(crate) fn reader(&mut self) -> Result<BufReader<&mut File>, Failure> {
        if let Err(source) = self.file.seek(SeekFrom::Start(0)) {
            return Err(self.unreadable(source));
        }
        Ok(BufReader::new(&mut self.file))
    }

    /// An error while reading the content.
    pub(crate) fn unreadable(&self, source: io::Error) -> Failure {
        unreadable(&self.name, source)
    }

    /// Refuses an input that is empty or larger than `max_bytes`, which is the craft's own limit.
    ///
    /// # Errors
    /// [`Failure::BadInput`].
    pub(crate) fn check_size(&self, max_bytes: u64, craft: &str) -> Result<(), Failure> {
        if self.bytes == 0 {
            return Err(Failure::bad(&self.name, "is empty: there is nothing to process"));
        }
        if self.bytes > max_bytes {
            let (mib, max) = (self.bytes.div_ceil(1 << 20), max_bytes >> 20);
            return Err(Failure::bad(
                &self.name,
                format!("has {mib} MiB; {craft} takes at most {max} MiB an input: split it"),
            ));
        }
        Ok(())
    }
}

/// An error while reading the content of `name`: its bytes cannot be understood, or the medium failed.
pub(crate) fn unreadable(name: &str, source: io::Error) -> Failure {
    if source.kind() == io::ErrorKind::InvalidData {
        Failure::bad(name, source.to_string())
    } else {
        Failure::Missing { name: name.to_owned(), path: name.into(), source }
    }
}

fn sha256_of(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}
