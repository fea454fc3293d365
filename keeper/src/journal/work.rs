//! What a rental's workers made, task by task: written before anybody is told, kept until the rental is over.
//!
//! One value a rental, `w/<rental, 11 bytes>` → [`WorkResult`].

use alloy::primitives::{B256, Bytes};
use contracts::ids::AgreementId;
use serde::{Deserialize, Serialize};

use super::{Journal, JournalError};
use crate::spec::{Manifest, Receipt, TaskName, receipt_root, rental_result};

/// What came of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Signed statement.
    pub receipt: Receipt,
    /// The operator key's signature of the receipt's digest.
    pub signature: Bytes,
    /// What was made.
    pub manifest: Manifest,
}

/// What came of a rental so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct WorkResult {
    /// The rental's own spec; after a reorganisation the rental's may be another.
    pub spec_hash: B256,
    /// In the order in which they were done.
    pub tasks: Vec<TaskResult>,
    /// Seconds for which it was kept without work at its agent's wish.
    pub idle_s: u64,
    /// Whether no more tasks are taken, so that it can be submitted.
    pub is_final: bool,
}

/// As it is on disk: a keeper that knew one task a rental wrote just that.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Many { spec_hash: B256, tasks: Vec<TaskResult>, idle_s: u64, is_final: bool },
    One(Box<TaskResult>),
}

impl From<Stored> for WorkResult {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Many { spec_hash, tasks, idle_s, is_final } => Self { spec_hash, tasks, idle_s, is_final },
            Stored::One(task) => {
                Self { spec_hash: task.receipt.spec_hash, tasks: vec![*task], idle_s: 0, is_final: true }
            }
        }
    }
}

impl WorkResult {
    /// Of a rental for which nothing is done yet.
    pub fn begun(spec_hash: B256) -> Self {
        Self { spec_hash, ..Self::default() }
    }

    /// Whether a task has its result.
    pub fn has(&self, name: &TaskName) -> bool {
        self.receipts().any(|receipt| receipt.spec_hash == name.spec_hash && receipt.task_id == name.task_id)
    }

    /// Receipts of the tasks, in the order in which they were done.
    pub fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.tasks.iter().map(|task| &task.receipt)
    }

    /// What is billed: the workers' seconds, and those without work at the agent's wish.
    pub fn seconds(&self) -> u64 {
        self.receipts().map(|receipt| receipt.seconds).fold(self.idle_s, u64::saturating_add)
    }

    /// The result hash to submit.
    pub fn result_hash(&self) -> B256 {
        rental_result(self.receipts())
    }

    /// The receipt root to submit.
    pub fn receipt_root(&self) -> B256 {
        receipt_root(self.receipts())
    }
}

impl Journal {
    /// What came of a rental so far.
    ///
    /// # Errors
    /// When the database fails.
    pub fn result(&self, rental: AgreementId) -> Result<Option<WorkResult>, JournalError> {
        self.read(&result_key(rental))
    }

    /// Keeps what came of a rental without an attempt: that no more tasks are taken, or that a task was not begun.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_result(&self, rental: AgreementId, result: &WorkResult) -> Result<(), JournalError> {
        self.write("result", &result_key(rental), result)
    }
}

pub(super) fn result_key(rental: AgreementId) -> Vec<u8> {
    [b"w/".as_slice(), &rental.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn task(sequence: u64, seconds: u64) -> TaskResult {
        let spec_hash = B256::repeat_byte(1);
        let receipt = Receipt::heartbeat(AgreementId::default(), format!("t{sequence}"), spec_hash, seconds, sequence);
        let manifest =
            Manifest { version: 1, task_id: receipt.task_id.clone(), spec_sha256: spec_hash, files: Vec::new() };
        TaskResult { receipt, signature: Bytes::new(), manifest }
    }

    #[test]
    fn the_result_of_a_keeper_that_knew_one_task_is_read() {
        let old = serde_json::to_vec(&task(0, 7)).unwrap();
        let read: WorkResult = serde_json::from_slice(&old).unwrap();
        let is = WorkResult { spec_hash: B256::repeat_byte(1), tasks: vec![task(0, 7)], idle_s: 0, is_final: true };
        assert_eq!(read, is);
        let new = serde_json::to_vec(&is).unwrap();
        assert_eq!(serde_json::from_slice::<WorkResult>(&new).unwrap(), is);
    }

    #[test]
    fn all_tasks_and_the_wait_are_billed() {
        let mut made = WorkResult::begun(B256::repeat_byte(1));
        assert_eq!(made.seconds(), 0);
        made.tasks = vec![task(0, 7), task(1, 2)];
        made.idle_s = 30;
        assert_eq!(made.seconds(), 39);
        let name = |task_id: &str, byte| TaskName { spec_hash: B256::repeat_byte(byte), task_id: task_id.into() };
        assert!(made.has(&name("t1", 1)) && !made.has(&name("t2", 1)) && !made.has(&name("t1", 2)));
    }
}
