//! An agent's side: hands work to a provider, brings its result and checks it against the chain.

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{Signer, local::PrivateKeySigner},
};
use contracts::{
    bindings::Start,
    typed_data::{recover, start_digest},
};
use indexer::rows::AgreementRow;

use super::{ErrandError, KILLED, retry};
use crate::{
    blobs::{Client, ClientAuth, ClientError, Reach, ResultDocument},
    intake,
    job::Job,
    spec::{Manifest, result_hash, sha256},
};

/// Largest result an agent brings, bytes.
const MAX_RESULT_BYTES: u64 = 1 << 30;

/// How long a provider's index may take to reach the block of the match.
const BLOCK_TIME: Duration = Duration::from_secs(15);

/// Bytes that contradict what the provider signed are a reason to dispute, and so is a provider that keeps them to
/// itself; what goes wrong here is not.
fn served(error: ClientError) -> ErrandError {
    match error {
        ClientError::Content { .. } => ErrandError::Refuted(error.to_string()),
        ClientError::Unreachable { .. } | ClientError::Refused { .. } | ClientError::Endpoint(_) => {
            ErrandError::Unserved(error.to_string())
        }
        other => retry(other),
    }
}

/// What an agent needs to deal with providers.
#[derive(Clone, Debug)]
pub struct Courier {
    /// Signs requests and countersigns starts.
    pub key: PrivateKeySigner,
    /// EIP-155 id.
    pub chain_id: u64,
    /// AIPowerRental.
    pub market: Address,
    /// Where providers may be.
    pub reach: Reach,
    /// Folder of the stored inputs.
    pub jobs_dir: PathBuf,
}

/// What an agent brought home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// How the worker ended.
    pub exit_code: i32,
    /// Paths relative to the job's folder, with their hashes.
    pub files: Vec<(String, B256)>,
    /// The worker's own words when it failed.
    pub message: Option<String>,
}

impl Courier {
    /// Pushes spec and inputs, then countersigns the start: the provider holds the work before anything is owed.
    ///
    /// # Errors
    /// [`ErrandError::Retry`] when the provider cannot be reached or refuses.
    pub async fn deliver(&self, row: &AgreementRow, endpoint: &str, job: &Job) -> Result<(), ErrandError> {
        let matched = row.matched.as_ref().ok_or_else(|| retry("the bid is not matched"))?;
        if row.spec_hash != job.spec_hash {
            return Err(retry("the rental is for another spec than the job's"));
        }
        let client = self.connect(endpoint).await.map_err(retry)?;
        let (jobs_dir, spec_hash) = (self.jobs_dir.clone(), job.spec_hash);
        client.wait_until_known(row.id, matched.block, BLOCK_TIME).await.map_err(retry)?;
        let blob = move |input: &crate::spec::InputRef| intake::input_path(&jobs_dir, spec_hash, input.sha256);
        client.push(row.id, &job.spec.to_bytes(), &job.spec, blob).await.map_err(retry)?;
        let start = Start {
            agreementId: row.id.into(),
            offerId: matched.offer_id,
            provider: matched.provider,
            specHash: job.spec_hash,
            deadline: alloy::primitives::aliases::U40::from(matched.start_deadline_s),
        };
        let digest = start_digest(&start, self.chain_id, self.market);
        let signature = self.key.sign_hash(&digest).await.map_err(retry)?;
        client.countersign(row.id, &Bytes::from(signature.as_bytes().to_vec())).await.map_err(retry)
    }

    /// Brings a submitted result and checks it against what the provider put on chain.
    ///
    /// # Errors
    /// [`ErrandError::Refuted`] when what is served contradicts what was submitted.
    pub async fn fetch(
        &self,
        row: &AgreementRow,
        endpoint: &str,
        signers: &[Address],
        job: &Job,
    ) -> Result<Brought, ErrandError> {
        let submitted = row.submitted.as_ref().ok_or_else(|| retry("no result was submitted"))?;
        let client = self.connect(endpoint).await.map_err(served)?;
        let document = client.result(row.id, row.spec_hash).await.map_err(served)?;
        let manifest = check(&document, row, submitted.result_hash, submitted.receipt_root, signers)?;
        let folder = job.out_dir.clone();
        let paths = client.outputs(row.id, &manifest, &folder, MAX_RESULT_BYTES).await.map_err(served)?;
        let files = manifest
            .files
            .iter()
            .zip(&paths)
            .map(|(file, path)| (path.strip_prefix(&folder).unwrap_or(path).display().to_string(), file.sha256))
            .collect();
        Ok(Brought { exit_code: document.exit_code, files, message: worker_message(&folder, document.exit_code) })
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, ClientError> {
        let auth = ClientAuth { signer: self.key.clone(), chain_id: self.chain_id, market: self.market };
        Client::connect(endpoint, &self.reach, auth).await
    }
}

/// Everything that the submitted hashes bind must agree.
fn check(
    document: &ResultDocument,
    row: &AgreementRow,
    submitted_hash: B256,
    submitted_root: B256,
    signers: &[Address],
) -> Result<Manifest, ErrandError> {
    let refute = |what: &str| Err(ErrandError::Refuted(format!("rental {}: {what}", row.id)));
    let receipt = &document.receipt;
    let manifest_sha256 = sha256(document.manifest.as_bytes());
    if receipt.digest() != submitted_root {
        return refute("the receipt is not the one whose hash was submitted");
    }
    if receipt.rental != row.id || receipt.spec_hash != row.spec_hash {
        return refute("the receipt is for other work");
    }
    if receipt.manifest_sha256 != manifest_sha256 || receipt.exit_code != document.exit_code {
        return refute("the manifest or exit code is not the receipt's");
    }
    if result_hash(row.id, row.spec_hash, manifest_sha256, document.exit_code) != submitted_hash {
        return refute("the result is not the one whose hash was submitted");
    }
    let signer = recover(&receipt.digest(), &document.receipt_signature);
    if !signer.is_some_and(|signer| signers.contains(&signer)) {
        return refute("the receipt is not signed by the provider or its operators");
    }
    let manifest: Manifest = match serde_json::from_str(&document.manifest) {
        Ok(manifest) => manifest,
        Err(error) => return refute(&format!("the manifest does not parse: {error}")),
    };
    if manifest.spec_sha256 != row.spec_hash {
        return refute("the manifest is for another spec");
    }
    Ok(manifest)
}

/// The message a worker left in `error.json`.
fn worker_message(folder: &std::path::Path, exit_code: i32) -> Option<String> {
    if exit_code == 0 {
        return None;
    }
    let told = std::fs::read(folder.join("error.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .and_then(|body| body["message"].as_str().map(str::to_owned));
    Some(told.unwrap_or_else(|| match exit_code {
        KILLED => "the worker was ended: out of memory or out of time; raise --max-duration or split the input".into(),
        code => format!("the worker ended with code {code}"),
    }))
}
