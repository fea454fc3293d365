//! An agent's side: hands work to a provider, brings its result and checks it against the chain.

mod checks;
mod way;

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{Signer, local::PrivateKeySigner},
};
use contracts::{bindings::Start, typed_data::start_digest};
use indexer::rows::AgreementRow;
use tracing::{debug, warn};

use self::{
    checks::{check, check_bill, check_last, check_order},
    way::Way,
};
use super::{ErrandError, KILLED, retry};
use crate::{
    blobs::{Reach, bucket::Bucket},
    intake,
    job::Job,
    spec::Receipt,
};

/// Largest result an agent brings, bytes.
const MAX_RESULT_BYTES: u64 = 1 << 30;

/// How long a provider's index may take to reach the block of the match.
const BLOCK_TIME: Duration = Duration::from_secs(15);

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
    /// Buckets that it may use, by the URL that providers publish.
    pub buckets: Vec<(String, Bucket)>,
    /// Least time that the market bills, seconds.
    pub min_billed_s: u64,
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
        let start = Start {
            agreementId: row.id.into(),
            offerId: matched.offer_id,
            provider: matched.provider,
            specHash: job.spec_hash,
            deadline: alloy::primitives::aliases::U40::from(matched.start_deadline_s),
        };
        let digest = start_digest(&start, self.chain_id, self.market);
        let signature = self.key.sign_hash(&digest).await.map_err(retry)?;
        let signature = Bytes::from(signature.as_bytes().to_vec());
        let (jobs_dir, spec_hash) = (self.jobs_dir.clone(), job.spec_hash);
        let blob = move |input: &crate::spec::InputRef| intake::input_path(&jobs_dir, spec_hash, input.sha256);
        let (bytes, spec) = (job.spec.to_bytes(), &job.spec);
        match self.way(endpoint).await? {
            Way::Direct(client) => {
                client.wait_until_known(row.id, matched.block, BLOCK_TIME).await.map_err(retry)?;
                client.push(row.id, &bytes, spec, blob).await.map_err(retry)?;
                client.countersign(row.id, &signature).await.map_err(retry)
            }
            Way::Bucket(bucket) => bucket.deliver(row.id, &bytes, spec, blob, &signature).await.map_err(retry),
        }
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
        let way = self.way(endpoint).await?;
        let document = way.result(row.id, row.spec_hash).await?;
        let checked = check(&document, row, submitted.result_hash, submitted.receipt_root, signers);
        let manifest = checked.map_err(|error| way.blame(error))?;
        check_bill(&document.receipt, row.id, submitted, self.min_billed_s)?;
        match way.statements(row.id).await {
            Ok(statements) => match check_order(&statements, row, signers) {
                Ok(()) => check_last(&document.receipt, &statements)?,
                Err(error) => warn!(%error, "the statements on the work under way prove nothing"),
            },
            // What was stated on the way may speak against a result; none is needed for it.
            Err(error) => debug!(rental = %row.id, %error, "no statements on the work under way"),
        }
        let folder = job.out_dir.clone();
        let paths = way.outputs(row.id, &manifest, &folder, MAX_RESULT_BYTES).await?;
        let files = manifest
            .files
            .iter()
            .zip(&paths)
            .map(|(file, path)| (path.strip_prefix(&folder).unwrap_or(path).display().to_string(), file.sha256))
            .collect();
        Ok(Brought { exit_code: document.exit_code, files, message: worker_message(&folder, document.exit_code) })
    }

    /// What the provider states of work under way, checked, oldest first.
    ///
    /// # Errors
    /// [`ErrandError::Refuted`] when the statements contradict each other, [`ErrandError::Unserved`] without them.
    pub async fn heartbeats(
        &self,
        row: &AgreementRow,
        endpoint: &str,
        signers: &[Address],
    ) -> Result<Vec<Receipt>, ErrandError> {
        let statements = self.way(endpoint).await?.statements(row.id).await?;
        check_order(&statements, row, signers)?;
        Ok(statements.into_iter().map(|stated| stated.receipt).collect())
    }
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
