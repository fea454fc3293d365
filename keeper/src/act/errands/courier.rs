//! An agent's side: hands work to a provider, brings its result and checks it against the chain.

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{Signer, local::PrivateKeySigner},
};
use contracts::{
    bindings::Start,
    ids::AgreementId,
    typed_data::{recover, start_digest},
};
use indexer::rows::{AgreementRow, Submitted};
use tracing::{debug, warn};

use super::{ErrandError, KILLED, retry};
use crate::{
    blobs::{Client, ClientAuth, ClientError, Reach, ResultDocument},
    intake,
    job::Job,
    spec::{Manifest, Receipt, Statement, result_hash, sha256},
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
        check_bill(&document.receipt, row.id, submitted, self.min_billed_s)?;
        match client.statements(row.id).await {
            Ok(statements) => match check_order(&statements, row, signers) {
                Ok(()) => check_last(&document.receipt, &statements)?,
                Err(error) => warn!(%error, "the statements on the work under way prove nothing"),
            },
            // What was stated on the way may speak against a result; none is needed for it.
            Err(error) => debug!(rental = %row.id, %error, "no statements on the work under way"),
        }
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
        let client = self.connect(endpoint).await.map_err(served)?;
        let statements = client.statements(row.id).await.map_err(served)?;
        check_order(&statements, row, signers)?;
        Ok(statements.into_iter().map(|stated| stated.receipt).collect())
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

/// A bill for more than the receipt says is no claim. What gave way is billed by other rules.
fn check_bill(
    receipt: &Receipt,
    rental: AgreementId,
    submitted: &Submitted,
    min_billed_s: u64,
) -> Result<(), ErrandError> {
    let (billed, least) = (submitted.billable_s, receipt.seconds.max(min_billed_s));
    if submitted.preempted || billed <= least {
        return Ok(());
    }
    let what = format!("rental {rental}: {billed} s are billed, but the receipt is for {} s", receipt.seconds);
    Err(ErrandError::Refuted(what))
}

/// Statements are of this rental's work under way, signed by its provider, and one after the other.
fn check_order(statements: &[Statement], row: &AgreementRow, signers: &[Address]) -> Result<(), ErrandError> {
    let refute = |sequence: u64, what: &str| {
        Err(ErrandError::Refuted(format!("rental {}: the statement at {sequence} {what}", row.id)))
    };
    let mut last: Option<&Receipt> = None;
    for stated in statements {
        let receipt = &stated.receipt;
        let at = receipt.sequence;
        if receipt.rental != row.id || receipt.spec_hash != row.spec_hash || !receipt.is_heartbeat() {
            return refute(at, "is not of this work under way");
        }
        if !stated.signer().is_some_and(|signer| signers.contains(&signer)) {
            return refute(at, "is not signed by the provider or its operators");
        }
        if last.is_some_and(|last| at <= last.sequence || receipt.seconds < last.seconds) {
            return refute(at, "does not follow the one before");
        }
        last = Some(receipt);
    }
    Ok(())
}

/// The receipt of the result comes after all statements on the work under way, whose signatures were checked.
fn check_last(result: &Receipt, statements: &[Statement]) -> Result<(), ErrandError> {
    let last = statements.last().map(|stated| stated.receipt.sequence);
    match last.filter(|last| *last >= result.sequence) {
        None => Ok(()),
        Some(last) => Err(ErrandError::Refuted(format!(
            "rental {}: its receipt is at {}, but work was under way at {last}",
            result.rental, result.sequence
        ))),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::roles::fixtures::row;

    fn beats(row: &AgreementRow, key: &PrivateKeySigner, beats: &[(u64, u64)]) -> Vec<Statement> {
        let beat = |(sequence, seconds): &(u64, u64)| {
            let receipt = Receipt::heartbeat(row.id, "t0".into(), row.spec_hash, *seconds, *sequence);
            Statement::sign(receipt, key).unwrap()
        };
        beats.iter().map(beat).collect()
    }

    #[test]
    fn statements_must_be_the_providers_and_follow_each_other() {
        let (row, key) = (row(indexer::rows::Status::Submitted), PrivateKeySigner::random());
        let check = |statements: &[Statement], expect: &str| match check_order(
            statements,
            &row,
            &[Address::ZERO, key.address()],
        ) {
            Ok(()) => assert_eq!(expect, ""),
            Err(error) => assert!(!expect.is_empty() && error.to_string().contains(expect), "{error}"),
        };
        let good = beats(&row, &key, &[(0, 10), (1, 20), (4, 50)]);
        check(&[], "");
        check(&good, "");
        check(&beats(&row, &key, &[(0, 10), (0, 20)]), "does not follow");
        check(&beats(&row, &key, &[(1, 10), (0, 20)]), "does not follow");
        check(&beats(&row, &key, &[(0, 20), (1, 10)]), "does not follow");
        check(&beats(&row, &PrivateKeySigner::random(), &[(0, 10)]), "not signed by");
        let mut other = row.clone();
        other.spec_hash = B256::ZERO;
        check(&beats(&other, &key, &[(0, 10)]), "not of this work");
        let mut finished = good[0].receipt.clone();
        finished.result_hash = B256::repeat_byte(1);
        check(&[Statement::sign(finished.clone(), &key).unwrap()], "not of this work under way");
        finished.sequence = 5;
        assert!(check_last(&finished, &good).is_ok() && check_last(&finished, &[]).is_ok());
        finished.sequence = 4;
        assert!(matches!(check_last(&finished, &good), Err(ErrandError::Refuted(_))));
    }

    #[test]
    fn a_bill_is_not_above_its_receipt() {
        let row = row(indexer::rows::Status::Submitted);
        let with = |billable_s, seconds, preempted| {
            let submitted = Submitted { billable_s, preempted, ..row.submitted.clone().unwrap() };
            let receipt = Receipt::heartbeat(row.id, "t0".into(), row.spec_hash, seconds, 0);
            check_bill(&receipt, row.id, &submitted, 5)
        };
        assert!(with(5, 1, false).is_ok() && with(30, 30, false).is_ok() && with(30, 40, false).is_ok());
        assert!(with(31, 30, true).is_ok());
        let error = with(31, 30, false).unwrap_err();
        assert!(matches!(&error, ErrandError::Refuted(text) if text.contains("31 s are billed")), "{error}");
        assert!(with(6, 1, false).is_err());
    }
}
