//! What a rental is asked to do, and what came out of it: the documents whose hashes go on chain.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{ids::AgreementId, typed_data::recover};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest spec document, bytes.
pub const MAX_SPEC_BYTES: usize = 256 * 1024;
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
        if spec.tasks.len() != 1 {
            return refuse(format!("{} tasks; this keeper runs one task a rental", spec.tasks.len()));
        }
        for task in &spec.tasks {
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

/// The hash a provider submits: it binds the output to the rental, its spec and how the worker ended.
pub fn result_hash(rental: AgreementId, spec_hash: B256, manifest_sha256: B256, exit_code: i32) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(rental.to_be_bytes());
    hasher.update(spec_hash);
    hasher.update(manifest_sha256);
    hasher.update(exit_code.to_be_bytes());
    B256::from_slice(&hasher.finalize())
}

/// What a provider says of a rental. The last one is of the finished work, and its hash is the submitted receipt root.
/// Those before are signs of life while the worker runs, called heartbeats: receipts without a result, whose hashes and
/// exit code are zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The rental.
    pub rental: AgreementId,
    /// The task inside it.
    pub task_id: String,
    /// Its spec.
    pub spec_hash: B256,
    /// Hash of the manifest's bytes.
    pub manifest_sha256: B256,
    /// How the worker ended.
    pub exit_code: i32,
    /// See [`result_hash`].
    pub result_hash: B256,
    /// Seconds the worker ran, rounded up; of a heartbeat, seconds since the rental's start.
    pub seconds: u64,
    /// Position among the rental's receipts, from 0. No two of them are at the same.
    pub sequence: u64,
}

impl Receipt {
    /// A receipt without a result.
    pub fn heartbeat(rental: AgreementId, task_id: String, spec_hash: B256, seconds: u64, sequence: u64) -> Self {
        let (manifest_sha256, result_hash) = (B256::ZERO, B256::ZERO);
        Self { rental, task_id, spec_hash, manifest_sha256, exit_code: 0, result_hash, seconds, sequence }
    }

    /// Whether it is of work that is still under way.
    pub fn is_heartbeat(&self) -> bool {
        self.result_hash == B256::ZERO
    }

    /// What is signed and what the receipt root commits to.
    pub fn digest(&self) -> B256 {
        sha256(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A receipt and the signature of its digest by the provider's key or an operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What is said.
    pub receipt: Receipt,
    /// 65 bytes.
    pub signature: Bytes,
}

impl Statement {
    /// Signs a receipt.
    ///
    /// # Errors
    /// When the signer refuses.
    pub fn sign(receipt: Receipt, signer: &PrivateKeySigner) -> Result<Self, alloy::signers::Error> {
        let signature = signer.sign_hash_sync(&receipt.digest())?;
        Ok(Self { receipt, signature: Bytes::from(signature.as_bytes().to_vec()) })
    }

    /// Who signed, if anyone did.
    pub fn signer(&self) -> Option<Address> {
        recover(&self.receipt.digest(), &self.signature)
    }
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
        }
    }

    #[test]
    fn a_good_spec_survives_its_bytes() {
        assert_eq!(RentalSpec::from_bytes(&spec().to_bytes()).unwrap(), spec());
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
        check(|s| s.tasks[0].task_id = "../x".into(), "../x");
        check(|s| s.tasks[0].inputs.clear(), "0 inputs");
        check(|s| s.tasks[0].inputs[0].bytes = 0, "a.md");
        check(|s| s.tasks[0].inputs[0].name = "../a".into(), "../a");
    }

    #[test]
    fn the_result_hash_binds_every_part() {
        let id = AgreementId::from_u128(5).unwrap();
        let base = result_hash(id, B256::ZERO, B256::ZERO, 0);
        assert_ne!(base, result_hash(AgreementId::from_u128(6).unwrap(), B256::ZERO, B256::ZERO, 0));
        assert_ne!(base, result_hash(id, B256::repeat_byte(1), B256::ZERO, 0));
        assert_ne!(base, result_hash(id, B256::ZERO, B256::repeat_byte(1), 0));
        assert_ne!(base, result_hash(id, B256::ZERO, B256::ZERO, 1));
    }
    #[test]
    fn a_statement_is_its_signers_in_every_field() {
        let signer = PrivateKeySigner::random();
        let receipt = Receipt::heartbeat(AgreementId::default(), "t0".into(), B256::repeat_byte(1), 10, 1);
        let stated = Statement::sign(receipt, &signer).unwrap();
        assert!(stated.receipt.is_heartbeat());
        assert_eq!(stated.signer(), Some(signer.address()));
        let changes: [fn(&mut Receipt); 8] = [
            |it| it.rental = AgreementId::from_u128(5).unwrap(),
            |it| it.task_id.push('x'),
            |it| it.spec_hash = B256::ZERO,
            |it| it.manifest_sha256 = B256::repeat_byte(1),
            |it| it.exit_code = 1,
            |it| it.result_hash = B256::repeat_byte(1),
            |it| it.seconds += 1,
            |it| it.sequence += 1,
        ];
        for change in changes {
            let mut forged = stated.clone();
            change(&mut forged.receipt);
            assert_ne!(forged.signer(), Some(signer.address()), "{:?}", forged.receipt);
        }
    }
}
