//! The two roles a keeper can play. Each is a synchronous function of the market view, the ledger and the clock; it
//! wishes, level-triggered: what is still wanted is wished again, and the ledger keeps it from being done twice.

pub mod agent;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod provider;

use crate::{
    event::Intent,
    job::{JobId, JobState},
};

/// What a role wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Act, unless it is under way.
    Do {
        /// What.
        intent: Intent,
        /// Why, for the journal.
        why: String,
    },
    /// End a job.
    End {
        /// Which.
        job: JobId,
        /// How.
        state: JobState,
    },
    /// Tell whoever follows a job where it stands.
    Say {
        /// Which.
        job: JobId,
        /// One line.
        text: String,
    },
}

fn act(intent: Intent, why: impl Into<String>) -> Wish {
    Wish::Do { intent, why: why.into() }
}
