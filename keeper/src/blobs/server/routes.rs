//! The routes: admit, then read or write the store.

use std::io::SeekFrom;

use alloy::primitives::{B256, Bytes};
use axum::{
    Json,
    body::Body,
    extract::{OriginalUri, Path, State},
    http::{
        HeaderValue, StatusCode,
        header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use contracts::{bindings::Status, ids::AgreementId};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    BlobEvent, Problem, RentalAccess, RentalView, ServerState,
    admit::{Answer, Call},
    pace::PacedBody,
    range::{download_range, upload_offset},
};
use crate::{
    blobs::store::{ResultDocument, StoreError},
    spec::{MAX_SPEC_BYTES, Statement, sha256},
};

/// How much of a blob is here, bytes.
pub(in crate::blobs) const RECEIVED: &str = "x-openclaw-received";
/// How much there is of it, bytes.
pub(in crate::blobs) const BYTES: &str = "x-openclaw-bytes";

/// Largest countersignature document, bytes. Contract signatures (EIP-1271) may be long.
const MAX_COUNTERSIGNATURE_BYTES: usize = 8 * 1024;

/// Body of a countersignature request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::blobs) struct Countersignature {
    pub(in crate::blobs) signature: Bytes,
}

pub(super) async fn unknown(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{} is not served here; see /v1/rentals/{{id}}", uri.path()))
}

/// For everybody: it is small, says nothing of any rental, and shows its own signer.
pub(super) async fn score(State(state): State<ServerState>) -> Answer<Response> {
    let scored = state.score.as_ref().and_then(|score| score.borrow().clone()).ok_or_else(|| {
        let detail = "this node has no score; its operator makes one with `keeper offer measure`";
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Json(scored)).into_response())
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
    let bytes = PacedBody::new(body, state.limits()).read(MAX_SPEC_BYTES).await?;
    state.store.accept_spec(rental, access.agent, access.spec_hash, &bytes).await?;
    state.tell(BlobEvent::SpecReady { rental }).await?;
    state.tell_if_complete(rental).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// More tasks for a rental that runs.
pub(super) async fn push_spec(
    State(state): State<ServerState>,
    Path((id, hash)): Path<(String, String)>,
    call: Call,
    body: Body,
) -> Answer<StatusCode> {
    let hash = parse_hash(&hash)?;
    let (rental, access) = state.admit(&id, &call, hash)?;
    if access.status != Status::Running {
        let detail = format!("rental {rental} is {:?}; tasks are pushed only while it runs", access.status);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    state.check_spec(rental, &access).await?;
    let bytes = PacedBody::new(body, state.limits()).read(MAX_SPEC_BYTES).await?;
    state.store.push_spec(rental, hash, &bytes).await?;
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
    let (received, bytes) = progress.ok_or(StoreError::NotReferenced { rental, hash })?;
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
    let (_, bytes) = state.store.progress(rental, &hash).await.ok_or(StoreError::NotReferenced { rental, hash })?;
    let offset = upload_offset(&call.headers, bytes)?;
    let _place = state.place(&state.uploads, &access, "uploads")?;
    if let Some(mut upload) = state.store.begin(rental, hash, offset).await? {
        let mut body = PacedBody::new(body, state.limits());
        while let Some(chunk) = body.next().await? {
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
    let bytes = PacedBody::new(body, state.limits()).read(MAX_COUNTERSIGNATURE_BYTES).await?;
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

pub(super) async fn statements(
    State(state): State<ServerState>,
    Path(id): Path<String>,
    call: Call,
) -> Answer<Json<Vec<Statement>>> {
    let (rental, access) = state.admit(&id, &call, sha256(b""))?;
    if state.store.spec_hash(rental) != Some(access.spec_hash) {
        return Ok(Json(Vec::new()));
    }
    Ok(Json(state.store.statements(rental).await?))
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
    let range = match download_range(&call.headers, bytes) {
        Ok(range) => range,
        Err(problem) => {
            let mut response = problem.into_response();
            response.headers_mut().insert(CONTENT_RANGE, header(&format!("bytes */{bytes}")));
            return Ok(response);
        }
    };
    let place = state.place(&state.downloads, &access, "downloads")?;
    let (start, end) = range.unwrap_or((0, bytes));
    file.seek(SeekFrom::Start(start)).await.map_err(|_| not_found())?;
    let stream = ReaderStream::with_capacity(file.take(end - start), 64 * 1024);
    let body = Body::from_stream(stream.inspect(move |_| {
        // The place is given back when the last byte is sent or the client is gone.
        let _ = &place;
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    if range.is_some() {
        headers.insert(CONTENT_RANGE, header(&format!("bytes {start}-{}/{bytes}", end - 1)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Inputs are taken from the match until the work ends.
fn writable(rental: AgreementId, access: &RentalAccess) -> Answer<()> {
    if matches!(access.status, Status::Confirmed | Status::Running) {
        return Ok(());
    }
    let detail = format!("rental {rental} is {:?}; it takes no more inputs", access.status);
    Err(Problem::new(StatusCode::CONFLICT, detail))
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
