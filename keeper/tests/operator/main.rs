//! The operator's commands, as the real program on a real chain: wallets, configurations, a keeper's day, disputes, agents'
//! tools. Workers run in the engine that `OPENCLAW_TEST_DOCKER` names, or as plain processes.

#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../../src/demo/actors.rs"]
#[allow(dead_code, reason = "the demo uses all of it")]
mod actors;
#[path = "../../src/demo/stage.rs"]
#[allow(dead_code, reason = "the demo uses all of it")]
mod stage;
mod support;

mod config;
mod day;
mod dispute;
mod end;
mod fleet;
mod mcp;
mod speed;
mod together;
mod wallet;
mod warm;
