//! What a provider says of a rental's work, signed, and the hashes of it that go on chain.

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{ids::AgreementId, typed_data::recover};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sha256;

/// Binds what a task brought to the rental, the spec that names the task, and how the worker ended.
pub fn result_hash(rental: AgreementId, spec_hash: B256, manifest_sha256: B256, exit_code: i32) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(rental.to_be_bytes());
    hasher.update(spec_hash);
    hasher.update(manifest_sha256);
    hasher.update(exit_code.to_be_bytes());
    B256::from_slice(&hasher.finalize())
}

/// What a provider says of a rental. Every task that is done has one, and the submitted receipt root commits to these. Those
/// in between are signs of life while a worker runs, called heartbeats: receipts without a result, whose hashes and exit code
/// are zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The rental.
    pub rental: AgreementId,
    /// The task inside it.
    pub task_id: String,
    /// The spec that names the task: the rental's own, or one pushed while it runs. Of a heartbeat, the rental's own.
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

/// The receipt root that a provider submits: of one task its receipt's digest, of several the hash of all digests in the
/// order in which the tasks were done.
pub fn receipt_root<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> B256 {
    root(receipts.into_iter().map(Receipt::digest))
}

/// The result hash that a provider submits: of one task its own, of several the hash of all in the order in which they
/// were done.
pub fn rental_result<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> B256 {
    root(receipts.into_iter().map(|receipt| receipt.result_hash))
}

fn root(leaves: impl Iterator<Item = B256>) -> B256 {
    let leaves: Vec<_> = leaves.collect();
    if let [only] = leaves[..] {
        return only;
    }
    // A byte before them, so that no list is taken for a document.
    let mut hasher = Sha256::new_with_prefix([1]);
    leaves.iter().for_each(|leaf| hasher.update(leaf));
    B256::from_slice(&hasher.finalize())
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
    fn a_root_commits_to_every_receipt_and_their_order() {
        let receipt = |sequence| {
            let mut receipt = Receipt::heartbeat(AgreementId::default(), "t0".into(), B256::ZERO, 1, sequence);
            receipt.result_hash = B256::repeat_byte(sequence as u8);
            receipt
        };
        let (one, two) = (receipt(1), receipt(2));
        assert_eq!((receipt_root([&one]), rental_result([&one])), (one.digest(), one.result_hash));
        for of in [receipt_root, rental_result] {
            let all = [of(vec![]), of(vec![&one]), of(vec![&two]), of(vec![&one, &two]), of(vec![&two, &one])];
            assert!(all.iter().enumerate().all(|(at, root)| !all[..at].contains(root)), "{all:?}");
        }
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
