//! Attempts at a rental's work: written before a container is made, so that no crash makes two of one attempt.
//!
//! One value a rental, `a/<rental, 11 bytes>` → `[Attempt]`, oldest first. At most one of them is live.

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use super::{Journal, JournalError, WorkResult, put, synced, work::result_key};
use crate::spec::TaskName;

/// Most attempts at one rental's work that come to nothing; an engine that loses more than these loses all.
pub const MAX_ATTEMPTS: usize = 32;

/// One attempt at a rental's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Names the container, with the rental. Counts from 1.
    pub number: u32,
    /// The rental's spec; after a reorganisation the rental's may be another.
    pub spec_hash: B256,
    /// What it is an attempt at; absent in what older keepers wrote, which knew one task a rental.
    #[serde(default)]
    pub task: Option<TaskName>,
    /// Unix seconds of the last change.
    pub at_s: u64,
    /// Where it stands.
    pub state: AttemptState,
}

impl Attempt {
    /// Whether it is an attempt at this task of its rental.
    pub fn is_at(&self, name: &TaskName) -> bool {
        self.task.as_ref().is_none_or(|task| task == name)
    }
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AttemptState {
    /// The engine may or may not have been asked for it.
    Planned,
    /// The engine said that it runs. It is never started again.
    Started,
    /// Its result is the rental's.
    Accepted,
    /// It came to nothing.
    Lost {
        /// What happened.
        why: String,
    },
}

impl AttemptState {
    /// Name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned attempt",
            Self::Started => "started attempt",
            Self::Accepted => "accepted attempt",
            Self::Lost { .. } => "lost attempt",
        }
    }

    /// Whether it may still bring a result.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Planned | Self::Started)
    }

    /// The only ways forward.
    pub fn can_transition_to(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::Planned, Self::Started | Self::Lost { .. }) | (Self::Started, Self::Accepted | Self::Lost { .. })
        )
    }
}

impl Journal {
    /// All attempts at a rental's work, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn attempts(&self, rental: AgreementId) -> Result<Vec<Attempt>, JournalError> {
        Ok(self.read(&attempts_key(rental))?.unwrap_or_default())
    }

    /// Writes that attempt `number` is about to be made. Numbers only rise.
    ///
    /// # Errors
    /// [`JournalError::Transition`] while another one is live or when the number is used,
    /// [`JournalError::Attempts`] after too many.
    pub fn plan_attempt(
        &self,
        rental: AgreementId,
        spec_hash: B256,
        task: TaskName,
        number: u32,
        now_s: u64,
    ) -> Result<Attempt, JournalError> {
        let mut attempts = self.attempts(rental)?;
        if let Some(last) = attempts.last().filter(|last| last.state.is_live() || last.number >= number) {
            let key = format!("attempt {number} at {rental}");
            return Err(JournalError::Transition { key, from: last.state.name(), to: "planned attempt" });
        }
        let lost = attempts.iter().filter(|attempt| matches!(attempt.state, AttemptState::Lost { .. })).count();
        if lost >= MAX_ATTEMPTS {
            return Err(JournalError::Attempts { rental, made: lost });
        }
        let attempt = Attempt { number, spec_hash, task: Some(task), at_s: now_s, state: AttemptState::Planned };
        attempts.push(attempt.clone());
        self.write("attempt", &attempts_key(rental), &attempts)?;
        Ok(attempt)
    }

    /// Moves an attempt on.
    ///
    /// # Errors
    /// [`JournalError::Transition`] for a change that must never be.
    pub fn move_attempt(
        &self,
        rental: AgreementId,
        number: u32,
        state: AttemptState,
        now_s: u64,
    ) -> Result<(), JournalError> {
        let attempts = self.moved(rental, number, state, now_s)?;
        self.write("attempt", &attempts_key(rental), &attempts)
    }

    /// Makes what an attempt brought the one result of its task: both are written together or not at all.
    ///
    /// # Errors
    /// [`JournalError::Transition`] when the attempt is not the one that runs.
    pub fn accept(
        &self,
        rental: AgreementId,
        number: u32,
        result: &WorkResult,
        now_s: u64,
    ) -> Result<(), JournalError> {
        let attempts = self.moved(rental, number, AttemptState::Accepted, now_s)?;
        let mut batch = WriteBatch::default();
        put(&mut batch, &attempts_key(rental), &attempts)?;
        put(&mut batch, &result_key(rental), result)?;
        self.write_batch(&["result"], batch, &synced())
    }

    /// Forgets rentals' attempts and results, with one write to the disk for all of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn drop_work(&self, rentals: &[AgreementId]) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        for rental in rentals {
            batch.delete(attempts_key(*rental));
            batch.delete(result_key(*rental));
        }
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.db.write_opt(batch, &synced())?)
    }

    fn moved(
        &self,
        rental: AgreementId,
        number: u32,
        state: AttemptState,
        now_s: u64,
    ) -> Result<Vec<Attempt>, JournalError> {
        let mut attempts = self.attempts(rental)?;
        let refuse = |from, to| JournalError::Transition { key: format!("attempt {number} at {rental}"), from, to };
        let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.number == number) else {
            return Err(refuse("missing", state.name()));
        };
        if !attempt.state.can_transition_to(&state) {
            return Err(refuse(attempt.state.name(), state.name()));
        }
        attempt.state = state;
        attempt.at_s = now_s;
        Ok(attempts)
    }
}

fn attempts_key(rental: AgreementId) -> Vec<u8> {
    [b"a/".as_slice(), &rental.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::primitives::Bytes;

    use super::*;
    use crate::{
        journal::TaskResult,
        spec::{Manifest, Receipt},
    };

    fn task() -> TaskName {
        TaskName { spec_hash: B256::ZERO, task_id: "t0".into() }
    }

    fn states() -> [AttemptState; 4] {
        [
            AttemptState::Planned,
            AttemptState::Started,
            AttemptState::Accepted,
            AttemptState::Lost { why: "gone".into() },
        ]
    }

    fn result(rental: AgreementId) -> WorkResult {
        let receipt = Receipt {
            rental,
            task_id: "t0".into(),
            spec_hash: B256::ZERO,
            manifest_sha256: B256::ZERO,
            exit_code: 0,
            result_hash: B256::ZERO,
            seconds: 1,
            sequence: 0,
        };
        let manifest = Manifest { version: 1, task_id: "t0".into(), spec_sha256: B256::ZERO, files: vec![] };
        let tasks = vec![TaskResult { receipt, signature: Bytes::new(), manifest }];
        WorkResult { tasks, is_final: true, ..WorkResult::begun(B256::ZERO) }
    }

    #[test]
    fn every_pair_of_states_is_decided() {
        let allowed: Vec<_> = states()
            .iter()
            .flat_map(|from| states().map(|to| (from.clone(), to)))
            .filter(|(from, to)| from.can_transition_to(to))
            .map(|(from, to)| (from.name(), to.name()))
            .collect();
        let (planned, started) = ("planned attempt", "started attempt");
        let (accepted, lost) = ("accepted attempt", "lost attempt");
        assert_eq!(allowed, [(planned, started), (planned, lost), (started, accepted), (started, lost)]);
    }

    #[test]
    fn one_attempt_is_live_at_a_time_and_numbers_only_rise() {
        let dir = tempfile::tempdir().unwrap();
        let rental = AgreementId::from_u128(9).unwrap();
        let lost = || AttemptState::Lost { why: "the engine was restarted".into() };
        {
            let journal = Journal::open(dir.path()).unwrap();
            journal.plan_attempt(rental, B256::ZERO, task(), 1, 1).unwrap();
            assert!(journal.plan_attempt(rental, B256::ZERO, task(), 2, 1).is_err(), "the first is live");
            assert!(journal.accept(rental, 1, &result(rental), 1).is_err(), "it never ran");
            assert!(journal.result(rental).unwrap().is_none());
        }
        let journal = Journal::open(dir.path()).unwrap();
        journal.move_attempt(rental, 1, AttemptState::Started, 2).unwrap();
        journal.move_attempt(rental, 1, lost(), 3).unwrap();
        assert!(journal.plan_attempt(rental, B256::ZERO, task(), 1, 4).is_err(), "a name is used once");
        journal.plan_attempt(rental, B256::ZERO, task(), 5, 4).unwrap();
        journal.move_attempt(rental, 5, AttemptState::Started, 5).unwrap();
        journal.accept(rental, 5, &result(rental), 6).unwrap();
        assert_eq!(journal.result(rental).unwrap(), Some(result(rental)));
        assert!(journal.accept(rental, 5, &result(rental), 7).is_err(), "one accepted result");
        let numbers: Vec<_> = journal.attempts(rental).unwrap().iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 5]);
        let other = AgreementId::from_u128(8).unwrap();
        journal.plan_attempt(other, B256::ZERO, task(), 1, 1).unwrap();
        journal.drop_work(&[rental]).unwrap();
        assert_eq!((journal.attempts(rental).unwrap().len(), journal.result(rental).unwrap()), (0, None));
        assert_eq!(journal.attempts(other).unwrap().len(), 1);
    }

    #[test]
    fn attempts_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let rental = AgreementId::from_u128(9).unwrap();
        for number in 1..=MAX_ATTEMPTS as u32 {
            journal.plan_attempt(rental, B256::ZERO, task(), number, 1).unwrap();
            journal.move_attempt(rental, number, AttemptState::Lost { why: "gone".into() }, 1).unwrap();
        }
        let error = journal.plan_attempt(rental, B256::ZERO, task(), 1_000, 1).unwrap_err();
        assert!(matches!(error, JournalError::Attempts { made: MAX_ATTEMPTS, .. }), "{error}");
    }
}
