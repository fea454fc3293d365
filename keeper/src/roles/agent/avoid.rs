//! What becomes of a confirmed rental whose provider is known to be slow.
//!
//! A bid cannot choose its provider, so a slow one is avoided after the match: the rental is called off before its start, which
//! burns half of a no-show, and the job bids again. That ends: a job gives up two rentals so, then it takes what it gets; and
//! nothing is called off when no bid could follow, or once the provider may hold a countersigned start.

use std::fmt;

use indexer::rows::{AgreementRow, Status};

use super::{Desk, MAX_BIDS, call_off_now};
use crate::{
    event::Intent,
    job::{Job, JobState},
    market::AgentView,
};

/// Rentals that a job gives up because of their providers' speed.
pub(super) const MAX_AVOIDED: usize = 2;

/// How the provider of a confirmed rental stands with the agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is taken.
    Fine,
    /// It is slow, but taken all the same: why.
    Taken(String),
    /// It is called off: why.
    Avoided(String),
}

impl Standing {
    /// Of the provider of `row`, which is confirmed for `job`.
    pub(super) fn of(view: &AgentView, desk: &Desk<'_>, row: &AgreementRow, job: &Job) -> Self {
        let (rental, job_id) = (row.id, job.id);
        let slow = desk.slow.get(&rental).cloned();
        let cancel = Intent::Cancel { rental, job: job_id }.key();
        if desk.ledger.attempts(&cancel) > 0 {
            // What is being called off stays so, whatever is known of the provider by now; what the market would not call off
            // is taken.
            return match (desk.ledger.error(&cancel), slow) {
                (None, slow) => Self::Avoided(slow.unwrap_or_else(|| "its provider was too slow".into())),
                (Some(error), Some(slow)) => Self::Taken(format!("{slow}, but it could not be called off: {error}")),
                (Some(_), None) => Self::Fine,
            };
        }
        let Some(slow) = slow else { return Self::Fine };
        if desk.ledger.attempts(&Intent::Deliver { rental, job: job_id }.key()) > 0 {
            return Self::Taken(format!("{slow}, but it has the work already"));
        }
        let of_job = view.of_spec(job.spec_hash);
        let avoided =
            |row: &&&AgreementRow| row.status == Status::Cancelled && row.matched.is_some() && row.started.is_none();
        let avoided = of_job.iter().filter(avoided).count();
        if avoided >= MAX_AVOIDED {
            return Self::Taken(format!("{slow}, but {avoided} rentals of the job were called off already"));
        }
        let can_bid =
            job.state == JobState::Active && !desk.paused && desk.chain_s < job.deadline_s && of_job.len() < MAX_BIDS;
        if !can_bid || !call_off_now(row, desk) {
            return Self::Taken(format!("{slow}, but no bid could follow"));
        }
        Self::Avoided(slow)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine => Ok(()),
            Self::Taken(why) => write!(f, "; {why}: it is taken all the same"),
            Self::Avoided(why) => write!(f, "; {why}: it is called off"),
        }
    }
}
