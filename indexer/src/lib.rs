//! Mirrors the market from the chain's events into RocksDB and answers questions about it.
//!
//! Data runs one way: `follow` proves blocks, `project` folds their events into rows, `store` keeps them,
//! [`api`] and [`Snapshot`] read them.
//!
//! | part | does |
//! |---|---|
//! | `follow` | chain → added and removed blocks; fail-over between endpoints |
//! | `project` | pure: events → row changes and their inverse |
//! | `store` | one RocksDB, one atomic batch a block, undo log; its keys are listed in `store/schema.rs` |
//! | [`api`] | read-only HTTP: JSON, OpenAPI, problem documents |
//! | [`verify`] | compares every row with the chain by calls |
//! | [`config`] | the file and the flags of the program `indexer` |
//!
//! Invariants:
//! - The index equals the chain: after any reorganisation, crash or faulty endpoint, the same bytes as a fresh index.
//! - A snapshot is one block: no answer mixes two.
//! - Rows fold from events alone; calls are made only to verify.
//!
//! Deliberately absent: writing to the chain, keys, and anything that the chain could not give back. The folder can be
//! deleted at any time.

pub mod api;
pub mod config;
mod error;
mod follow;
mod index;
mod project;
mod store;
pub mod verify;

pub use error::{IndexError, Result};
pub use index::{Head, Index, IndexConfig};
pub use store::{
    rows,
    snapshot::{Page, Provider, Snapshot},
};
