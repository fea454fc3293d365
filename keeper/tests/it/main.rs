//! The keeper as its users meet it: the real programs, on a real chain.

#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../../src/demo/actors.rs"]
#[allow(dead_code, reason = "the demo uses all of it")]
mod actors;
#[path = "../../src/demo/stage.rs"]
#[allow(dead_code, reason = "the demo uses all of it")]
mod stage;

mod bad_input;
mod reconcile;
