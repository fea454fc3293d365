//! What can go wrong, in words that name the thing and the remedy.

use std::path::PathBuf;

use alloy::primitives::Address;

/// An error of the index. Transient endpoint errors never reach the caller of [`Index::run`](crate::Index::run).
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// No endpoint answered.
    #[error("no RPC endpoint answers ({tried}): {reason}; start the node, or correct rpc_urls")]
    Unreachable {
        /// The endpoints, without their secrets.
        tried: String,
        /// The last one's error.
        reason: String,
    },
    /// The configuration names no usable endpoint.
    #[error("'{url}' is no RPC endpoint: {reason}; give http:// or https:// URLs in rpc_urls")]
    BadEndpoint {
        /// As configured.
        url: String,
        /// Why.
        reason: String,
    },
    /// The endpoint serves another chain.
    #[error("{endpoint} serves chain {actual}, but the configuration says {expected}; correct chain_id or rpc_urls")]
    WrongChain {
        /// The endpoint.
        endpoint: String,
        /// Configured.
        expected: u64,
        /// Served.
        actual: u64,
    },
    /// Nothing is deployed at a configured address.
    #[error(
        "no contract at the {what}'s address {address} on {endpoint}; correct {what} in the configuration, or deploy first"
    )]
    NoCode {
        /// `market` or `factory`.
        what: &'static str,
        /// Configured.
        address: Address,
        /// The endpoint.
        endpoint: String,
    },
    /// Another process holds the folder.
    #[error("the index folder {path} is in use by another process; stop that one, or choose another data_dir")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// There is no index where one is to be read.
    #[error("no index in {path}; run `indexer run` with this data_dir first")]
    NoIndex {
        /// The folder.
        path: PathBuf,
    },
    /// The folder's layout is not this program's.
    #[error(
        "the index folder {path} has schema version {found}, this program writes {expected}; delete the folder and start again: the index is rebuilt from the chain"
    )]
    Schema {
        /// The folder.
        path: PathBuf,
        /// Found.
        found: u32,
        /// Written by this program.
        expected: u32,
    },
    /// The folder belongs to another market.
    #[error(
        "the index folder {path} belongs to {found}, but the configuration says {expected}; choose another data_dir, or delete the folder to rebuild it"
    )]
    Identity {
        /// The folder.
        path: PathBuf,
        /// Stored.
        found: String,
        /// Configured.
        expected: String,
    },
    /// A reorganisation went below the undo log.
    #[error(
        "the chain was reorganised below block {block}, further than the index in {path} can undo ({horizon} blocks); delete the folder and start again, with a larger undo_horizon_blocks if this chain does that"
    )]
    ReorgTooDeep {
        /// The lowest block that can be undone.
        block: u64,
        /// Configured horizon.
        horizon: u64,
        /// The folder.
        path: PathBuf,
    },
    /// Events do not fit what came before them.
    #[error(
        "block {block}, log {log_index} ({event}): {reason}; if start_block is after the market's deployment, lower it and delete the index folder, otherwise report this"
    )]
    Inconsistent {
        /// The block.
        block: u64,
        /// The log's position in it.
        log_index: u64,
        /// The event.
        event: String,
        /// What does not fit.
        reason: String,
    },
    /// A stored value cannot be read.
    #[error(
        "damaged {what} in the index folder; delete the folder and start again: the index is rebuilt from the chain"
    )]
    Damaged {
        /// The row and its key.
        what: String,
    },
    /// The database refused.
    #[error("the index database failed: {0}; check the disk's space and health, then start again")]
    Database(#[from] rocksdb::Error),
    /// A call to the chain failed.
    #[error("{what} failed: {reason}; try again once an endpoint answers")]
    Call {
        /// What was asked.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The index holds no block yet.
    #[error("the index holds no block yet; wait for `indexer run` to reach start_block")]
    Empty,
    /// A background task ended early.
    #[error("an internal task of the index stopped: {0}; start again and report this")]
    Task(String),
}

impl IndexError {
    /// A row that cannot be decoded.
    pub(crate) fn damaged(what: &str, key: &[u8]) -> Self {
        Self::Damaged { what: format!("{what} at key 0x{}", hex::encode(key)) }
    }
}

/// Result with an [`IndexError`].
pub type Result<T, E = IndexError> = std::result::Result<T, E>;
