//! What the policy forbids is not sent, and says which rule it was.

use std::time::Duration;

use alloy::{primitives::B256, providers::Provider};
use indexer::Head;
use keeper::{config::RelayConfig, event::Intent, journal::State};
use tokio::sync::watch;

use crate::{
    flight::direct,
    support::{Running, World},
};

/// Plans an intent and gives the text with which it is refused; nothing may have been sent.
async fn refusal(world: &World, running: &Running, intent: &Intent) -> String {
    let sent = world.count().await;
    running.plan(world, intent).await;
    let State::Failed { error } = running.until(world, intent, "failed", false).await else { unreachable!() };
    assert_eq!((world.pool().await, world.count().await), (0, sent), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_refuses_and_names_itself() {
    let world = World::new().await;
    let [register, approve] = direct();
    let bid = world.bid(1).await;
    let defaults = world.relay().config;
    let cases = [
        (RelayConfig { max_fee_gwei: 0.000_001, ..defaults.clone() }, "fee cap"),
        (RelayConfig { gas_budget_per_day: 0.000_000_1, ..defaults.clone() }, "gas budget"),
        (RelayConfig { min_balance: 1_000.0, warn_balance: 1_000.0, ..defaults.clone() }, "balance"),
        (RelayConfig { dry_run: true, ..defaults.clone() }, "dry run"),
    ];
    for (config, rule) in cases {
        let mut relay = world.relay();
        relay.config = config;
        let running = Running::start(relay);
        for intent in [&register, &bid] {
            let error = refusal(&world, &running, intent).await;
            assert!(error.contains(rule), "{rule}: {error}");
        }
        running.kill().await;
    }
    // With the rules met, the same intents go.
    let running = Running::start(world.relay());
    for intent in [&register, &approve, &bid] {
        running.plan(&world, intent).await;
        running.until(&world, intent, "done", true).await;
    }
    world.at_rest().await;
}

/// What was spent today counts after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gas_budget_survives_a_restart() {
    let world = World::new().await;
    let [register, approve] = direct();
    let running = Running::start(world.relay());
    running.plan(&world, &register).await;
    let State::Done { gas_wei, .. } = running.until(&world, &register, "done", true).await else { unreachable!() };
    running.kill().await;
    let spent: f64 = alloy::primitives::utils::format_ether(gas_wei).parse().unwrap();
    let mut relay = world.relay();
    relay.config.gas_budget_per_day = spent * 1.001;
    let running = Running::start(relay);
    let error = refusal(&world, &running, &approve).await;
    assert!(error.contains("gas budget"), "{error}");
    world.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lags_or_contradicts_stops_sending() {
    let world = World::new().await;
    let [register, _] = direct();
    world.mine(30).await;
    let newest = |block: alloy::rpc::types::Block| Head {
        number: block.header.number,
        hash: block.header.hash,
        timestamp: block.header.timestamp,
    };
    let head = newest(world.rpc.get_block(alloy::eips::BlockId::latest()).await.unwrap().unwrap());
    let with = |head: Head| {
        let mut relay = world.relay();
        relay.index = Some(watch::channel(head).1);
        relay
    };
    let cases = [
        (Head { number: head.number - 25, ..head }, "25 blocks"),
        (Head { hash: B256::repeat_byte(1), ..head }, "another block"),
        (Head { number: head.number - 3, hash: B256::repeat_byte(1), ..head }, "another block"),
    ];
    for (seen, words) in cases {
        let running = Running::start(with(seen));
        let error = refusal(&world, &running, &register).await;
        assert!(error.contains("policy index") && error.contains(words), "{error}");
        running.kill().await;
    }
    let running = Running::start(with(head));
    running.plan(&world, &register).await;
    running.until(&world, &register, "included", true).await;
    running.until(&world, &register, "done", true).await;
    world.at_rest().await;
}

/// Transactions that fail on chain one after the other stop the account for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_in_a_row_break_the_circuit() {
    let world = World::new().await;
    let mut relay = world.relay();
    relay.config = RelayConfig { max_failures: 2, failure_pause: Duration::from_secs(8), ..relay.config };
    let running = Running::start(relay);
    for number in 0..2 {
        let bid = world.bid_until(number, world.now_s().await + 40).await;
        running.plan(&world, &bid).await;
        world.pooled(1).await;
        world.pass(35).await;
        running.until(&world, &bid, "failed", true).await;
    }
    let bid = world.bid(7).await;
    let error = refusal(&world, &running, &bid).await;
    assert!(error.contains("circuit breaker") && error.contains("2 transactions"), "{error}");
    tokio::time::sleep(Duration::from_secs(9)).await;
    running.plan(&world, &bid).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!(world.bids().await.len(), 1);
    world.at_rest().await;
}

/// Without a session key, what only it may sign is refused; the rest of the allow-list has its tests beside its rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_session_key_forwards_nothing() {
    let world = World::new().await;
    let bid = world.bid(1).await;
    let mut relay = world.relay();
    relay.session = None;
    let running = Running::start(relay);
    let error = refusal(&world, &running, &bid).await;
    assert!(error.contains("[agent]"), "{error}");
    world.at_rest().await;
}
