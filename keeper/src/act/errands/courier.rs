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
    checks::{check, check_bill, check_last, check_order, check_task, tasks_of},
    way::Way,
};
use super::{ErrandError, KILLED, retry};
use crate::{
    blobs::{Nodes, Reach, ResultDocument, bucket::Bucket},
    intake,
    job::Job,
    spec::InputRef,
};

/// Largest result an agent brings, bytes.
const MAX_RESULT_BYTES: u64 = 1 << 30;

/// Between two looks at results that are awaited.
const RESULT_PAUSE: Duration = Duration::from_millis(500);

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
    /// Knows which node of a provider works for an offer.
    pub nodes: Nodes,
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
    /// Seconds that the worker ran, by its receipt.
    pub seconds: u64,
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
        let blob = self.inputs_of(job);
        let (bytes, spec) = (job.spec.to_bytes(), &job.spec);
        match self.way(endpoint, row).await? {
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
        let way = self.way(endpoint, row).await?;
        let document = way.result(row.id, row.spec_hash).await?;
        let checked = check(&document, row, &job.spec, submitted, signers);
        checked.map_err(|error| way.blame(error))?;
        check_bill(&document, row.id, job.spec.keep_warm_s, submitted, self.min_billed_s)?;
        match way.statements(row.id).await {
            Ok(statements) => match (check_order(&statements, row, signers), document.receipts().last()) {
                (Ok(()), Some(last)) => check_last(last, &statements)?,
                (Ok(()), None) => {}
                (Err(error), _) => warn!(%error, "the statements on the work under way prove nothing"),
            },
            // What was stated on the way may speak against a result; none is needed for it.
            Err(error) => debug!(rental = %row.id, %error, "no statements on the work under way"),
        }
        self.bring(&way, row, &document, signers, job).await
    }

    /// Hands a job's tasks to a rental that runs, if they are not its own, waits for their results and brings them. What is on
    /// chain by then says nothing of them yet: they are held against it when the rental is submitted.
    ///
    /// # Errors
    /// [`ErrandError::LeftOut`] when the rental takes no more tasks or ended without these.
    pub async fn attend(
        &self,
        row: &AgreementRow,
        endpoint: &str,
        signers: &[Address],
        job: &Job,
        at_most: Duration,
    ) -> Result<Brought, ErrandError> {
        let until = tokio::time::Instant::now() + at_most;
        let way = self.way(endpoint, row).await?;
        let mut is_handed_over = job.spec_hash == row.spec_hash;
        loop {
            let document = way.results_so_far(row.id, row.spec_hash).await?.unwrap_or_default();
            let done = tasks_of(&document, row.id, job.spec_hash, &job.spec);
            if done.is_ok() {
                return self.bring(&way, row, &document, signers, job).await;
            }
            if document.is_final {
                return Err(ErrandError::LeftOut(format!("rental {} ended without these tasks", row.id)));
            }
            if tokio::time::Instant::now() >= until {
                return Err(retry(format!("rental {} has brought no result of these tasks in its time", row.id)));
            }
            if !is_handed_over {
                way.push_more(row.id, &job.spec, self.inputs_of(job)).await?;
                is_handed_over = true;
            }
            tokio::time::sleep(RESULT_PAUSE).await;
        }
    }

    /// Brings the outputs of a job's tasks. Each task of several gets a folder of its own.
    async fn bring(
        &self,
        way: &Way,
        row: &AgreementRow,
        document: &ResultDocument,
        signers: &[Address],
        job: &Job,
    ) -> Result<Brought, ErrandError> {
        let mut brought = Brought { exit_code: 0, files: Vec::new(), seconds: 0, message: None };
        let tasks = tasks_of(document, row.id, job.spec_hash, &job.spec)?;
        let mut left = MAX_RESULT_BYTES;
        for task in &tasks {
            let manifest = check_task(task, row.id, signers).map_err(|error| way.blame(error))?;
            let (folder, name) = match tasks.len() {
                1 => (job.out_dir.clone(), String::new()),
                _ => (job.out_dir.join(&manifest.task_id), format!("task {}: ", manifest.task_id)),
            };
            let paths = way.outputs(row.id, &manifest, &folder, left).await?;
            left = left.saturating_sub(manifest.files.iter().map(|file| file.bytes).sum());
            brought.files.extend(manifest.files.iter().zip(&paths).map(|(file, path)| {
                (path.strip_prefix(&job.out_dir).unwrap_or(path).display().to_string(), file.sha256)
            }));
            brought.seconds = brought.seconds.saturating_add(task.receipt.seconds);
            if brought.exit_code == 0 && task.exit_code != 0 {
                brought.exit_code = task.exit_code;
                brought.message = worker_message(&folder, task.exit_code).map(|text| name + &text);
            }
        }
        Ok(brought)
    }

    /// Where a job's inputs are.
    fn inputs_of(&self, job: &Job) -> impl Fn(&InputRef) -> PathBuf + use<> {
        let (jobs_dir, spec_hash) = (self.jobs_dir.clone(), job.spec_hash);
        move |input| intake::input_path(&jobs_dir, spec_hash, input.sha256)
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
