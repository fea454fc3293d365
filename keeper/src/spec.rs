//! What a rental is asked to do, and what came out of it: the documents whose hashes go on chain.

mod receipt;

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::receipt::{Receipt, Statement, receipt_root, rental_result, result_hash};

/// Largest spec document, bytes.
pub const MAX_SPEC_BYTES: usize = 256 * 1024;
/// Most tasks of one spec.
pub const MAX_TASKS: usize = 16;
/// Longest time that a rental may be kept without work, seconds.
pub const MAX_KEEP_WARM_S: u32 = 3_600;
/// Most inputs of one task.
pub const MAX_INPUTS: usize = 64;
/// Largest single blob, bytes.
pub const MAX_BLOB_BYTES: u64 = 256 * 1024 * 1024;

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(bytes))
}

/// Kinds of work, as AITBC names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Text, Markdown.
    TextProcessing,
    /// Pictures.
    ImageProcessing,
    /// Sound.
    AudioProcessing,
    /// Film.
    VideoProcessing,
    /// Tables.
    DataAnalysis,
    /// Running a model.
    ModelInference,
    /// Training a model.
    ModelTraining,
}

impl TaskType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TextProcessing,
        Self::ImageProcessing,
        Self::AudioProcessing,
        Self::VideoProcessing,
        Self::DataAnalysis,
        Self::ModelInference,
        Self::ModelTraining,
    ];

    /// Name as written in specs and commands.
    pub fn name(self) -> &'static str {
        [
            "text_processing",
            "image_processing",
            "audio_processing",
            "video_processing",
            "data_analysis",
            "model_inference",
            "model_training",
        ][self as usize]
    }
}

impl std::fmt::Display for TaskType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no task type.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is no task type: use one of text_processing, image_processing, audio_processing, video_processing, \
     data_analysis, model_inference, model_training"
)]
pub struct ParseTaskTypeError(String);

impl std::str::FromStr for TaskType {
    type Err = ParseTaskTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| ParseTaskTypeError(text.to_owned()))
    }
}

/// One input blob of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRef {
    /// File name as the user knows it, without folders.
    pub name: String,
    /// Content hash.
    pub sha256: B256,
    /// Size in bytes.
    pub bytes: u64,
}

/// One task of a rental.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Name inside the rental, e.g. `t0`.
    pub task_id: String,
    /// Kind of work.
    pub task_type: TaskType,
    /// What it reads.
    pub inputs: Vec<InputRef>,
    /// Knobs of the task type.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// What a rental is asked to do. The SHA-256 of its JSON bytes is the bid's `specHash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RentalSpec {
    /// Format, 1.
    pub version: u32,
    /// Random, so that equal work of different agents has different hashes.
    pub salt: B256,
    /// The work, run in order.
    pub tasks: Vec<TaskSpec>,
    /// The rental is kept so long after its last task for more to be pushed, seconds; the wait is billed. 0: it ends with
    /// its last task.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keep_warm_s: u32,
}

fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

/// One task of a rental, whichever spec names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskName {
    /// The rental's own spec, or one that was pushed.
    pub spec_hash: B256,
    /// Its name there.
    pub task_id: String,
}

/// A spec that no worker may be given.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not JSON of the known form.
    #[error("the spec does not parse: {0}; it must be a version 1 document")]
    Parse(#[from] serde_json::Error),
    /// Beyond a bound.
    #[error("the spec is refused: {0}")]
    Refused(String),
}

impl RentalSpec {
    /// The document's bytes; what is hashed and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain data with string keys always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses and checks all bounds.
    ///
    /// # Errors
    /// [`SpecError`] names what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SpecError> {
        if bytes.len() > MAX_SPEC_BYTES {
            return Err(SpecError::Refused(format!("{} bytes, at most {MAX_SPEC_BYTES} are taken", bytes.len())));
        }
        let spec: Self = serde_json::from_slice(bytes)?;
        let refuse = |what: String| Err(SpecError::Refused(what));
        if spec.version != 1 {
            return refuse(format!("version {}, only version 1 is known", spec.version));
        }
        if spec.tasks.is_empty() || spec.tasks.len() > MAX_TASKS {
            return refuse(format!("{} tasks; 1 to {MAX_TASKS} are taken", spec.tasks.len()));
        }
        if spec.keep_warm_s > MAX_KEEP_WARM_S {
            return refuse(format!("keep_warm_s = {}; at most {MAX_KEEP_WARM_S} s are taken", spec.keep_warm_s));
        }
        for (at, task) in spec.tasks.iter().enumerate() {
            if spec.tasks[..at].iter().any(|other| other.task_id == task.task_id) {
                return refuse(format!("two tasks are called '{}'; give each its own task id", task.task_id));
            }
            if task.task_id.is_empty()
                || task.task_id.len() > 32
                || !task.task_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            {
                return refuse(format!("task id '{}': use 1 to 32 letters, digits, - or _", task.task_id));
            }
            if task.inputs.is_empty() || task.inputs.len() > MAX_INPUTS {
                return refuse(format!("{} inputs; 1 to {MAX_INPUTS} are taken", task.inputs.len()));
            }
            for input in &task.inputs {
                if input.bytes == 0 || input.bytes > MAX_BLOB_BYTES {
                    return refuse(format!(
                        "input '{}' has {} bytes; 1 to {MAX_BLOB_BYTES} are taken",
                        input.name, input.bytes
                    ));
                }
                if input.name.is_empty() || input.name.len() > 255 || input.name.contains(['/', '\\', '\0']) {
                    return refuse(format!("input name '{}': a plain file name is needed", input.name.escape_debug()));
                }
            }
        }
        Ok(spec)
    }

    /// Every blob the rental needs before it can start.
    pub fn inputs(&self) -> impl Iterator<Item = &InputRef> {
        self.tasks.iter().flat_map(|task| &task.inputs)
    }
}

/// One output file, as the worker's manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRef {
    /// Path under the output folder.
    pub path: String,
    /// Content hash.
    pub sha256: B256,
    /// Size in bytes.
    pub bytes: u64,
    /// IANA media type.
    pub media_type: String,
}

/// The worker's list of what it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format, 1.
    pub version: u32,
    /// Which task.
    pub task_id: String,
    /// Hash of the spec it worked to.
    pub spec_sha256: B256,
    /// The files, sorted by path.
    pub files: Vec<OutputRef>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec() -> RentalSpec {
        RentalSpec {
            version: 1,
            salt: B256::repeat_byte(7),
            tasks: vec![TaskSpec {
                task_id: "t0".into(),
                task_type: TaskType::TextProcessing,
                inputs: vec![InputRef { name: "a.md".into(), sha256: B256::ZERO, bytes: 3 }],
                parameters: Default::default(),
            }],
            keep_warm_s: 0,
        }
    }

    #[test]
    fn a_good_spec_survives_its_bytes() {
        assert_eq!(RentalSpec::from_bytes(&spec().to_bytes()).unwrap(), spec());
        assert!(!String::from_utf8(spec().to_bytes()).unwrap().contains("keep_warm_s"), "as before there was any");
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let check = |change: fn(&mut RentalSpec), word: &str| {
            let mut bad = spec();
            change(&mut bad);
            let error = RentalSpec::from_bytes(&bad.to_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check(|s| s.version = 2, "version 2");
        check(|s| s.tasks.clear(), "0 tasks");
        check(|s| s.tasks = vec![s.tasks[0].clone(); MAX_TASKS + 1], "17 tasks");
        check(|s| s.tasks.push(s.tasks[0].clone()), "two tasks are called 't0'");
        check(|s| s.keep_warm_s = MAX_KEEP_WARM_S + 1, "keep_warm_s = 3601");
        check(|s| s.tasks[0].task_id = "../x".into(), "../x");
        check(|s| s.tasks[0].inputs.clear(), "0 inputs");
        check(|s| s.tasks[0].inputs[0].bytes = 0, "a.md");
        check(|s| s.tasks[0].inputs[0].name = "../a".into(), "../a");
    }
}
