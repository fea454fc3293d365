//! What the socket's clients ask, and what becomes of jobs.

use serde_json::json;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Keeper, KeeperError};
use crate::{
    clock::now_s,
    event::Intent,
    intake::Intake,
    job::{Job, JobId, JobState},
    journal::{JournalError, Record},
    socket::{Ask, Call, Reply},
};

/// Most records in one answer.
pub(super) const MAX_RECORDS: usize = 1_000;
/// Clients following one job.
const MAX_FOLLOWERS: usize = 16;

impl Keeper {
    /// Answers a client; what goes on longer is told as it happens.
    pub(super) fn answer(&mut self, call: Call) -> Result<(), KeeperError> {
        let reply = match call.ask {
            Ask::Status => Reply::Document { body: self.status()? },
            Ask::Journal { limit } => Reply::Document { body: self.newest_records(limit)? },
            Ask::Rent(intake) => match self.take_job(*intake)? {
                Ok(job) => return self.follow(job, call.reply),
                Err(text) => Reply::Error { text },
            },
            Ask::Follow { job } => return self.follow(job, call.reply),
            Ask::Pause => self.pause(true),
            Ask::Resume => self.pause(false),
            Ask::Show(question) => return self.show(question, call.reply),
            Ask::Order(order) => self.order(order)?,
            Ask::Measure => {
                self.measure(call.reply);
                return Ok(());
            }
            Ask::Stop => {
                self.stop.cancel();
                Reply::Ok { text: "stopping; containers go on and are adopted at the next start".into() }
            }
        };
        // A client that left does not want the answer.
        let _ = call.reply.try_send(reply);
        Ok(())
    }

    fn take_job(&mut self, intake: Intake) -> Result<Result<JobId, String>, KeeperError> {
        if self.agent.is_none() {
            return Ok(Err("this keeper has no [agent] table, so it cannot rent; ask an agent's keeper".into()));
        }
        let Intake { request, spec, spec_hash } = intake;
        let now = now_s();
        let added = self.journal.add_job(|id| Job {
            id,
            spec,
            spec_hash,
            class: request.class,
            max_price_per_hour: request.max_price_per_hour,
            priority: request.priority,
            max_duration_s: request.max_duration_s,
            created_s: now,
            deadline_s: now + request.priority.patience_s(),
            out_dir: request.out_dir.join(id.to_string()),
            state: JobState::Active,
        });
        let job = match added {
            Ok(job) => job,
            Err(full @ JournalError::Full(_)) => return Ok(Err(full.to_string())),
            Err(error) => return Err(error.into()),
        };
        let (task, tasks) = (job.task_name(), job.spec.tasks.len());
        info!(job = %job.id, task, tasks, priority = ?job.priority, "job taken");
        let id = job.id;
        self.jobs.insert(id, job);
        Ok(Ok(id))
    }

    fn follow(&mut self, id: JobId, reply: mpsc::Sender<Reply>) -> Result<(), KeeperError> {
        let Some(job) = self.jobs.get(&id) else {
            let text = format!("{id} is unknown here; `keeper status` lists the jobs");
            let _ = reply.try_send(Reply::Error { text });
            return Ok(());
        };
        let _ = reply.try_send(Reply::Accepted { job: id });
        if let Some(end) = ending(job) {
            let _ = reply.try_send(end);
            return Ok(());
        }
        let followers = self.followers.entry(id).or_default();
        followers.retain(|follower| !follower.is_closed());
        if followers.len() >= MAX_FOLLOWERS {
            let text = format!("{MAX_FOLLOWERS} clients follow {id} already; it goes on, `keeper status` shows it");
            let _ = reply.try_send(Reply::Error { text });
            return Ok(());
        }
        followers.push(reply);
        Ok(())
    }

    /// Tells the followers of a job where it stands, when that is news.
    pub(super) fn say(&mut self, id: JobId, text: String) {
        if self.said.get(&id) == Some(&text) {
            return;
        }
        info!(job = %id, "{text}");
        self.tell(id, &Reply::Progress { job: id, text: text.clone() });
        self.said.insert(id, text);
    }

    /// Tells the followers of a job that something is being done for it.
    pub(super) fn announce(&mut self, record: &Record) {
        let text = match &record.intent {
            Intent::Bid { job, tick, attempt, .. } => {
                Some((*job, format!("bid {} at tick {tick}: {}", attempt + 1, record.why)))
            }
            Intent::Deliver { job, rental } => Some((*job, format!("handing the work for {rental} over"))),
            Intent::Attend { job, rental } => Some((*job, format!("rental {rental} has its tasks: {}", record.why))),
            Intent::Fetch { job, rental } => Some((*job, format!("bringing the result of {rental}"))),
            _ => None,
        };
        if let Some((job, text)) = text {
            self.say(job, text);
        }
    }

    /// Ends a job and tells its followers.
    pub(super) fn end(&mut self, id: JobId, state: JobState) -> Result<(), KeeperError> {
        let Some(job) = self.journal.end_job(id, state)? else { return Ok(()) };
        match &job.state {
            JobState::Finished { rental, files } => info!(job = %id, %rental, files = files.len(), "job finished"),
            JobState::Failed { reason } => warn!(job = %id, %reason, "job failed"),
            JobState::Cancelled => info!(job = %id, "job called off"),
            JobState::Active => {}
        }
        if let Some(end) = ending(&job) {
            self.tell(id, &end);
        }
        self.jobs.insert(id, job);
        self.followers.remove(&id);
        self.said.remove(&id);
        Ok(())
    }

    fn tell(&mut self, id: JobId, reply: &Reply) {
        if let Some(followers) = self.followers.get_mut(&id) {
            // A follower that does not read for 256 lines is let go; the job goes on.
            followers.retain(|follower| follower.try_send(reply.clone()).is_ok());
        }
    }

    fn newest_records(&self, limit: usize) -> Result<serde_json::Value, KeeperError> {
        let mut records = self.journal.records()?;
        records.sort_by_key(|(_, record)| std::cmp::Reverse(record.at_s));
        records.truncate(limit.min(MAX_RECORDS));
        Ok(records.into_iter().map(|(key, record)| record_document(&key, &record)).collect())
    }
}

/// A record as clients get it.
pub(super) fn record_document(key: &str, record: &Record) -> serde_json::Value {
    let mut shown = json!(record);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("key".into(), key.into());
    }
    shown
}

fn ending(job: &Job) -> Option<Reply> {
    match &job.state {
        JobState::Active => None,
        JobState::Finished { rental, files } => {
            Some(Reply::Finished { job: job.id, rental: *rental, folder: job.out_dir.clone(), files: files.clone() })
        }
        JobState::Failed { reason } => Some(Reply::Error { text: format!("{}: {reason}", job.id) }),
        JobState::Cancelled => Some(Reply::Error { text: format!("{} was called off", job.id) }),
    }
}
