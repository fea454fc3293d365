//! Refusals as RFC 9457 problem documents that say what to do next.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::super::{auth::AuthError, store::StoreError};

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What happened, to which id, and what to do.
    pub detail: String,
    /// Newest block of the provider's index, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("refused").to_owned();
        Self { status: status.as_u16(), title, detail: detail.into(), block: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Spec { .. } | StoreError::WrongHash { .. } | StoreError::Outputs { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            StoreError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            StoreError::TooShort { .. } => StatusCode::BAD_REQUEST,
            StoreError::Offset { .. }
            | StoreError::Busy { .. }
            | StoreError::Sequence { .. }
            | StoreError::Sealed { .. } => StatusCode::CONFLICT,
            StoreError::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            StoreError::NotReferenced { .. } => StatusCode::NOT_FOUND,
            StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Io { .. } => {
                // Paths are the operator's business; the agent learns that it is not at fault.
                tracing::error!(%error, "the data plane cannot write");
                let detail = "the provider's disk failed; try again, or let the rental expire";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
            }
        };
        Self::new(status, error.to_string())
    }
}
