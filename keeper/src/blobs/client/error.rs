//! What can go wrong between an agent and its provider.

use std::{io, path::PathBuf};

use contracts::ids::AgreementId;

use super::super::guard::GuardError;

/// A provider did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its endpoint is refused.
    #[error(transparent)]
    Endpoint(#[from] GuardError),
    /// It cannot be reached.
    #[error("provider at {endpoint} could not be reached for {what}: {reason}; it is tried again later")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Method and path.
        what: String,
        /// Of the last attempt.
        reason: String,
    },
    /// It refused.
    #[error("provider at {endpoint} refused {what} with status {status}: {detail}")]
    Refused {
        /// Where.
        endpoint: String,
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// In its own words, cut.
        detail: String,
        /// Newest block of its index, if that is why.
        block: Option<u64>,
    },
    /// What it sent is not what was promised.
    #[error("rental {rental}: the provider sent a wrong {what}; do not pay for it without a dispute")]
    Content {
        /// The rental.
        rental: AgreementId,
        /// What is wrong with what.
        what: String,
    },
    /// The caller's own bytes are not what the spec says.
    #[error("{path} is not the input that the spec names any more; put the original file back")]
    Input {
        /// The file.
        path: PathBuf,
    },
    /// A file here.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key would not sign.
    #[error("the request could not be signed: {0}")]
    Signer(#[from] alloy::signers::Error),
}

impl ClientError {
    /// Whether the same call may succeed later without anyone changing anything here.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Endpoint(GuardError::Unresolved { .. }) => true,
            Self::Refused { status, .. } => is_passing(*status) || matches!(*status, 404 | 507),
            _ => false,
        }
    }
}

/// Whether a refusal with this status may pass by itself.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
