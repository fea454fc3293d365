//! A job: one piece of work a user asked for, until its result is here or it failed. Lives in the journal.

use std::{fmt, path::PathBuf, str::FromStr};

use alloy::primitives::B256;
use contracts::{classes::HardwareClass, ids::AgreementId, units::Amount};
use serde::{Deserialize, Serialize};

use crate::spec::RentalSpec;

/// Number of a job, unique in one keeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job-{}", self.0)
    }
}

impl FromStr for JobId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("job-").and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| format!("'{text}' is no job: expected job-N, as `keeper status` shows them"))
    }
}

/// How much a piece of work matters, as AITBC names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Priority {
    /// Now, whatever it costs within the limits.
    Urgent,
    /// Very soon.
    Critical,
    /// Soon.
    High,
    /// When it is reasonably cheap.
    #[default]
    Normal,
    /// Background work that may be pre-empted.
    Low,
}

impl Priority {
    /// Seconds within which a bid should have won.
    pub fn patience_s(self) -> u64 {
        match self {
            Self::Urgent => 60,
            Self::Critical => 180,
            Self::High => 600,
            Self::Normal => 1_800,
            Self::Low => 21_600,
        }
    }

    /// Highest price as a multiple of the class's reference, in hundredths, when the user gives none.
    pub fn price_cap_percent(self) -> u64 {
        match self {
            Self::Urgent => 800,
            Self::Critical => 400,
            Self::High => 250,
            Self::Normal => 150,
            Self::Low => 80,
        }
    }
}

/// One piece of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What is to be done.
    pub spec: RentalSpec,
    /// SHA-256 of the spec's bytes; finds its bids on chain.
    pub spec_hash: B256,
    /// The class asked for; the one that suits the priority, otherwise.
    pub class: Option<HardwareClass>,
    /// Highest price per hour, if the user gave one.
    pub max_price_per_hour: Option<Amount>,
    /// How much it matters.
    pub priority: Priority,
    /// Longest rental, seconds.
    pub max_duration_s: u32,
    /// Unix seconds.
    pub created_s: u64,
    /// Unix seconds after which no further bid is placed.
    pub deadline_s: u64,
    /// Folder for the result.
    pub out_dir: PathBuf,
    /// Where it stands.
    pub state: JobState,
}

impl Job {
    /// Kind of its first task, for lists.
    pub fn task_name(&self) -> &'static str {
        self.spec.tasks.first().map(|task| task.task_type.name()).unwrap_or_default()
    }
}

/// Where a job stands. Everything between is on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Bidding, renting or waiting for the result.
    Active,
    /// The result is here and holds.
    Finished {
        /// Rental that made it.
        rental: AgreementId,
        /// Files, relative to the job's folder, with their hashes.
        files: Vec<(String, B256)>,
    },
    /// There will be no result.
    Failed {
        /// What happened and what to do next.
        reason: String,
    },
    /// Its user called it off; what it has on chain is cancelled as soon as the market allows.
    Cancelled,
}

impl JobState {
    /// Active may end any way; an end is final.
    pub fn can_transition_to(&self, next: &Self) -> bool {
        matches!((self, next), (Self::Active, Self::Finished { .. } | Self::Failed { .. } | Self::Cancelled))
    }
}
