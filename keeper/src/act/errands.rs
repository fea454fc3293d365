//! What a keeper does off the chain: running a rental's worker, handing work over, bringing results.
//!
//! Every errand may be cut off at any point and run again from its start.

mod courier;
mod heartbeat;
mod measure;
mod workshop;

pub use self::{
    courier::{Brought, Courier},
    workshop::Workshop,
};

/// Exit code reported when the engine killed the worker for its memory or its time.
const KILLED: i32 = 137;

/// How an errand ended without success.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// May work the next time.
    #[error("{0}")]
    Retry(String),
    /// The result does not hold: reason for a dispute.
    #[error("{0}")]
    Refuted(String),
    /// The provider does not serve the result: reason for a dispute if that goes on.
    #[error("{0}")]
    Unserved(String),
    /// The rental takes no more tasks, or ended without this one.
    #[error("{0}")]
    LeftOut(String),
}

fn retry(error: impl std::fmt::Display) -> ErrandError {
    ErrandError::Retry(error.to_string())
}
