//! Forwarded requests: in batches under load, judged one by one, signed anew only when the old one cannot land.

use alloy::{
    network::TransactionBuilder, primitives::U256, providers::Provider, rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use contracts::bindings::IERC2771Forwarder as Forwarder;
use keeper::journal::State;
use serde_json::json;

use crate::{
    proxy::Fault,
    support::{Running, World},
};

/// One of a batch fails on chain: it alone has failed, and its nonce is used so that nobody can bring it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_leaves_the_others_alone() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let first = world.bid(0).await;
    running.plan(&world, &first).await;
    world.pooled(1).await;
    let now_s = world.now_s().await;
    let mut bids = Vec::new();
    for number in 1..=20 {
        // The eighth may be placed now, but not any more when it is mined.
        let expiry = if number == 8 { now_s + 40 } else { now_s + 3_000 };
        bids.push(world.bid_until(number, expiry).await);
    }
    for bid in &bids {
        running.plan(&world, bid).await;
    }
    world.pooled(2).await;
    world.pass(35).await;
    for (at, bid) in bids.iter().enumerate() {
        let end = if at == 7 { "failed" } else { "done" };
        running.until(&world, bid, end, true).await;
    }
    let State::Failed { error } = world.state(&bids[7]) else { unreachable!() };
    assert!(error.contains("refused the forwarded call"), "{error}");
    assert_eq!(world.bids().await.len(), 20);
    assert!(world.bids().await.values().all(|times| *times == 1));
    assert_eq!(world.count().await, 2, "one alone, twenty together");
    let forwarder = Forwarder::new(world.market.forwarder, &world.rpc);
    assert_eq!(forwarder.nonces(world.session.key.address()).call().await.unwrap(), U256::from(21));
    world.at_rest().await;
}

/// What would fail is named before it is sent, and does not keep the others from going.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_would_fail_is_not_sent() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let bad = world.bid_until(1, world.now_s().await + 1).await;
    let good = world.bid(2).await;
    running.plan(&world, &bad).await;
    running.plan(&world, &good).await;
    running.until(&world, &good, "done", true).await;
    let State::Failed { error } = world.state(&bad) else { panic!("{:?}", world.state(&bad)) };
    assert!(error.contains("BidLifetimeTooShort"), "{error}");
    assert_eq!(world.bids().await.len(), 1);
    world.at_rest().await;
}

/// Somebody who saw the request brings it first: it has taken effect, once, and is known to have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_others_brought_is_done() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let bid = world.bid(1).await;
    running.plan(&world, &bid).await;
    world.pooled(1).await;
    let parcel = world.journal.parcels(world.relayer.address()).unwrap().remove(&0).unwrap();
    let call = Forwarder::executeBatchCall::abi_decode(&parcel.data()).unwrap();
    let stranger = world.rpc.get_accounts().await.unwrap()[5];
    let request = TransactionRequest::default()
        .with_from(stranger)
        .with_to(world.market.forwarder)
        .with_input(Forwarder::executeCall { request: call.requests[0].clone() }.abi_encode())
        .with_gas_limit(5_000_000)
        .with_max_fee_per_gas(parcel.versions[0].max_fee_wei * 20)
        .with_max_priority_fee_per_gas(parcel.versions[0].max_fee_wei * 10);
    let _ = world.rpc.send_transaction(request).await.unwrap();
    world.pooled(2).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
    assert_eq!(world.count().await, 1);
    world.at_rest().await;
}

/// A request whose deadline passes before it is mined is signed anew, and takes effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_request_is_signed_anew() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let bid = world.bid(1).await;
    world.proxy.fail("eth_sendRawTransaction", Fault::Status(429), 3);
    running.plan(&world, &bid).await;
    world.proxy.failed(1).await;
    world.pass(200).await;
    world.mine(1).await;
    world.pooled(1).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
    let forwarder = Forwarder::new(world.market.forwarder, &world.rpc);
    assert_eq!(forwarder.nonces(world.session.key.address()).call().await.unwrap(), U256::from(1));
    world.at_rest().await;
}

/// Under load requests go together, and a crash in the middle changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_is_carried_in_batches_through_a_crash() {
    let world = World::new().await;
    world.raw("evm_setIntervalMining", json!([1])).await;
    let running = Running::start(world.relay());
    let mut bids = Vec::new();
    for number in 0..70 {
        bids.push(world.bid(number).await);
    }
    for bid in &bids {
        running.plan(&world, bid).await;
    }
    running.until(&world, &bids[10], "included", false).await;
    running.kill().await;
    let running = Running::start(world.relay());
    running.go_on(&world).await;
    for bid in &bids {
        running.until(&world, bid, "done", false).await;
    }
    assert_eq!(world.bids().await.len(), 70);
    assert!(world.bids().await.values().all(|times| *times == 1));
    assert!(world.count().await <= 8, "{} transactions", world.count().await);
    world.at_rest().await;
}
