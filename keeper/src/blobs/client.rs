//! What an agent pushes to its provider and pulls from it.
//!
//! Every call is repeated on failures that may pass, with growing pauses and a fixed number of times; uploads and
//! downloads go on where they were cut off. What comes from a provider is a stranger's: sizes are capped, hashes are
//! checked before a file gets its name, and paths cannot leave their folder.

mod error;
mod nodes;
mod pauses;
mod pinned;
mod transfer;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B128, B256, Bytes},
    signers::local::PrivateKeySigner,
};
use contracts::ids::AgreementId;
use futures_util::StreamExt;
use reqwest::{
    Method, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
    redirect::Policy,
};
use serde::de::DeserializeOwned;

pub(super) use self::transfer::hashed;
pub use self::{
    error::ClientError,
    nodes::{Nodes, Sought},
};
use self::{error::is_passing, pauses::Pauses, pinned::Pinned};
use super::{
    auth::{SIGN_AHEAD_S, Subject},
    guard::{self, Endpoint, Reach},
    server::{Countersignature, Problem, RentalView},
    store::ResultDocument,
};
use crate::{
    act::containers::layout::{self, MAX_MANIFEST_BYTES, safe_path},
    benchmark::Scored,
    spec::{InputRef, Manifest, RentalSpec, Statement, sha256},
};

/// Longest silence of a provider.
const READ_TIME: Duration = Duration::from_secs(30);
/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Between two looks at a provider whose index is behind.
const BLOCK_PAUSE: Duration = Duration::from_millis(200);
/// Largest JSON answer, bytes: manifests as JSON strings may take up to six times their size.
pub(super) const MAX_JSON_BYTES: u64 = 6 * MAX_MANIFEST_BYTES + 256 * 1024;

/// Largest score document, bytes.
pub(super) const MAX_SCORE_BYTES: u64 = 4 * 1024;

/// Who asks, and for which market.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// The key that placed the bid.
    pub signer: PrivateKeySigner,
    /// Chain of the market.
    pub chain_id: u64,
    /// The market.
    pub market: Address,
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Inputs sent, at least in part.
    pub uploaded: usize,
    /// Bytes of them.
    pub sent_bytes: u64,
}

/// A connection to one provider, pinned to the address that was checked.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
    auth: ClientAuth,
}

impl Client {
    /// Checks and resolves the endpoint; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub async fn connect(endpoint: &str, reach: &Reach, auth: ClientAuth) -> Result<Self, ClientError> {
        let endpoint = guard::resolve(endpoint, reach).await?;
        Self::to(endpoint, reach, auth)
    }

    fn to(Endpoint { url, addresses }: Endpoint, reach: &Reach, auth: ClientAuth) -> Result<Self, ClientError> {
        let endpoint = url.as_str().trim_end_matches('/').to_owned();
        let unreachable =
            |reason| ClientError::Unreachable { endpoint: endpoint.clone(), what: "connecting".into(), reason };
        let tls = reach.roots.config().map_err(|error| unreachable(error.to_string()))?;
        let http = reqwest::Client::builder()
            // No name is resolved again: it may lead elsewhere by now.
            .dns_resolver(Pinned(addresses))
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            // A proxy would resolve the name anew and go where it leads now.
            .no_proxy()
            // What unpacks to a thousand times its size is not asked for.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_TIME)
            .read_timeout(READ_TIME)
            .build()
            .map_err(|error| unreachable(in_full(&error)))?;
        Ok(Self { http, endpoint, auth })
    }

    /// Waits until the provider's index, which may be some blocks behind, knows a rental that was matched in
    /// `matched_block`: for `at_most`, and not at all if its index is past that block.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when the rental is not known there in time.
    pub async fn wait_until_known(
        &self,
        rental: AgreementId,
        matched_block: u64,
        at_most: Duration,
    ) -> Result<RentalView, ClientError> {
        let until = tokio::time::Instant::now() + at_most;
        loop {
            match self.status(rental).await {
                Err(ClientError::Refused { status: 404, block: Some(block), .. })
                    if block < matched_block && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(BLOCK_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Pushes what the provider lacks of spec and inputs; `blob` says where an input's bytes are.
    ///
    /// # Errors
    /// [`ClientError`]; what has arrived stays there, so a later call goes on.
    pub async fn push(
        &self,
        rental: AgreementId,
        spec_bytes: &[u8],
        spec: &RentalSpec,
        blob: impl Fn(&InputRef) -> PathBuf,
    ) -> Result<PushReport, ClientError> {
        let mut view = self.status(rental).await?;
        if !view.have_spec {
            let path = format!("/v1/rentals/{rental}/spec");
            let body = bytes::Bytes::copy_from_slice(spec_bytes);
            self.repeated(Method::PUT, &path, sha256(spec_bytes), |request| request.body(body.clone())).await?;
            view = self.status(rental).await?;
        }
        self.upload_missing(rental, view, spec, blob).await
    }

    /// Pushes a spec with more tasks to a rental that runs, and what the provider lacks of its inputs.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when the rental takes no more. What has arrived stays there, so a later call goes on.
    pub async fn push_more(
        &self,
        rental: AgreementId,
        spec_bytes: &[u8],
        spec: &RentalSpec,
        blob: impl Fn(&InputRef) -> PathBuf,
    ) -> Result<PushReport, ClientError> {
        let hash = sha256(spec_bytes);
        let path = format!("/v1/rentals/{rental}/tasks/{}", hex::encode(hash));
        let body = bytes::Bytes::copy_from_slice(spec_bytes);
        self.repeated(Method::PUT, &path, hash, |request| request.body(body.clone())).await?;
        let view = self.status(rental).await?;
        self.upload_missing(rental, view, spec, blob).await
    }

    async fn upload_missing(
        &self,
        rental: AgreementId,
        view: RentalView,
        spec: &RentalSpec,
        blob: impl Fn(&InputRef) -> PathBuf,
    ) -> Result<PushReport, ClientError> {
        let mut report = PushReport::default();
        for missing in view.missing {
            // Only what the spec names is sent, whatever the provider asks for.
            let Some(input) = spec.inputs().find(|input| input.sha256 == missing.sha256) else { continue };
            report.sent_bytes += self.upload(rental, input, &blob(input)).await?;
            report.uploaded += 1;
        }
        Ok(report)
    }

    /// Hands over the agent's signature on the start.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when spec or inputs have not fully arrived.
    pub async fn countersign(&self, rental: AgreementId, signature: &Bytes) -> Result<(), ClientError> {
        let path = format!("/v1/rentals/{rental}/countersignature");
        let body = serde_json::to_vec(&Countersignature { signature: signature.clone() }).unwrap_or_default();
        let body = bytes::Bytes::from(body);
        let content = sha256(&body);
        let with_body =
            |request: reqwest::RequestBuilder| request.header(CONTENT_TYPE, "application/json").body(body.clone());
        self.repeated(Method::POST, &path, content, with_body).await.map(drop)
    }

    /// What the provider has of the rental.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self, rental: AgreementId) -> Result<RentalView, ClientError> {
        self.json(rental, &format!("/v1/rentals/{rental}"), "status").await
    }

    /// The rental's result as the provider serves it. Whether it is the submitted one is for the caller to check.
    ///
    /// # Errors
    /// [`ClientError`]; 404 while there is none.
    pub async fn result(&self, rental: AgreementId, spec_hash: B256) -> Result<ResultDocument, ClientError> {
        let document: ResultDocument = self.json(rental, &format!("/v1/rentals/{rental}/result"), "result").await?;
        let manifests = document.tasks.iter().map(|task| task.manifest.len() as u64).sum::<u64>();
        if manifests > MAX_MANIFEST_BYTES {
            return Err(wrong(rental, format!("manifest: all together have {manifests} bytes")));
        }
        // The first task is the rental's own; others may have been pushed.
        if let Some(first) = document.receipts().next().filter(|first| first.spec_hash != spec_hash) {
            return Err(wrong(rental, format!("result: its receipt is for spec {}", first.spec_hash)));
        }
        Ok(document)
    }

    /// What the provider states of the work under way, oldest first. Whether it holds is for the caller to check.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn statements(&self, rental: AgreementId) -> Result<Vec<Statement>, ClientError> {
        self.json(rental, &format!("/v1/rentals/{rental}/statements"), "list of statements").await
    }

    /// How fast the node is, in its provider's own words. Whether they hold is for the caller to check. Asked once.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it was not measured.
    pub async fn score(&self) -> Result<Scored, ClientError> {
        const PATH: &str = "/v1/score";
        let request = self.http.get(format!("{}{PATH}", self.endpoint)).timeout(READ_TIME);
        let response = self.once(Method::GET, PATH, request).await?;
        let bytes = self.small_body(AgreementId::default(), response, PATH, "score", MAX_SCORE_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| wrong(AgreementId::default(), format!("score: {error}")))
    }

    /// Fetches the outputs that the manifest lists into `folder`, and gives their paths in its order. Files that are
    /// there already and are right are kept.
    ///
    /// # Errors
    /// [`ClientError::Content`] when a file is not what the manifest says, or they are more than `max_bytes` together.
    pub async fn outputs(
        &self,
        rental: AgreementId,
        manifest: &Manifest,
        folder: &Path,
        max_bytes: u64,
    ) -> Result<Vec<PathBuf>, ClientError> {
        layout::check_manifest(manifest, max_bytes).map_err(|error| wrong(rental, format!("manifest: {error}")))?;
        let mut paths = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            let path = safe_path(&file.path).map_err(|error| wrong(rental, format!("manifest: {error}")))?;
            let path = folder.join(path);
            self.download(rental, file, &path).await?;
            paths.push(path);
        }
        Ok(paths)
    }

    async fn json<T: DeserializeOwned>(&self, rental: AgreementId, path: &str, what: &str) -> Result<T, ClientError> {
        let mut pauses = Pauses::new();
        let bytes = loop {
            let response = self.repeated(Method::GET, path, sha256(b""), |request| request).await?;
            match self.small_body(rental, response, path, what, MAX_JSON_BYTES).await {
                Err(error) if error.is_retryable() && pauses.take().await => {}
                other => break other?,
            }
        };
        serde_json::from_slice(&bytes).map_err(|error| wrong(rental, format!("{what}: {error}")))
    }

    async fn small_body(
        &self,
        rental: AgreementId,
        response: Response,
        path: &str,
        what: &str,
        max_bytes: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&Method::GET, path, &error))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > max_bytes {
                return Err(wrong(rental, format!("{what}: more than {max_bytes} bytes")));
            }
        }
        Ok(bytes)
    }

    /// Makes a call until it succeeds, is refused for good, or has been made often enough. Each time it is signed anew.
    async fn repeated(
        &self,
        method: Method,
        path: &str,
        content: B256,
        finish: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        let mut pauses = Pauses::new();
        loop {
            let request = finish(self.request(method.clone(), path, content)?);
            match self.once(method.clone(), path, request).await {
                Err(ClientError::Refused { status, .. }) if is_passing(status) && pauses.take().await => {}
                Err(ClientError::Unreachable { .. }) if pauses.take().await => {}
                other => return other,
            }
        }
    }

    fn request(&self, method: Method, path: &str, content: B256) -> Result<reqwest::RequestBuilder, ClientError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let subject = Subject {
            method: method.as_str(),
            path,
            content,
            chain_id: self.auth.chain_id,
            market: self.auth.market,
            expires_unix_s: now + SIGN_AHEAD_S,
            nonce: B128::random(),
        };
        let headers = subject.sign(&self.auth.signer)?;
        Ok(self.http.request(method, format!("{}{path}", self.endpoint)).headers(headers))
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&method, path, &error))?;
        let status = response.status();
        if status.is_success() {
            if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|it| *it != "identity") {
                let detail = format!("it answered with content-encoding {encoding:?}, which is not taken");
                return Err(self.refused(&method, path, status.as_u16(), detail, None));
            }
            return Ok(response);
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            body.extend_from_slice(&chunk);
            if body.len() > 16 * 1024 {
                break;
            }
        }
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        let block = problem.as_ref().and_then(|problem| problem.block);
        let detail = problem.map_or_else(|| "no reason was given".into(), |problem| problem.detail);
        // A stranger's words go to logs and terminals.
        let detail = detail.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Err(self.refused(&method, path, status.as_u16(), detail, block))
    }

    fn refused(&self, method: &Method, path: &str, status: u16, detail: String, block: Option<u64>) -> ClientError {
        let what = format!("{method} {path}");
        ClientError::Refused { endpoint: self.endpoint.clone(), what, status, detail, block }
    }

    fn unreachable(&self, method: &Method, path: &str, error: &reqwest::Error) -> ClientError {
        let what = format!("{method} {path}");
        ClientError::Unreachable { endpoint: self.endpoint.clone(), what, reason: in_full(error) }
    }
}

/// An error with all its causes: reqwest's own text says only that something failed.
fn in_full(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn wrong(rental: AgreementId, what: String) -> ClientError {
    ClientError::Content { rental, what }
}
