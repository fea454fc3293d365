//! A result, its bill and what was stated on the way, against each other and the chain.

use alloy::primitives::{Address, B256};
use contracts::{ids::AgreementId, typed_data::recover};
use indexer::rows::{AgreementRow, Submitted};

use super::ErrandError;
use crate::{
    blobs::{ResultDocument, TaskDocument},
    spec::{Manifest, Receipt, RentalSpec, Statement, TaskSpec, receipt_root, rental_result, result_hash, sha256},
};

/// Everything that the submitted hashes bind must agree, and every task of the rental's own spec be there.
pub(super) fn check(
    document: &ResultDocument,
    row: &AgreementRow,
    own: &RentalSpec,
    submitted: &Submitted,
    signers: &[Address],
) -> Result<(), ErrandError> {
    let refute = |what: &str| Err(ErrandError::Refuted(format!("rental {}: {what}", row.id)));
    if receipt_root(document.receipts()) != submitted.receipt_root {
        return refute("the receipts are not those whose hash was submitted");
    }
    if rental_result(document.receipts()) != submitted.result_hash {
        return refute("the result is not the one whose hash was submitted");
    }
    if !document.receipts().is_sorted_by(|one, next| one.sequence < next.sequence) {
        return refute("its receipts do not follow each other");
    }
    for task in &document.tasks {
        check_task(task, row.id, signers)?;
    }
    tasks_of(document, row.id, row.spec_hash, own).map(drop)
}

/// Every part of a task's result is what its receipt says, and the receipt is the provider's.
pub(super) fn check_task(
    task: &TaskDocument,
    rental: AgreementId,
    signers: &[Address],
) -> Result<Manifest, ErrandError> {
    let receipt = &task.receipt;
    let refute = |what: &str| Err(ErrandError::Refuted(format!("rental {rental}, task {}: {what}", receipt.task_id)));
    let manifest_sha256 = sha256(task.manifest.as_bytes());
    if receipt.rental != rental || receipt.is_heartbeat() {
        return refute("the receipt is for other work");
    }
    if receipt.manifest_sha256 != manifest_sha256 || receipt.exit_code != task.exit_code {
        return refute("the manifest or exit code is not the receipt's");
    }
    if result_hash(rental, receipt.spec_hash, manifest_sha256, task.exit_code) != receipt.result_hash {
        return refute("the receipt's result is another");
    }
    let signer = recover(&receipt.digest(), &task.receipt_signature);
    if !signer.is_some_and(|signer| signers.contains(&signer)) {
        return refute("the receipt is not signed by the provider or its operators");
    }
    let manifest: Manifest = match serde_json::from_str(&task.manifest) {
        Ok(manifest) => manifest,
        Err(error) => return refute(&format!("the manifest does not parse: {error}")),
    };
    if manifest.spec_sha256 != receipt.spec_hash || manifest.task_id != receipt.task_id {
        return refute("the manifest is for another spec or task");
    }
    Ok(manifest)
}

/// The results of a spec's tasks, in its order.
pub(super) fn tasks_of<'a>(
    document: &'a ResultDocument,
    rental: AgreementId,
    spec_hash: B256,
    spec: &RentalSpec,
) -> Result<Vec<&'a TaskDocument>, ErrandError> {
    let of = |task: &TaskSpec| {
        let found = document
            .tasks
            .iter()
            .find(|done| done.receipt.spec_hash == spec_hash && done.receipt.task_id == task.task_id);
        found.ok_or_else(|| ErrandError::Refuted(format!("rental {rental}: task {} has no result", task.task_id)))
    };
    spec.tasks.iter().map(of).collect()
}

/// A bill for more than the receipts say, and the waits that the agent asked for, is no claim. What gave way is billed by
/// other rules.
pub(super) fn check_bill(
    document: &ResultDocument,
    rental: AgreementId,
    keep_warm_s: u32,
    submitted: &Submitted,
    min_billed_s: u64,
) -> Result<(), ErrandError> {
    let worked_s = document.receipts().map(|receipt| receipt.seconds).fold(0, u64::saturating_add);
    let waits_s = u64::from(keep_warm_s).saturating_mul(document.tasks.len() as u64);
    let (billed, most) = (submitted.billable_s, worked_s.saturating_add(waits_s).max(min_billed_s));
    if submitted.preempted || billed <= most {
        return Ok(());
    }
    let waits = if waits_s > 0 { format!(" and at most {waits_s} s of waiting") } else { String::new() };
    let what = format!("rental {rental}: {billed} s are billed, but the receipts are for {worked_s} s{waits}");
    Err(ErrandError::Refuted(what))
}

/// Statements are of this rental's work under way, signed by its provider, and one after the other.
pub(super) fn check_order(
    statements: &[Statement],
    row: &AgreementRow,
    signers: &[Address],
) -> Result<(), ErrandError> {
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
pub(super) fn check_last(result: &Receipt, statements: &[Statement]) -> Result<(), ErrandError> {
    let last = statements.last().map(|stated| stated.receipt.sequence);
    match last.filter(|last| *last >= result.sequence) {
        None => Ok(()),
        Some(last) => Err(ErrandError::Refuted(format!(
            "rental {}: its receipt is at {}, but work was under way at {last}",
            result.rental, result.sequence
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::signers::local::PrivateKeySigner;

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
        let with = |billable_s, seconds: &[u64], keep_warm_s, preempted| {
            let submitted = Submitted { billable_s, preempted, ..row.submitted.clone().unwrap() };
            let task = |seconds: &u64| TaskDocument {
                exit_code: 0,
                manifest: String::new(),
                receipt: Receipt::heartbeat(row.id, "t0".into(), row.spec_hash, *seconds, 0),
                receipt_signature: Default::default(),
            };
            let document = ResultDocument { tasks: seconds.iter().map(task).collect(), is_final: true };
            check_bill(&document, row.id, keep_warm_s, &submitted, 5)
        };
        for (billed, seconds) in [(5, &[1][..]), (30, &[30]), (30, &[40]), (30, &[10, 20])] {
            assert!(with(billed, seconds, 0, false).is_ok());
        }
        assert!(with(31, &[30], 0, true).is_ok());
        let error = with(31, &[30], 0, false).unwrap_err();
        assert!(matches!(&error, ErrandError::Refuted(text) if text.contains("31 s are billed")), "{error}");
        assert!(with(6, &[1], 0, false).is_err());
        // Each task may be followed by one wait.
        assert!(with(50, &[10, 20], 10, false).is_ok());
        let error = with(51, &[10, 20], 10, false).unwrap_err();
        assert!(matches!(&error, ErrandError::Refuted(text) if text.contains("20 s of waiting")), "{error}");
    }
}
