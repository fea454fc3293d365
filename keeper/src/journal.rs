//! The journal: what the keeper set out to do, written before it acts, so that a crash at any point loses nothing.
//!
//! One RocksDB. Keys: `format`; `i/<intent key>` → [`Record`]; `j/<job number, 8 bytes big-endian>` → [`Job`];
//! `w/<rental, 11 bytes>` → [`WorkResult`]; `a/<rental, 11 bytes>` → its [`Attempt`]s. Every write is synced: the journal is
//! small and its loss is money.

mod attempts;

use std::{path::Path, sync::Arc};

use alloy::primitives::{Address, B256, Bytes, U256};
use contracts::ids::AgreementId;
use rocksdb::{DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::attempts::{Attempt, AttemptState, MAX_ATTEMPTS};
use crate::{
    crash::{self, Moment},
    event::Intent,
    job::{Job, JobId, JobState},
    spec::{Manifest, Receipt},
};

/// Version of keys and values above.
const FORMAT: &[u8] = b"1";
/// Ended intents kept; older ones are dropped.
const KEPT_RECORDS: usize = 10_000;
/// Active jobs taken at once.
pub const MAX_ACTIVE_JOBS: usize = 1_000;

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database said no.
    #[error("journal: {0}; check the disk and the data folder's permissions")]
    Store(#[from] rocksdb::Error),
    /// A record of another form.
    #[error("journal record {key} does not parse: {source}; it was written by another version of the keeper")]
    Record {
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Another format.
    #[error("the journal has format {0}, this keeper knows format 1; use the keeper version that wrote it")]
    Format(String),
    /// A change that must never be.
    #[error("{key}: a {from} record cannot become {to}; this is a fault of the keeper, please report it")]
    Transition {
        /// Record.
        key: String,
        /// From.
        from: &'static str,
        /// To.
        to: &'static str,
    },
    /// An engine that loses everything.
    #[error("rental {rental}: {made} attempts came to nothing; see why with `keeper journal` and mend the engine")]
    Attempts {
        /// The rental.
        rental: AgreementId,
        /// So many.
        made: usize,
    },
    /// Too much at once.
    #[error("{0} jobs are active, the most this keeper takes; wait for some to end")]
    Full(usize),
}

/// Where an intent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing has left the keeper yet.
    Planned,
    /// A transaction was signed; it may or may not have been sent.
    Signed {
        /// Signed bytes, sent again as they are.
        raw: Bytes,
        /// Transaction hash.
        hash: B256,
        /// Account.
        sender: Address,
        /// Its nonce.
        nonce: u64,
    },
    /// Its effect took place.
    Done {
        /// Block of the transaction, 0 off the chain.
        block: u64,
        /// Wei of gas paid.
        gas_wei: U256,
    },
    /// It had no effect.
    Failed {
        /// What happened.
        error: String,
    },
}

impl State {
    /// Name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Signed { .. } => "signed",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether something may still happen.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Planned | Self::Signed { .. })
    }

    /// The only ways forward; an ended intent may be planned again as a new attempt.
    pub fn can_transition_to(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::Planned, Self::Signed { .. } | Self::Done { .. } | Self::Failed { .. })
                | (Self::Signed { .. }, Self::Done { .. } | Self::Failed { .. })
                | (Self::Done { .. } | Self::Failed { .. }, Self::Planned)
        )
    }
}

/// An intent and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is to be done.
    pub intent: Intent,
    /// Why, in the words of who decided it.
    pub why: String,
    /// How often it was planned, from 1.
    pub attempt: u32,
    /// Unix seconds of the last change.
    pub at_s: u64,
    /// Where it stands.
    pub state: State,
}

/// What a provider's worker made, kept until the rental is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkResult {
    /// Signed statement.
    pub receipt: Receipt,
    /// The operator key's signature of the receipt's digest.
    pub signature: Bytes,
    /// What was made.
    pub manifest: Manifest,
}

/// The keeper's memory of what it does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    db: Arc<DB>,
}

impl Journal {
    /// Opens or creates it in `folder`.
    ///
    /// # Errors
    /// [`JournalError::Format`] for a journal of another version.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 << 20);
        options.set_write_buffer_size(4 << 20);
        let db = DB::open(&options, folder)?;
        match db.get(b"format")? {
            None => db.put_opt(b"format", FORMAT, &synced())?,
            Some(format) if format == FORMAT => {}
            Some(format) => return Err(JournalError::Format(String::from_utf8_lossy(&format).into_owned())),
        }
        Ok(Self { db: Arc::new(db) })
    }

    /// The record of an intent's key.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record(&self, key: &str) -> Result<Option<Record>, JournalError> {
        self.read(record_key(key).as_bytes())
    }

    /// Writes a newly planned intent, or a new attempt at an ended one.
    ///
    /// # Errors
    /// [`JournalError::Transition`] when an attempt is still live.
    pub fn plan(&self, intent: Intent, why: String, now_s: u64) -> Result<Record, JournalError> {
        let key = intent.key();
        let attempt = match self.record(&key)? {
            None => 1,
            Some(last) => {
                check_transition(&key, &last.state, &State::Planned)?;
                last.attempt + 1
            }
        };
        let record = Record { intent, why, attempt, at_s: now_s, state: State::Planned };
        self.write("planned", record_key(&key).as_bytes(), &record)?;
        Ok(record)
    }

    /// Moves a record on.
    ///
    /// # Errors
    /// [`JournalError::Transition`] for a change that must never be.
    pub fn advance(&self, key: &str, state: State, now_s: u64) -> Result<(), JournalError> {
        let Some(mut record) = self.record(key)? else {
            return Err(JournalError::Transition { key: key.into(), from: "missing", to: state.name() });
        };
        check_transition(key, &record.state, &state)?;
        record.state = state;
        record.at_s = now_s;
        self.write(record.state.name(), record_key(key).as_bytes(), &record)
    }

    /// Every record, by key.
    ///
    /// # Errors
    /// When the database fails.
    pub fn records(&self) -> Result<Vec<(String, Record)>, JournalError> {
        self.scan("i/")?.into_iter().map(|(key, record)| Ok((utf8(&key[2..]), record))).collect()
    }

    /// Drops the oldest ended records beyond the number kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune(&self) -> Result<usize, JournalError> {
        let mut ended: Vec<_> = self.records()?.into_iter().filter(|(_, record)| !record.state.is_live()).collect();
        ended.sort_by_key(|(_, record)| std::cmp::Reverse(record.at_s));
        let mut batch = WriteBatch::default();
        for (key, _) in ended.iter().skip(KEPT_RECORDS) {
            batch.delete(record_key(key));
        }
        let dropped = batch.len();
        self.db.write_opt(batch, &synced())?;
        Ok(dropped)
    }

    /// Adds a job under the next free number.
    ///
    /// # Errors
    /// [`JournalError::Full`] when too many are active.
    pub fn add_job(&self, make: impl FnOnce(JobId) -> Job) -> Result<Job, JournalError> {
        let jobs = self.jobs()?;
        let active = jobs.iter().filter(|job| job.state == JobState::Active).count();
        if active >= MAX_ACTIVE_JOBS {
            return Err(JournalError::Full(active));
        }
        let next = jobs.last().map_or(1, |job| job.id.0 + 1);
        let job = make(JobId(next));
        self.write("job", &job_key(job.id), &job)?;
        Ok(job)
    }

    /// Ends a job; an ended job stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end_job(&self, id: JobId, state: JobState) -> Result<Option<Job>, JournalError> {
        let Some(mut job) = self.job(id)? else { return Ok(None) };
        if !job.state.can_transition_to(&state) {
            return Ok(None);
        }
        job.state = state;
        self.write("job-ended", &job_key(id), &job)?;
        Ok(Some(job))
    }

    /// One job.
    ///
    /// # Errors
    /// When the database fails.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, JournalError> {
        self.read(&job_key(id))
    }

    /// All jobs, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn jobs(&self) -> Result<Vec<Job>, JournalError> {
        Ok(self.scan("j/")?.into_iter().map(|(_, job)| job).collect())
    }

    /// What a worker made, if it is done.
    ///
    /// # Errors
    /// When the database fails.
    pub fn result(&self, rental: AgreementId) -> Result<Option<WorkResult>, JournalError> {
        self.read(&result_key(rental))
    }

    /// Forgets what a worker made.
    ///
    /// # Errors
    /// When the database fails.
    pub fn drop_result(&self, rental: AgreementId) -> Result<(), JournalError> {
        Ok(self.db.delete_opt(result_key(rental), &synced())?)
    }

    /// Drops the oldest ended jobs beyond `kept`; gives their numbers.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_jobs(&self, kept: usize) -> Result<Vec<JobId>, JournalError> {
        let ended: Vec<_> = self.jobs()?.into_iter().filter(|job| job.state != JobState::Active).collect();
        let surplus = ended.len().saturating_sub(kept);
        let dropped: Vec<_> = ended.iter().take(surplus).map(|job| job.id).collect();
        for id in &dropped {
            self.db.delete_opt(job_key(*id), &synced())?;
        }
        Ok(dropped)
    }

    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, JournalError> {
        self.db.get(key)?.map(|value| parse(key, &value)).transpose()
    }

    /// `what` is one of [`crash::WRITES`].
    fn write<T: Serialize>(&self, what: &str, key: &[u8], value: &T) -> Result<(), JournalError> {
        let value = serde_json::to_vec(value).map_err(|source| JournalError::Record { key: utf8(key), source })?;
        crash::point(what, Moment::Before);
        self.db.put_opt(key, value, &synced())?;
        crash::point(what, Moment::After);
        Ok(())
    }

    fn scan<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(Vec<u8>, T)>, JournalError> {
        let mut found = Vec::new();
        for item in self.db.iterator(IteratorMode::From(prefix.as_bytes(), Direction::Forward)) {
            let (key, value) = item?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let value = parse(&key, &value)?;
            found.push((key.into_vec(), value));
        }
        Ok(found)
    }
}

fn check_transition(key: &str, from: &State, to: &State) -> Result<(), JournalError> {
    if from.can_transition_to(to) {
        return Ok(());
    }
    Err(JournalError::Transition { key: key.into(), from: from.name(), to: to.name() })
}

fn parse<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(value).map_err(|source| JournalError::Record { key: utf8(key), source })
}

fn record_key(key: &str) -> String {
    format!("i/{key}")
}

fn job_key(id: JobId) -> Vec<u8> {
    [b"j/".as_slice(), &id.0.to_be_bytes()].concat()
}

fn result_key(rental: AgreementId) -> Vec<u8> {
    [b"w/".as_slice(), &rental.to_be_bytes()].concat()
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn states() -> [State; 4] {
        [
            State::Planned,
            State::Signed { raw: Bytes::from(vec![1]), hash: B256::ZERO, sender: Address::ZERO, nonce: 0 },
            State::Done { block: 1, gas_wei: U256::MAX },
            State::Failed { error: "no".into() },
        ]
    }

    #[test]
    fn every_pair_of_states_is_decided() {
        let allowed: Vec<_> = states()
            .iter()
            .flat_map(|from| states().map(|to| (from.clone(), to)))
            .filter(|(from, to)| from.can_transition_to(to))
            .map(|(from, to)| (from.name(), to.name()))
            .collect();
        assert_eq!(
            allowed,
            [
                ("planned", "signed"),
                ("planned", "done"),
                ("planned", "failed"),
                ("signed", "done"),
                ("signed", "failed"),
                ("done", "planned"),
                ("failed", "planned"),
            ]
        );
    }

    #[test]
    fn every_state_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let record = journal.plan(Intent::Withdraw { to: Address::ZERO }, "due".into(), 1).unwrap();
        for state in states() {
            let kept = Record { state: state.clone(), ..record.clone() };
            journal.write("planned", b"i/any", &kept).unwrap();
            assert_eq!(journal.record("any").unwrap(), Some(kept), "{}", state.name());
        }
    }

    #[test]
    fn a_live_intent_is_never_planned_twice_and_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let intent = Intent::Advance { rental: AgreementId::from_u128(9).unwrap() };
        let key = intent.key();
        {
            let journal = Journal::open(dir.path()).unwrap();
            journal.plan(intent.clone(), "due".into(), 1).unwrap();
            assert!(journal.plan(intent.clone(), "due".into(), 2).is_err());
        }
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.record(&key).unwrap().unwrap().state, State::Planned);
        journal.advance(&key, State::Failed { error: "reverted".into() }, 3).unwrap();
        assert_eq!(journal.plan(intent, "again".into(), 4).unwrap().attempt, 2);
        assert_eq!(journal.records().unwrap().len(), 1);
    }
}
