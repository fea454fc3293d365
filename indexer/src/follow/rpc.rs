//! Reading the chain through a list of endpoints: when one fails, the next is asked, and stays the one asked first.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use alloy::{
    network::Ethereum,
    primitives::{Address, B256, Bloom, Bytes},
    providers::{Provider, RootProvider},
    rpc::types::{Block, Filter, Log, TransactionReceipt},
    transports::{RpcError, TransportError, TransportErrorKind},
};

use crate::{
    error::{IndexError, Result},
    store::Header,
};

/// Longest wait for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The endpoints.
pub(crate) struct Rpc {
    endpoints: Vec<Endpoint>,
    first: AtomicUsize,
}

struct Endpoint {
    /// Scheme, host and port: paths and queries may hold secrets.
    name: String,
    provider: RootProvider<Ethereum>,
}

/// No endpoint answered a call.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed at {endpoint}: {reason}")]
pub(crate) struct CallError {
    what: &'static str,
    endpoint: String,
    reason: String,
    /// The endpoint understood the call and refused it, as it does when a range holds too many logs.
    pub(crate) refused: bool,
}

/// A header with what it commits to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenHeader {
    pub(crate) header: Header,
    pub(crate) bloom: Bloom,
    pub(crate) receipts_root: B256,
}

impl Rpc {
    /// Over `urls`, none of which is asked yet.
    pub(crate) fn new(urls: &[String]) -> Result<Self> {
        let bad = |url: &str, reason: String| IndexError::BadEndpoint { url: url.to_owned(), reason };
        if urls.is_empty() {
            return Err(bad("", "the list is empty".into()));
        }
        let endpoints = urls.iter().map(|text| {
            let url: alloy::transports::http::reqwest::Url =
                text.parse().map_err(|error| bad(text, format!("{error}")))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(bad(text, format!("scheme {} is not supported", url.scheme())));
            }
            Ok(Endpoint { name: url.origin().ascii_serialization(), provider: RootProvider::new_http(url) })
        });
        Ok(Self { endpoints: endpoints.collect::<Result<_>>()?, first: AtomicUsize::new(0) })
    }

    /// Names of all endpoints.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        names.join(", ")
    }

    /// Asks another endpoint first from now on.
    pub(crate) fn rotate(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// Checks that one endpoint answers and serves `chain_id` with code at the named addresses.
    pub(crate) async fn check(&self, chain_id: u64, contracts: &[(&'static str, Address)]) -> Result<()> {
        let unreachable = |error: CallError| IndexError::Unreachable { tried: self.names(), reason: error.reason };
        let (actual, endpoint) = self
            .call_named("eth_chainId", |provider| async move { provider.get_chain_id().await })
            .await
            .map_err(unreachable)?;
        if actual != chain_id {
            return Err(IndexError::WrongChain { endpoint, expected: chain_id, actual });
        }
        for (what, address) in contracts.iter().copied() {
            let ask = move |provider: RootProvider| async move { provider.get_code_at(address).await };
            let (code, endpoint) = self.call_named("eth_getCode", ask).await.map_err(unreachable)?;
            if code.is_empty() {
                return Err(IndexError::NoCode { what, address, endpoint });
            }
        }
        Ok(())
    }

    /// The newest header.
    pub(crate) async fn latest(&self) -> Result<Option<SeenHeader>, CallError> {
        self.block("latest".to_owned()).await
    }

    /// The header at `number`; `None` when the endpoint does not have it (yet).
    pub(crate) async fn header(&self, number: u64) -> Result<Option<SeenHeader>, CallError> {
        let seen = self.block(format!("{number:#x}")).await?;
        Ok(seen.filter(|seen| seen.header.number == number))
    }

    async fn block(&self, tag: String) -> Result<Option<SeenHeader>, CallError> {
        let ask = |provider: RootProvider| {
            let tag = tag.clone();
            async move { provider.raw_request::<_, Option<Block<B256>>>("eth_getBlockByNumber".into(), (tag, false)).await }
        };
        Ok(self.call("eth_getBlockByNumber", ask).await?.map(|block| SeenHeader {
            header: Header {
                number: block.header.inner.number,
                hash: block.header.hash,
                parent: block.header.inner.parent_hash,
                timestamp_s: block.header.inner.timestamp,
            },
            bloom: block.header.inner.logs_bloom,
            receipts_root: block.header.inner.receipts_root,
        }))
    }

    /// Logs that match `filter`.
    pub(crate) async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, CallError> {
        let ask = |provider: RootProvider| async move { provider.get_logs(filter).await };
        self.call("eth_getLogs", ask).await
    }

    /// Receipts of a block by its hash.
    pub(crate) async fn receipts(&self, hash: B256) -> Result<Option<Vec<TransactionReceipt>>, CallError> {
        let ask =
            |provider: RootProvider| async move { provider.raw_request("eth_getBlockReceipts".into(), (hash,)).await };
        self.call("eth_getBlockReceipts", ask).await
    }

    /// Result of a contract call as of the block `hash`.
    pub(crate) async fn eth_call(&self, to: Address, data: Bytes, hash: B256) -> Result<Bytes, CallError> {
        let ask = |provider: RootProvider| {
            let call = serde_json::json!({ "to": to, "data": data });
            let block = serde_json::json!({ "blockHash": hash });
            async move { provider.raw_request("eth_call".into(), (call, block)).await }
        };
        self.call("eth_call", ask).await
    }

    async fn call<T, F, A>(&self, what: &'static str, ask: F) -> Result<T, CallError>
    where
        F: Fn(RootProvider<Ethereum>) -> A,
        A: Future<Output = Result<T, TransportError>>,
    {
        Ok(self.call_named(what, ask).await?.0)
    }

    /// Asks every endpoint once at most, beginning with the one that answered last; tells who answered.
    async fn call_named<T, F, A>(&self, what: &'static str, ask: F) -> Result<(T, String), CallError>
    where
        F: Fn(RootProvider<Ethereum>) -> A,
        A: Future<Output = Result<T, TransportError>>,
    {
        let mut failed = None;
        for _ in 0..self.endpoints.len() {
            let turn = self.first.load(Ordering::Relaxed);
            let endpoint = &self.endpoints[turn % self.endpoints.len()];
            let answer = tokio::time::timeout(CALL_TIMEOUT, ask(endpoint.provider.clone())).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok((answer, endpoint.name.clone())),
                Ok(Err(error)) => error,
                Err(_) => TransportErrorKind::custom_str(&format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
            };
            failed = Some(CallError {
                what,
                endpoint: endpoint.name.clone(),
                refused: error.is_error_resp(),
                reason: brief(&error),
            });
            // Only the first to notice moves on, so that concurrent calls do not skip an endpoint.
            let _ = self.first.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(failed.unwrap_or_else(|| unreachable!("the list of endpoints is never empty")))
    }
}

/// The error without the answer's whole text and without the URL, whose path may be a secret.
fn brief(error: &TransportError) -> String {
    match error {
        RpcError::ErrorResp(payload) => format!("error {}: {}", payload.code, payload.message),
        RpcError::DeserError { err, .. } => format!("an answer of another shape: {err}"),
        RpcError::Transport(TransportErrorKind::HttpError(http)) => format!("HTTP status {}", http.status),
        RpcError::Transport(TransportErrorKind::Custom(custom)) => {
            // reqwest's text repeats the URL; the innermost cause says what happened.
            let mut cause: &dyn std::error::Error = custom.as_ref();
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        }
        other => other.to_string(),
    }
}
