//! One blob there or back, going on where it was cut off.

use std::{io, path::Path};

use alloy::primitives::B256;
use contracts::ids::AgreementId;
use futures_util::StreamExt;
use reqwest::{
    Body, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

use super::{Client, ClientError, Pauses, is_passing, wrong};
use crate::{
    act::containers::layout::hash_file,
    blobs::server::RECEIVED,
    spec::{InputRef, OutputRef, sha256},
};

/// A transfer that got on by this much may be cut off as often as another one, bytes.
const PROGRESS_BYTES: u64 = 64 * 1024;

impl Client {
    /// Sends one input from where the provider has it. The answer is how many bytes were sent.
    pub(super) async fn upload(&self, rental: AgreementId, input: &InputRef, file: &Path) -> Result<u64, ClientError> {
        let at = |source| ClientError::Io { path: file.to_owned(), source };
        if tokio::fs::metadata(file).await.map_err(at)?.len() != input.bytes {
            return Err(ClientError::Input { path: file.to_owned() });
        }
        let path = format!("/v1/rentals/{rental}/blobs/{}", hex::encode(input.sha256));
        let mut sent = 0;
        let mut reached = 0;
        let mut pauses = Pauses::new();
        loop {
            let head = self.repeated(Method::HEAD, &path, sha256(b""), |request| request).await?;
            let received =
                head.headers().get(RECEIVED).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
            if received >= input.bytes && sent > 0 {
                return Ok(sent);
            }
            // A slow line is cut off again and again; as long as it gets on, that is no failure.
            if received >= reached + PROGRESS_BYTES {
                (reached, pauses) = (received, Pauses::new());
            }
            let start = if received < input.bytes { received } else { 0 };
            let mut bytes = File::open(file).await.map_err(at)?;
            bytes.seek(io::SeekFrom::Start(start)).await.map_err(at)?;
            let rest = input.bytes - start;
            let body = Body::wrap_stream(ReaderStream::with_capacity(bytes.take(rest), 64 * 1024));
            let mut request = self.request(Method::PUT, &path, input.sha256)?.header(CONTENT_LENGTH, rest).body(body);
            if start > 0 {
                request = request.header(CONTENT_RANGE, format!("bytes {start}-{}/{}", input.bytes - 1, input.bytes));
            }
            sent += rest;
            match self.once(Method::PUT, &path, request).await {
                Ok(_) => return Ok(sent),
                // The store threw the upload away: either the file here has changed, or the way there changed it.
                Err(ClientError::Refused { status: 422, .. }) if !self.is_still(input, file).await? => {
                    return Err(ClientError::Input { path: file.to_owned() });
                }
                Err(error) => {
                    let again = match &error {
                        ClientError::Refused { status, .. } => {
                            is_passing(*status) || matches!(*status, 400 | 409 | 422)
                        }
                        other => other.is_retryable(),
                    };
                    if !again || !pauses.take().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn is_still(&self, input: &InputRef, file: &Path) -> Result<bool, ClientError> {
        let found = hashed(file).await.map_err(|source| ClientError::Io { path: file.to_owned(), source })?;
        Ok(found == (input.sha256, input.bytes))
    }

    /// Fetches one output to `target`, by way of a file beside it that a later call goes on with.
    pub(super) async fn download(
        &self,
        rental: AgreementId,
        file: &OutputRef,
        target: &Path,
    ) -> Result<(), ClientError> {
        let at = |path: &Path, source| ClientError::Io { path: path.to_owned(), source };
        if hashed(target).await.is_ok_and(|found| found == (file.sha256, file.bytes)) {
            return Ok(());
        }
        let folder = target.parent().unwrap_or(target);
        tokio::fs::create_dir_all(folder).await.map_err(|source| at(folder, source))?;
        let part = folder.join(format!(".{}.part", hex::encode(file.sha256)));
        let mut is_resumed = tokio::fs::try_exists(&part).await.unwrap_or(false);
        let mut reached = 0;
        let mut pauses = Pauses::new();
        loop {
            match self.download_rest(rental, file, &part).await {
                Err(error) if error.is_retryable() => {
                    is_resumed = true;
                    let have = tokio::fs::metadata(&part).await.map_or(0, |found| found.len());
                    if have >= reached + PROGRESS_BYTES {
                        (reached, pauses) = (have, Pauses::new());
                    }
                    if !pauses.take().await {
                        return Err(error);
                    }
                    continue;
                }
                other => other?,
            }
            let found = hashed(&part).await.map_err(|source| at(&part, source))?;
            if found == (file.sha256, file.bytes) {
                return tokio::fs::rename(&part, target).await.map_err(|source| at(target, source));
            }
            tokio::fs::remove_file(&part).await.map_err(|source| at(&part, source))?;
            // Pieces of several transfers may have gone wrong on the way or here. Only one that came in one piece
            // says something about the provider.
            if !std::mem::take(&mut is_resumed) {
                let what = format!(
                    "output '{}': {} bytes of {}, not {} of {}",
                    file.path, found.1, found.0, file.bytes, file.sha256
                );
                return Err(wrong(rental, what));
            }
        }
    }

    async fn download_rest(&self, rental: AgreementId, file: &OutputRef, part: &Path) -> Result<(), ClientError> {
        let at = |source| ClientError::Io { path: part.to_owned(), source };
        let have = tokio::fs::metadata(part).await.map_or(0, |found| found.len());
        if have >= file.bytes && file.bytes > 0 {
            return Ok(());
        }
        let path = format!("/v1/rentals/{rental}/outputs/{}", hex::encode(file.sha256));
        let range = |request: reqwest::RequestBuilder| {
            if have > 0 { request.header(RANGE, format!("bytes={have}-")) } else { request }
        };
        let response = self.repeated(Method::GET, &path, sha256(b""), range).await?;
        // A provider that knows no ranges sends everything again.
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT;
        let mut have = if resumed { have } else { 0 };
        let mut out = File::options().write(true).create(true).truncate(false).open(part).await.map_err(at)?;
        out.set_len(have).await.map_err(at)?;
        out.seek(io::SeekFrom::Start(have)).await.map_err(at)?;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&Method::GET, &path, &error));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // What has come so far is where the next attempt goes on.
                    out.flush().await.map_err(at)?;
                    return Err(error);
                }
            };
            have += chunk.len() as u64;
            if have > file.bytes {
                drop(out);
                tokio::fs::remove_file(part).await.map_err(at)?;
                return Err(wrong(rental, format!("output '{}': more than {} bytes", file.path, file.bytes)));
            }
            out.write_all(&chunk).await.map_err(at)?;
        }
        out.flush().await.map_err(at)?;
        out.sync_all().await.map_err(at)
    }
}

pub(in crate::blobs) async fn hashed(path: &Path) -> io::Result<(B256, u64)> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || hash_file(&path)).await.map_err(io::Error::other)?
}
