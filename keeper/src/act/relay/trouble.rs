//! Why a step of the relay was not taken: what is to be waited for, what is refused, what ends it.

use alloy::transports::TransportError;

use super::RelayError;
use crate::{journal::JournalError, preflight::PreflightError};

/// Why a step was not taken.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The chain could not be read; later.
    Chain(String),
    /// It would have no effect.
    Reverted(String),
    /// Never.
    Fatal(RelayError),
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<RelayError> for Trouble {
    fn from(error: RelayError) -> Self {
        Self::Fatal(error)
    }
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        Self::Chain(error.to_string())
    }
}

impl From<alloy::contract::Error> for Trouble {
    fn from(error: alloy::contract::Error) -> Self {
        Self::Chain(error.to_string())
    }
}

impl From<PreflightError> for Trouble {
    fn from(error: PreflightError) -> Self {
        match error {
            PreflightError::Unavailable(error) => Self::Chain(error),
            reverted @ PreflightError::Reverted(_) => Self::Reverted(reverted.to_string()),
        }
    }
}
