//! The indexer against a real chain with the real contracts.
#![allow(clippy::unwrap_used)]

mod api;
mod chain;
mod following;
mod opening;
mod program;
mod proxy;
