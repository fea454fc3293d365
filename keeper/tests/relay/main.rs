//! The relay against a real chain, through an endpoint that fails on demand.
//!
//! Blocks are mined when a test says so. At the end of each: every intent executed exactly once, or said why not; no
//! transaction is left in the pool; the outbox is empty.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod batches;
mod daemon;
mod faults;
mod finality;
mod flight;
mod nonces;
mod policy;
mod preflight;
mod proxy;
mod race;
mod support;
