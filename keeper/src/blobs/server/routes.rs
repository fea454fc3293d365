//! The routes: admit, then read or write the store.

use std::{
    io::SeekFrom,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::primitives::{B256, Bytes};
use axum::{
    Json,
    body::Body,
    extract::{OriginalUri, Path, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
    },
    response::{IntoResponse, Response},
};
use contracts::{bindings::Status, ids::AgreementId};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{BlobEvent, Problem, RentalAccess, RentalView, ServerState};
use crate::{
    blobs::{
        auth::Subject,
        store::{RentalFiles, ResultDocument},
    },
    spec::{MAX_SPEC_BYTES, sha256},
};

/// How much of a blob is here, bytes.
pub(in crate::blobs) const RECEIVED: &str = "x-openclaw-received";
/// How much there is of it, bytes.
pub(in crate::blobs) const BYTES: &str = "x-openclaw-bytes";

/// Longest silence in the middle of a body.
const BODY_IDLE: Duration = Duration::from_secs(15);
/// Longest wait for the keeper to take an event.
const EVENT_WAIT: Duration = Duration::from_secs(5);
/// Largest countersignature document, bytes. Contract signatures (EIP-1271) may be long.
const MAX_COUNTERSIGNATURE_BYTES: usize = 8 * 1024;

/// Body of a countersignature request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::blobs) struct Countersignature {
    pub(in crate::blobs) signature: Bytes,
}

type Answer<T> = Result<T, Problem>;

pub(super) async fn unknown(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{} is not served here; see /v1/rentals/{{id}}", uri.path()))
}

pub(super) async fn view(
    State(state): State<ServerState>,
    Path(id): Path<String>,
    call: Call,
) -> Answer<Json<RentalView>> {
    let (rental, access) = state.admit(&id, &call, sha256(b""))?;
    let files = state.files(rental, &access).await;
    Ok(Json(RentalView {
        rental,
        state: format!("{:?}", access.status).to_lowercase(),
        have_spec: files.as_ref().is_some_and(|files| files.spec.is_some()),
        countersigned: files.as_ref().is_some_and(|files| files.countersignature.is_some()),
        have_result: files.as_ref().is_some_and(|files| files.result.is_some()),
        missing: files.map(|files| files.missing).unwrap_or_default(),
    }))
}

pub(super) async fn put_spec(
    State(state): State<ServerState>,
    Path(id): Path<String>,
    call: Call,
    body: Body,
) -> Answer<StatusCode> {
    // The hash on chain is what must be signed, so a stranger is turned away before a byte is read.
    let (rental, access) = state.admit_for_spec(&id, &call)?;
    writable(rental, &access)?;
    let bytes = read_body(body, MAX_SPEC_BYTES).await?;
    state.store.accept_spec(rental, access.spec_hash, &bytes).await?;
    state.tell(BlobEvent::SpecReady { rental }).await?;
    state.tell_if_complete(rental).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn head_blob(
    State(state): State<ServerState>,
    Path((id, hash)): Path<(String, String)>,
    call: Call,
) -> Answer<Response> {
    let (rental, access) = state.admit(&id, &call, sha256(b""))?;
    let hash = parse_hash(&hash)?;
    state.check_spec(rental, &access).await?;
    let progress = state.store.progress(rental, &hash).await;
    let (received, bytes) = progress.ok_or(crate::blobs::StoreError::NotReferenced { rental, hash })?;
    Ok([(RECEIVED, received.to_string()), (BYTES, bytes.to_string())].into_response())
}

pub(super) async fn put_blob(
    State(state): State<ServerState>,
    Path((id, hash)): Path<(String, String)>,
    call: Call,
    body: Body,
) -> Answer<StatusCode> {
    let hash = parse_hash(&hash)?;
    let (rental, access) = state.admit(&id, &call, hash)?;
    writable(rental, &access)?;
    state.check_spec(rental, &access).await?;
    let offset = upload_offset(&call.headers)?;
    let _slot = state.uploads.clone().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many uploads at this provider; try again in a moment")
    })?;
    if let Some(mut upload) = state.store.begin(rental, hash, offset).await? {
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = next_chunk(&mut chunks).await? {
            upload.write(&chunk).await?;
        }
        upload.finish().await?;
        state.tell_if_complete(rental).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn countersign(
    State(state): State<ServerState>,
    Path(id): Path<String>,
    call: Call,
    body: Body,
) -> Answer<StatusCode> {
    let bytes = read_body(body, MAX_COUNTERSIGNATURE_BYTES).await?;
    let (rental, access) = state.admit(&id, &call, sha256(&bytes))?;
    if access.status != Status::Confirmed {
        let detail =
            format!("rental {rental} is {:?}; a start is countersigned only while it is confirmed", access.status);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let Countersignature { signature } = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; send {{\"signature\": \"0x…\"}}"))
    })?;
    let files = state.files(rental, &access).await;
    if files.is_none_or(|files| files.spec.is_none() || !files.missing.is_empty()) {
        let detail = format!("rental {rental}: spec or inputs are missing; push them before countersigning the start");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    state.store.put_countersignature(rental, signature.clone()).await?;
    state.tell(BlobEvent::Countersigned { rental, signature }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn result(
    State(state): State<ServerState>,
    Path(id): Path<String>,
    call: Call,
) -> Answer<Json<ResultDocument>> {
    let (rental, access) = state.admit(&id, &call, sha256(b""))?;
    let files = state.files(rental, &access).await;
    files.and_then(|files| files.result).map(Json).ok_or_else(|| {
        let detail = format!(
            "rental {rental} is {:?} and has no result here yet; ask again once it is submitted",
            access.status
        );
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

pub(super) async fn output(
    State(state): State<ServerState>,
    Path((id, hash)): Path<(String, String)>,
    call: Call,
) -> Answer<Response> {
    let (rental, access) = state.admit(&id, &call, sha256(b""))?;
    let hash = parse_hash(&hash)?;
    state.check_spec(rental, &access).await?;
    let not_found = || {
        let detail =
            format!("rental {rental} has no output {hash}; fetch its result and take the hashes from the manifest");
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    if !state.store.is_output(rental, &hash) {
        return Err(not_found());
    }
    let mut file = tokio::fs::File::open(state.store.blob_path(&hash)).await.map_err(|_| not_found())?;
    let bytes = file.metadata().await.map_err(|_| not_found())?.len();
    let start = download_offset(&call.headers);
    if start > 0 && start >= bytes {
        let mut response = Problem::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("{hash} has {bytes} bytes; a range must begin before its end"),
        )
        .into_response();
        response.headers_mut().insert(CONTENT_RANGE, header(&format!("bytes */{bytes}")));
        return Ok(response);
    }
    file.seek(SeekFrom::Start(start)).await.map_err(|_| not_found())?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(bytes - start), 64 * 1024));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes - start));
    if start > 0 {
        headers.insert(CONTENT_RANGE, header(&format!("bytes {start}-{}/{bytes}", bytes - 1)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// What of a request is signed, and its headers.
pub(super) struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { method: parts.method.clone(), uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

impl ServerState {
    /// The rental, if it is this provider's and the request is signed by its agent over `content`.
    fn admit(&self, id: &str, call: &Call, content: B256) -> Answer<(AgreementId, RentalAccess)> {
        let (rental, access) = self.look_up(id)?;
        self.check_agent(rental, &access, call, content)?;
        Ok((rental, access))
    }

    fn admit_for_spec(&self, id: &str, call: &Call) -> Answer<(AgreementId, RentalAccess)> {
        let (rental, access) = self.look_up(id)?;
        self.check_agent(rental, &access, call, access.spec_hash)?;
        Ok((rental, access))
    }

    fn look_up(&self, id: &str) -> Answer<(AgreementId, RentalAccess)> {
        let not_found = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
        let rental: AgreementId = id.parse().map_err(|error| not_found(format!("{error}")))?;
        // One spelling of an id, so that one signature is for one path.
        if id != rental.to_string() {
            return Err(not_found(format!("write the rental's id as {rental}")));
        }
        let access = (self.access)(rental).ok_or_else(|| {
            not_found(format!("rental {rental} is not known here; if it was just matched, try again in a block or two"))
        })?;
        if access.provider != self.config.provider {
            let (theirs, ours) = (access.provider, self.config.provider);
            return Err(not_found(format!(
                "rental {rental} belongs to provider {theirs}, but this is {ours}; ask that one"
            )));
        }
        Ok((rental, access))
    }

    fn check_agent(&self, rental: AgreementId, access: &RentalAccess, call: &Call, content: B256) -> Answer<()> {
        let now_unix_s = now_unix_s();
        let subject = Subject {
            method: call.method.as_str(),
            path: call.uri.path_and_query().map_or(call.uri.path(), |path| path.as_str()),
            content,
            chain_id: self.config.chain_id,
            market: self.config.market,
            expires_unix_s: 0,
        };
        let signer = subject.verify(&call.headers, now_unix_s)?;
        if signer != access.agent {
            let detail =
                format!("rental {rental} was bid for by {}, not by {signer}; sign with that key", access.agent);
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        if access.open_until_unix_s <= now_unix_s {
            let detail = format!("rental {rental} ended long ago and its blobs are no longer served");
            return Err(Problem::new(StatusCode::GONE, detail));
        }
        Ok(())
    }

    /// What the store has for the rental as it is now; what is of another spec (a reorganisation) does not count.
    async fn files(&self, rental: AgreementId, access: &RentalAccess) -> Option<RentalFiles> {
        self.store.rental(rental).await.filter(|files| files.spec_hash == access.spec_hash)
    }

    async fn check_spec(&self, rental: AgreementId, access: &RentalAccess) -> Answer<()> {
        if self.store.spec_hash(rental) == Some(access.spec_hash) {
            return Ok(());
        }
        let detail = format!("the spec of rental {rental} is not here; push it first");
        Err(Problem::new(StatusCode::NOT_FOUND, detail))
    }

    async fn tell_if_complete(&self, rental: AgreementId) -> Answer<()> {
        match self.store.rental(rental).await {
            Some(files) if files.spec.is_some() && files.missing.is_empty() => {
                self.tell(BlobEvent::InputsComplete { rental }).await
            }
            _ => Ok(()),
        }
    }

    /// Hands an event to the keeper. What it is about is on disk by now, so a client that is told to come again loses
    /// nothing.
    async fn tell(&self, event: BlobEvent) -> Answer<()> {
        self.events.send_timeout(event, EVENT_WAIT).await.map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this provider's keeper is busy; send the same again in a moment",
            )
        })
    }
}

/// Inputs are taken from the match until the work ends.
fn writable(rental: AgreementId, access: &RentalAccess) -> Answer<()> {
    if matches!(access.status, Status::Confirmed | Status::Running) {
        return Ok(());
    }
    let detail = format!("rental {rental} is {:?}; it takes no more inputs", access.status);
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

async fn read_body(body: Body, limit: usize) -> Answer<Vec<u8>> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut chunks).await? {
        if bytes.len() + chunk.len() > limit {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit} bytes are taken here")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn next_chunk(chunks: &mut axum::body::BodyDataStream) -> Answer<Option<bytes::Bytes>> {
    match tokio::time::timeout(BODY_IDLE, chunks.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(error))) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body was cut off ({error}); resume the upload")))
        }
        Err(_) => {
            let detail = format!("nothing came for {} s; resume the upload", BODY_IDLE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Where an upload goes on: the start of `content-range: bytes 10-99/100`, 0 without one.
fn upload_offset(headers: &HeaderMap) -> Answer<u64> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(0) };
    let start = value.to_str().ok().and_then(|text| text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
    start.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "content-range cannot be read; write `bytes FIRST-LAST/TOTAL`")
    })
}

/// Where a download goes on: the start of `range: bytes=10-`. RFC 9110 lets a server ignore other forms.
fn download_offset(headers: &HeaderMap) -> u64 {
    let value = headers.get(RANGE).and_then(|value| value.to_str().ok());
    value.and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0)
}

/// Blobs are named by 64 hexadecimal digits in small letters, and in no other way.
fn parse_hash(text: &str) -> Answer<B256> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.parse().ok().filter(|_| is_hash).ok_or_else(|| {
        let detail = format!("'{}' names no blob: 64 small hexadecimal digits are needed", text.escape_debug());
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
