//! The keeper: rents for agents, sells for node operators, 24 hours a day, without asking.
//!
//! Data runs one way round: the index follows the chain → [`market`] is cut from it (and the wallet's [`purse`] asked) → [`roles`] wish, priced by
//! [`strategy`] → [`keeper`] writes each wish into the [`journal`] → [`preflight`] runs transactions in revm →
//! [`act`] relays them, runs containers, carries blobs → the chain.
//!
//! - [`config`], [`keys`]: what an operator writes.
//! - [`daemon`]: joins the parts and owns the data folder.
//! - [`keeper`]: the one loop over [`event::Event`]; [`ledger`] is its memory of the journal.
//! - [`seller`]: which part of a provider's fleet a keeper is.
//! - [`blobs`]: content-addressed data plane between keepers; [`spec`]: the documents whose hashes go on chain.
//! - [`reap`]: the second kill clock, which needs none of the above.
//! - [`socket`], [`intake`], [`job`]: what users ask for; [`metrics`]: what their monitoring asks; [`mcp`]: what their
//!   agents ask.
//! - [`benchmark`]: what a node's speed is measured by; [`speeds`]: what an agent knows of the speeds of others.
//! - [`crash`]: where tests make a keeper die.
//!
//! Invariants: an intent is journalled before it acts; a transaction is stored before it is sent; one relay owns one
//! account's nonces; a rental has one live attempt and one result.
//!
//! Deliberately absent: decisions in `act`, I/O in `roles` and `strategy`, any memory of effects that the index tells.

pub mod act;
pub mod benchmark;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod crash;
pub mod daemon;
pub mod event;
pub mod intake;
pub mod job;
pub mod journal;
pub mod keeper;
pub mod keys;
pub mod ledger;
pub mod market;
pub mod mcp;
pub mod metrics;
pub mod preflight;
pub mod purse;
pub mod reap;
pub mod roles;
pub mod seller;
pub mod socket;
pub mod spec;
pub mod speeds;
pub mod strategy;
