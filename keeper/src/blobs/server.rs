//! What a provider serves to the agents of its own rentals.
//!
//! ```text
//! PUT  /v1/rentals/{id}/spec              the spec, whose hash is on chain
//! HEAD /v1/rentals/{id}/blobs/{sha256}    how much of an input is here: x-openclaw-received, x-openclaw-bytes
//! PUT  /v1/rentals/{id}/blobs/{sha256}    an input that the spec names; with content-range it goes on from there
//! POST /v1/rentals/{id}/countersignature  {"signature": "0x…"}: the agent's signature on the start
//! GET  /v1/rentals/{id}                   RentalView
//! GET  /v1/rentals/{id}/result            ResultDocument
//! GET  /v1/rentals/{id}/outputs/{sha256}  an output that the result's manifest lists; takes a range
//! ```
//!
//! Every request is signed by the key that placed the bid ([`super::auth`]). Refusals are problem documents.
//! Connections, headers, bodies, waits and uploads at a time are capped.

mod problem;
mod routes;

use std::{io, sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, Bytes};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};
use contracts::{bindings::Status, ids::AgreementId};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::problem::Problem;
pub(super) use self::routes::{Countersignature, RECEIVED};
use super::store::{MissingInput, Store};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 256;
/// Uploads at a time, over all rentals.
const MAX_UPLOADS: usize = 32;
/// All headers of a request together, bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Headers of a request.
const MAX_HEADERS: usize = 32;
/// How long a client may take to send its headers, and between two requests.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Longest life of a connection; transfers that need longer are resumed on the next.
const CONNECTION_TIME: Duration = Duration::from_secs(60 * 60);
/// How long transfers may go on when the keeper ends.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Who may do what with a rental's blobs, as the index says.
#[derive(Clone, Debug)]
pub struct RentalAccess {
    /// The key that placed the bid: only it is served.
    pub agent: Address,
    /// The provider whose rental it is.
    pub provider: Address,
    /// Where the rental stands.
    pub status: Status,
    /// Hash of its spec.
    pub spec_hash: B256,
    /// Nothing is served from then on.
    pub open_until_unix_s: u64,
}

/// Looks a rental up; `None` for one that the index does not know as matched.
pub type Access = Arc<dyn Fn(AgreementId) -> Option<RentalAccess> + Send + Sync>;

/// Whose data plane this is.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Chain of the market.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
    /// Only rentals of this provider are served.
    pub provider: Address,
}

/// Something arrived that the keeper acts on. Each is also on disk, so that one that is lost is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobEvent {
    /// The spec is here.
    SpecReady {
        /// Of which rental.
        rental: AgreementId,
    },
    /// Spec and all inputs are here.
    InputsComplete {
        /// Of which rental.
        rental: AgreementId,
    },
    /// The agent's signature on the start is here, not yet verified.
    Countersigned {
        /// Of which rental.
        rental: AgreementId,
        /// As it came.
        signature: Bytes,
    },
}

/// What a provider tells of a rental.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RentalView {
    /// The rental.
    pub rental: AgreementId,
    /// Its status at the provider's index, in small letters.
    pub state: String,
    /// Whether the spec is here.
    pub have_spec: bool,
    /// Inputs that have not fully arrived; empty before the spec is here.
    pub missing: Vec<MissingInput>,
    /// Whether the start is countersigned.
    pub countersigned: bool,
    /// Whether the result can be fetched.
    pub have_result: bool,
}

/// What the routes share.
#[derive(Clone)]
pub struct ServerState {
    config: ServerConfig,
    store: Store,
    access: Access,
    events: mpsc::Sender<BlobEvent>,
    uploads: Arc<Semaphore>,
}

impl ServerState {
    /// What the routes share. Events go to `events`, which may be full: requests then wait for a moment.
    pub fn new(config: ServerConfig, store: Store, access: Access, events: mpsc::Sender<BlobEvent>) -> Self {
        Self { config, store, access, events, uploads: Arc::new(Semaphore::new(MAX_UPLOADS)) }
    }
}

/// All routes.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/v1/rentals/{id}", get(routes::view))
        .route("/v1/rentals/{id}/spec", put(routes::put_spec))
        .route("/v1/rentals/{id}/blobs/{sha256}", put(routes::put_blob).head(routes::head_blob))
        .route("/v1/rentals/{id}/countersignature", post(routes::countersign))
        .route("/v1/rentals/{id}/result", get(routes::result))
        .route("/v1/rentals/{id}/outputs/{sha256}", get(routes::output))
        .fallback(routes::unknown)
        // Each handler reads its body under a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

/// Serves until `shutdown`, then lets transfers go on for 2 seconds.
///
/// # Errors
/// Never after it has begun: a connection that cannot be accepted is logged and the next one is tried.
pub async fn serve(listener: TcpListener, state: ServerState, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let router = router(state);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, slot))
        };
        let (stream, peer, slot) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: a moment later there may be some.
                    tracing::warn!(%error, "a connection to the data plane was not accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let stop = stop.clone();
        connections.spawn(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::time::timeout(CONNECTION_TIME, async {
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            });
            if let Ok(Err(error)) = ended.await {
                tracing::debug!(%peer, %error, "a connection to the data plane ended early");
            }
        });
    }
    stop.cancel();
    connections.close();
    // Whoever is cut off here resumes later.
    let _ = tokio::time::timeout(SHUTDOWN_TIME, connections.wait()).await;
    Ok(())
}
