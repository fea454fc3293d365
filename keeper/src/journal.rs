//! The journal: what the keeper set out to do, written before it acts, so that a crash at any point loses nothing.
//!
//! One RocksDB. Keys: `format`; `i/<intent key>` → [`Record`]; `j/<job number, 8 bytes big-endian>` → [`Job`];
//! `w/<rental, 11 bytes>` → [`WorkResult`]; `a/<rental, 11 bytes>` → its [`Attempt`]s;
//! `o/<account, 20 bytes><nonce, 8 bytes big-endian>` → [`Parcel`]; `g/<account><day, 8 bytes big-endian>` → wei of gas;
//! `s/…`: see `speeds`.
//! Every write is synced, but plans of transactions, which the next synced write takes with it.

mod attempts;
mod outbox;
mod speeds;
mod state;
mod work;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::ids::AgreementId;
use rocksdb::{DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::{
    attempts::{Attempt, AttemptState, MAX_ATTEMPTS},
    outbox::{Commit, Item, Landed, Parcel, SignedRequest, Verdict, Version},
    state::State,
    work::{TaskResult, WorkResult},
};
use crate::{
    crash::{self, Moment},
    event::Intent,
    job::{Job, JobId, JobState},
};

/// Version of keys and values above.
const FORMAT: &[u8] = b"2";
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
    #[error("the journal has format {0}, this keeper knows formats 1 and 2; use the keeper version that wrote it")]
    Format(String),
    /// A transaction under way that an older format holds and that does not decode.
    #[error(
        "journal record {0} of format 1 holds a signed transaction that does not decode; let the keeper version that wrote \
         it carry the transaction to its end, then start this one"
    )]
    Upgrade(String),
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

/// The keeper's memory of what it does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    db: Arc<DB>,
    /// Held from reading a record to writing what follows from it: the loop and its relays write side by side.
    writer: Arc<Mutex<()>>,
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
        let journal = Self { db: Arc::new(DB::open(&options, folder)?), writer: Arc::default() };
        let mut upgrade = WriteBatch::default();
        match journal.db.get(b"format")? {
            None => {}
            Some(format) if format == FORMAT => return Ok(journal),
            Some(format) if format == b"1" => journal.fill_outbox_from_format_1(&mut upgrade)?,
            Some(format) => return Err(JournalError::Format(utf8(&format))),
        }
        upgrade.put(b"format", FORMAT);
        journal.db.write_opt(upgrade, &synced())?;
        Ok(journal)
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
        let _writing = self.writing();
        let attempt = match self.record(&key)? {
            None => 1,
            // Signed anew is by the relay's word alone, which knows that the first bytes can no longer land.
            Some(last) if last.state.is_live() => {
                return Err(JournalError::Transition { key, from: last.state.name(), to: State::Planned.name() });
            }
            Some(last) => last.attempt + 1,
        };
        let record = Record { intent, why, attempt, at_s: now_s, state: State::Planned };
        let mut batch = WriteBatch::default();
        put(&mut batch, record_key(&key).as_bytes(), &record)?;
        // A transaction leaves the keeper only after its signed bytes were synced, and with them all that was written before.
        // A plan that a power cut takes with it was never acted on, and is wished for again.
        let how = if record.intent.on_chain() { WriteOptions::default() } else { synced() };
        self.write_batch(&["planned"], batch, &how)?;
        Ok(record)
    }

    /// Moves a record on.
    ///
    /// # Errors
    /// [`JournalError::Transition`] for a change that must never be.
    pub fn advance(&self, key: &str, state: State, now_s: u64) -> Result<(), JournalError> {
        let _writing = self.writing();
        let Some(mut record) = self.record(key)? else {
            return Err(JournalError::Transition { key: key.into(), from: "missing", to: state.name() });
        };
        check_transition(key, &record.state, &state)?;
        record.state = state;
        record.at_s = now_s;
        self.write(record.state.name(), record_key(key).as_bytes(), &record)
    }

    /// Replaces the error of a failed record, as an operator's word about it.
    ///
    /// # Errors
    /// [`JournalError::Transition`] for a record that has not failed.
    pub fn restate_failure(&self, key: &str, error: String, now_s: u64) -> Result<Record, JournalError> {
        let state = State::Failed { error };
        let _writing = self.writing();
        match self.record(key)? {
            Some(mut record) if matches!(record.state, State::Failed { .. }) => {
                record.state = state;
                record.at_s = now_s;
                self.write("failed", record_key(key).as_bytes(), &record)?;
                Ok(record)
            }
            Some(record) => {
                Err(JournalError::Transition { key: key.into(), from: record.state.name(), to: state.name() })
            }
            None => Err(JournalError::Transition { key: key.into(), from: "missing", to: state.name() }),
        }
    }

    /// Every record, by key.
    ///
    /// # Errors
    /// When the database fails.
    pub fn records(&self) -> Result<Vec<(String, Record)>, JournalError> {
        self.scan(b"i/")?.into_iter().map(|(key, record)| Ok((utf8(&key[2..]), record))).collect()
    }

    /// Drops the oldest ended records beyond the number kept; gives their keys.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune(&self) -> Result<Vec<String>, JournalError> {
        let mut ended: Vec<_> = self.records()?.into_iter().filter(|(_, record)| !record.state.is_live()).collect();
        ended.sort_by_key(|(_, record)| std::cmp::Reverse(record.at_s));
        let dropped: Vec<String> = ended.into_iter().skip(KEPT_RECORDS).map(|(key, _)| key).collect();
        let mut batch = WriteBatch::default();
        dropped.iter().for_each(|key| batch.delete(record_key(key)));
        if !batch.is_empty() {
            self.db.write_opt(batch, &synced())?;
        }
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
        Ok(self.scan(b"j/")?.into_iter().map(|(_, job)| job).collect())
    }

    /// Drops the oldest ended jobs beyond `kept`; gives their numbers.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_jobs(&self, kept: usize) -> Result<Vec<JobId>, JournalError> {
        let ended: Vec<_> = self.jobs()?.into_iter().filter(|job| job.state != JobState::Active).collect();
        let surplus = ended.len().saturating_sub(kept);
        let dropped: Vec<_> = ended.iter().take(surplus).map(|job| job.id).collect();
        let mut batch = WriteBatch::default();
        dropped.iter().for_each(|id| batch.delete(job_key(*id)));
        if !batch.is_empty() {
            self.db.write_opt(batch, &synced())?;
        }
        Ok(dropped)
    }

    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, JournalError> {
        self.db.get(key)?.map(|value| parse(key, &value)).transpose()
    }

    /// `what` is one of [`crash::WRITES`].
    fn write<T: Serialize>(&self, what: &str, key: &[u8], value: &T) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        put(&mut batch, key, value)?;
        self.write_batch(&[what], batch, &synced())
    }

    /// Writes all of `batch`; `whats` are of [`crash::WRITES`].
    fn write_batch(&self, whats: &[&str], batch: WriteBatch, how: &WriteOptions) -> Result<(), JournalError> {
        whats.iter().for_each(|what| crash::point(what, Moment::Before));
        self.db.write_opt(batch, how)?;
        whats.iter().for_each(|what| crash::point(what, Moment::After));
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        // It guards no data of its own: a panic elsewhere leaves nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scan<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, JournalError> {
        let mut found = Vec::new();
        for item in self.db.iterator(IteratorMode::From(prefix, Direction::Forward)) {
            let (key, value) = item?;
            if !key.starts_with(prefix) {
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

fn put<T: Serialize>(batch: &mut WriteBatch, key: &[u8], value: &T) -> Result<(), JournalError> {
    let value = serde_json::to_vec(value).map_err(|source| JournalError::Record { key: utf8(key), source })?;
    batch.put(key, value);
    Ok(())
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

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

#[cfg(test)]
mod tests;
