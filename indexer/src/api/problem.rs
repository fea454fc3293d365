//! Errors as problem documents (RFC 9457).

use std::fmt::Display;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use crate::IndexError;

/// What went wrong with a request, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// HTTP status code.
    pub status: u16,
    /// This occurrence, with the remedy.
    pub detail: String,
}

impl Problem {
    /// The request cannot be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self {
            kind: "urn:openclaw:problem:bad-request",
            title: "The request cannot be understood",
            status: 400,
            detail: detail.into(),
        }
    }

    /// There is no such thing as of this block.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self { kind: "urn:openclaw:problem:not-found", title: "Not found", status: 404, detail: detail.into() }
    }

    /// Nothing is indexed yet.
    pub(crate) fn empty() -> Self {
        Self {
            kind: "urn:openclaw:problem:not-ready",
            title: "The index is not ready",
            status: 503,
            detail: "no block is indexed yet; ask again in a few seconds, /readyz tells when".into(),
        }
    }

    /// The index failed; the log says how.
    pub(crate) fn internal(cause: &dyn Display) -> Self {
        error!(%cause, "a request failed");
        Self {
            kind: "urn:openclaw:problem:internal",
            title: "The index failed",
            status: 500,
            detail: "the server's log says why; ask again later".into(),
        }
    }

    /// A refusal that has no more to it than its status.
    pub(crate) fn of_status(status: StatusCode, path: &str) -> Self {
        let detail = match status {
            StatusCode::NOT_FOUND => format!("there is no {path}; /openapi.json lists what there is"),
            StatusCode::METHOD_NOT_ALLOWED => format!("{path} can only be read: use GET"),
            StatusCode::PAYLOAD_TOO_LARGE => "send no body: this API only answers queries".into(),
            StatusCode::GATEWAY_TIMEOUT => "the answer took too long; ask for less with a smaller limit".into(),
            _ => format!("{path} cannot be answered as asked; /openapi.json describes the requests"),
        };
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail,
        }
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
