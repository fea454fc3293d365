//! A result, its bill and what was stated on the way, against each other and the chain.

use alloy::primitives::{Address, B256};
use contracts::{ids::AgreementId, typed_data::recover};
use indexer::rows::{AgreementRow, Submitted};

use super::ErrandError;
use crate::{
    blobs::ResultDocument,
    spec::{Manifest, Receipt, Statement, result_hash, sha256},
};

/// Everything that the submitted hashes bind must agree.
pub(super) fn check(
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
pub(super) fn check_bill(
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
