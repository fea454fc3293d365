//! The query API: read-only JSON over HTTP.
//!
//! Every answer is one snapshot and names its block. Lists have filters, cursors that stay valid while rows come and
//! go, and limits. Errors are problem documents (RFC 9457). The description of it all is served at `/openapi.json`.
//!
//! - `problem`: errors.
//! - `wire`: what is sent; nothing inside the program depends on it.
//! - `query`: what is asked, checked.
//! - `routes`, `lists`: the answers.

mod lists;
pub mod problem;
mod query;
mod routes;
pub mod wire;

use std::{io, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{cors::CorsLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer, trace::TraceLayer};
use utoipa::OpenApi;

use self::{
    problem::Problem,
    wire::{Answer, BlockRef, List},
};
use crate::{Index, Snapshot, follow::now_s};

/// Nothing is sent to this API but queries.
const BODY_LIMIT_BYTES: usize = 16 * 1024;
/// Longest time for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers come from.
#[derive(Clone)]
pub struct ApiState {
    /// The index.
    pub index: Index,
    /// `/readyz` says no when the index is further behind the chain than this.
    pub max_lag_blocks: u64,
    /// `/readyz` says no when the chain has not answered for this long, seconds.
    pub max_silence_s: u64,
}

impl ApiState {
    /// With the usual bounds of readiness: 10 blocks, 30 seconds.
    pub fn new(index: Index) -> Self {
        Self { index, max_lag_blocks: 10, max_silence_s: 30 }
    }

    /// Reads on a blocking thread; `read` sees one snapshot, which the answer names.
    async fn answer<T, F>(self, read: F) -> Result<Json<Answer<T>>, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Self) -> Result<T, Problem> + Send + 'static,
    {
        let (block, data) = self.read(read).await?;
        Ok(Json(Answer { block, data }))
    }

    /// Like [`Self::answer`], for a page.
    async fn list<T, F>(self, read: F) -> Result<Json<List<T>>, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<crate::Page<T>, Problem> + Send + 'static,
    {
        let (block, page) = self.read(|snapshot, _| read(snapshot)).await?;
        Ok(Json(List { block, items: page.items, next_cursor: page.next.map(hex::encode) }))
    }

    async fn read<T, F>(self, read: F) -> Result<(BlockRef, T), Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Self) -> Result<T, Problem> + Send + 'static,
    {
        let reading = move || {
            let snapshot = self.index.snapshot()?;
            let head = snapshot.head().ok_or_else(Problem::empty)?;
            Ok((BlockRef::new(head, now_s()), read(&snapshot, &self)?))
        };
        tokio::task::spawn_blocking(reading).await.map_err(|error| Problem::internal(&error))?
    }
}

/// The API's description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenClaw Economics index",
        description = "Books, bids, offers, rentals and wallets of one market, as of one block an answer. Amounts are \
                       decimal strings of token units (18 decimals); prices are token units per second × 1e18.",
    ),
    paths(
        routes::status,
        routes::classes,
        routes::book,
        routes::rental,
        routes::wallet,
        routes::healthz,
        routes::readyz,
        lists::bids,
        lists::offers,
        lists::rentals,
        lists::providers,
    )
)]
struct Description;

/// All routes. Needs no socket: tests call it as a service.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/v1/status", get(routes::status))
        .route("/v1/classes", get(routes::classes))
        .route("/v1/books/{class}/{bucket}", get(routes::book))
        .route("/v1/bids", get(lists::bids))
        .route("/v1/offers", get(lists::offers))
        .route("/v1/rentals", get(lists::rentals))
        .route("/v1/rentals/{id}", get(routes::rental))
        .route("/v1/wallets/{address}", get(routes::wallet))
        .route("/v1/providers", get(lists::providers))
        .route("/healthz", get(routes::healthz))
        .route("/readyz", get(routes::readyz))
        .route("/openapi.json", get(|| async { Json(Description::openapi()) }))
        .with_state(state)
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, ANSWER_TIMEOUT))
        .layer(middleware::from_fn(as_problem))
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http())
}

/// Serves until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When the listener fails.
pub async fn run(listener: TcpListener, state: ApiState, shutdown: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router(state)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// Turns refusals of the layers below (unknown path, other method, body too large, timeout) into problem documents.
async fn as_problem(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    if status.is_success() || is_json || status.is_redirection() {
        return response;
    }
    Problem::of_status(status, &path).into_response()
}

/// The state that handlers take.
type Api = State<ApiState>;
