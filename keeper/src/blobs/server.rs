//! What a provider serves to the agents of its own rentals.
//!
//! ```text
//! PUT  /v1/rentals/{id}/spec              the spec, whose hash is on chain
//! PUT  /v1/rentals/{id}/tasks/{sha256}    a spec with more tasks, by its hash, while the rental runs and keeps itself for them
//! HEAD /v1/rentals/{id}/blobs/{sha256}    how much of an input is here: x-openclaw-received, x-openclaw-bytes
//! PUT  /v1/rentals/{id}/blobs/{sha256}    an input that a spec names; with content-range it goes on from there
//! POST /v1/rentals/{id}/countersignature  {"signature": "0x…"}: the agent's signature on the start
//! GET  /v1/rentals/{id}                   RentalView
//! GET  /v1/rentals/{id}/result            ResultDocument: the tasks that are done
//! GET  /v1/rentals/{id}/statements        signs of life while the worker runs: the newest, oldest first
//! GET  /v1/rentals/{id}/outputs/{sha256}  an output that the result's manifest lists; takes a range
//! GET  /v1/score                          Scored: how fast the node is; for everybody, not signed, cacheable
//! ```
//!
//! Every other request is signed by the key that placed the bid ([`super::auth`]) and served once. Refusals are problem
//! documents; the one for an unknown rental says how far this provider's index is, so that an agent whose own is
//! further waits instead of giving up; a rental of the provider that another node works for is 421 Misdirected Request. Bodies come as they are: no content encoding is taken.
//!
//! [`ServerLimits`] caps connections, headers, bodies, waits and transfers, for each client and for all.

mod admit;
mod pace;
mod places;
mod problem;
mod range;
mod replay;
mod routes;
mod tls;

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::{Address, B256, Bytes};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, header::CONTENT_ENCODING},
    middleware::{self, Next},
    response::{IntoResponse, Response},
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
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::routes::{Countersignature, RECEIVED};
use self::{pace::Watched, places::Places, replay::Served};
pub use self::{
    problem::Problem,
    tls::{Tls, TlsError},
};
use super::store::{MissingInput, Store};
use crate::benchmark::Scored;

/// All headers of a request together, bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Headers of a request.
const MAX_HEADERS: usize = 32;
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
    /// The offer that it takes a slot of.
    pub offer: u64,
    /// Whether this node of the provider works for the offer.
    pub here: bool,
    /// Where the rental stands.
    pub status: Status,
    /// Hash of its spec.
    pub spec_hash: B256,
    /// Nothing is served from then on.
    pub open_until_unix_s: u64,
}

/// What the provider's index knows of a rental.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Newest block of the index.
    pub block: u64,
    /// `None` for a rental that is not known as matched.
    pub rental: Option<RentalAccess>,
}

/// Looks a rental up.
pub type Access = Arc<dyn Fn(AgreementId) -> Seen + Send + Sync>;

/// What one client, and all together, may take of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at a time; further ones wait.
    pub connections: usize,
    /// Connections of one address at a time (of one /64 in IPv6); further ones are closed.
    pub connections_per_address: usize,
    /// Uploads at a time, and as many downloads.
    pub transfers: usize,
    /// Uploads of one agent at a time, and as many downloads.
    pub transfers_per_agent: usize,
    /// Requests of one agent that are remembered until they are void, against replays.
    pub requests_per_agent: usize,
    /// Requests of all agents that are remembered.
    pub requests: usize,
    /// How long a client may take to send its headers, and between two requests.
    pub header_time: Duration,
    /// Longest silence in the middle of a body.
    pub body_idle: Duration,
    /// Least pace of a body after its first `body_idle`, bytes a second.
    pub body_bytes_per_s: u64,
    /// Longest time in which a client reads nothing of its answer.
    pub write_idle: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 64,
            transfers: 64,
            transfers_per_agent: 16,
            requests_per_agent: 4_096,
            requests: 65_536,
            header_time: Duration::from_secs(10),
            body_idle: Duration::from_secs(15),
            body_bytes_per_s: 1_024,
            write_idle: Duration::from_secs(30),
        }
    }
}

/// Whose data plane this is.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Chain of the market.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
    /// Only rentals of this provider are served.
    pub provider: Address,
    /// What its clients may take.
    pub limits: ServerLimits,
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
    served: Arc<Served>,
    uploads: Places<Address>,
    downloads: Places<Address>,
    score: Option<watch::Receiver<Option<Scored>>>,
}

impl ServerState {
    /// What the routes share. Events go to `events`, which may be full: requests then wait for a moment.
    pub fn new(config: ServerConfig, store: Store, access: Access, events: mpsc::Sender<BlobEvent>) -> Self {
        let limits = config.limits;
        let places = || Places::new(limits.transfers, limits.transfers_per_agent);
        let served = Arc::new(Served::new(limits.requests_per_agent, limits.requests));
        Self { config, store, access, events, served, uploads: places(), downloads: places(), score: None }
    }

    /// Publishes the node's score too.
    pub fn with_score(self, score: watch::Receiver<Option<Scored>>) -> Self {
        Self { score: Some(score), ..self }
    }
}

/// All routes.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/v1/rentals/{id}", get(routes::view))
        .route("/v1/rentals/{id}/spec", put(routes::put_spec))
        .route("/v1/rentals/{id}/tasks/{sha256}", put(routes::push_spec))
        .route("/v1/rentals/{id}/blobs/{sha256}", put(routes::put_blob).head(routes::head_blob))
        .route("/v1/rentals/{id}/countersignature", post(routes::countersign))
        .route("/v1/rentals/{id}/result", get(routes::result))
        .route("/v1/rentals/{id}/statements", get(routes::statements))
        .route("/v1/rentals/{id}/outputs/{sha256}", get(routes::output))
        .route("/v1/score", get(routes::score))
        .fallback(routes::unknown)
        // Each handler reads its body under a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(as_it_is))
        .with_state(state)
}

/// Bytes come as they are: what unpacks to a thousand times its size is not taken.
async fn as_it_is(request: Request, next: Next) -> Response {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING).iter();
    match encodings.find(|encoding| *encoding != "identity") {
        None => next.run(request).await,
        Some(encoding) => {
            let detail = format!("content-encoding {encoding:?} is not taken; send the bytes as they are");
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response()
        }
    }
}

/// Whose connection it is, for the count of each: one household has a whole /64 of IPv6.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Serves until `shutdown`, then lets transfers go on for 2 seconds. With `tls`, nothing else is spoken.
///
/// # Errors
/// Never after it has begun: a connection that cannot be accepted is logged and the next one is tried.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    state: ServerState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = state.config.limits;
    let router = router(state);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let places = Places::new(usize::MAX, limits.connections_per_address);
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
        let Ok(place) = places.take(household(peer.ip())) else {
            tracing::debug!(%peer, "too many connections to the data plane from this address; this one is closed");
            continue;
        };
        let stream = Watched::new(stream, limits.write_idle);
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            let _held = (slot, place);
            let talk = async {
                let Some(tls) = tls else { return converse(stream, router, &limits, stop).await };
                // A handshake is as long as headers may be, so that nobody holds a connection with half of one.
                let greeted =
                    tokio::time::timeout(limits.header_time, async { tls.acceptor().await.accept(stream).await });
                let stream = greeted.await.map_err(|_| "the TLS handshake took too long")??;
                converse(stream, router, &limits, stop).await
            };
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME, talk).await {
                tracing::debug!(%peer, error, "a connection to the data plane ended early");
            }
        });
    }
    stop.cancel();
    connections.close();
    // Whoever is cut off here resumes later.
    let _ = tokio::time::timeout(SHUTDOWN_TIME, connections.wait()).await;
    Ok(())
}

/// Answers the requests of one connection until it ends, or the server does.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limits: &ServerLimits,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
