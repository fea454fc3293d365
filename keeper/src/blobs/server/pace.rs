//! Whoever is too slow is let go: bodies that drip, readers that do not read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::StatusCode,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{Problem, ServerLimits};

/// A request's body, read under a least pace.
pub(super) struct PacedBody {
    chunks: BodyDataStream,
    idle: Duration,
    bytes_per_s: u64,
    began: Instant,
    bytes: u64,
}

impl PacedBody {
    pub(super) fn new(body: Body, limits: &ServerLimits) -> Self {
        let (idle, bytes_per_s) = (limits.body_idle, limits.body_bytes_per_s.max(1));
        Self { chunks: body.into_data_stream(), idle, bytes_per_s, began: Instant::now(), bytes: 0 }
    }

    /// The next bytes, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        // One pause is forgiven, and each byte buys its share of a second.
        let earned = Duration::from_millis(self.bytes.saturating_mul(1_000) / self.bytes_per_s);
        let late = self.began + self.idle + earned;
        let silent = Instant::now() + self.idle;
        match tokio::time::timeout_at(silent.min(late), self.chunks.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => {
                self.bytes += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(Some(Err(error))) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body was cut off ({error}); resume the upload")))
            }
            Err(_) => {
                let detail = format!(
                    "the body came slower than {} bytes a second, or not at all for {} s; resume the upload",
                    self.bytes_per_s,
                    self.idle.as_secs_f32()
                );
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(super) async fn read(mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            if bytes.len() + chunk.len() > limit {
                let detail = format!("at most {limit} bytes are taken here");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// A connection that fails when nothing can be written to it for too long: its peer does not read.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, stalled: None }
    }

    /// Passes on what came of a write, and counts the time while nothing does.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        let what = format!("the peer read nothing for {} s", limit.as_secs_f32());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, ended)
    }
}
