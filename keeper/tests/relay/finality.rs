//! Reorganisations, shallow and deeper than what counts as final; and that what only waits costs nothing.

use std::time::Duration;

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, U256},
    providers::{Provider, ProviderBuilder},
    rpc::types::TransactionRequest,
};
use keeper::{
    event::{Done, Intent},
    journal::JournalError,
};
use serde_json::json;

use crate::{
    flight::direct,
    support::{CONFIRMATIONS, PATIENCE, Running, World},
};

/// A reorganisation drops what was mined: the same bytes are sent under the same nonce, and the record follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reorganisation_drops_is_sent_again() {
    let world = World::new().await;
    let mut running = Running::start(world.relay());
    let [register, _] = direct();
    let bid = world.bid(1).await;
    running.plan(&world, &register).await;
    running.plan(&world, &bid).await;
    world.pooled(2).await;
    world.mine(1).await;
    running.until(&world, &register, "included", false).await;
    running.until(&world, &bid, "included", false).await;
    let before = world.journal.parcels(world.relayer.address()).unwrap();
    world.raw("anvil_reorg", json!([1, []])).await;
    running.until(&world, &register, "signed", false).await;
    running.until(&world, &bid, "signed", false).await;
    world.pooled(2).await;
    let after = world.journal.parcels(world.relayer.address()).unwrap();
    for (nonce, parcel) in &before {
        assert_eq!(parcel.versions, after[nonce].versions, "the same bytes");
    }
    running.until(&world, &register, "done", true).await;
    running.until(&world, &bid, "done", true).await;
    let mut taken_back = 0;
    for _ in 0..8 {
        taken_back += usize::from(running.told().await.1 == Ok(Done::TakenBack));
        if taken_back == 2 {
            break;
        }
    }
    assert_eq!(taken_back, 2);
    assert_eq!((world.count().await, world.registrations().await), (2, 1));
    assert_eq!(world.bids().await.len(), 1);
    world.at_rest().await;
}

impl World {
    /// Wei of gas that the journal has accounted for today.
    fn accounted(&self) -> U256 {
        self.journal.gas_spent(self.relayer.address(), keeper::clock::now_s() / 86_400).unwrap()
    }

    /// Takes back all blocks since the transaction of `nonce` was mined, and that one.
    async fn take_back(&self, nonce: u64) {
        let landed = self.journal.parcels(self.relayer.address()).unwrap().remove(&nonce).unwrap().landed.unwrap();
        let depth = self.rpc.get_block_number().await.unwrap() - landed.block + 1;
        assert!(depth > CONFIRMATIONS, "it is not final");
        self.raw("anvil_reorg", json!([depth, []])).await;
    }
}

/// A reorganisation takes back what counted as final: the same bytes are sent under the same nonce; records and gas follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_final_is_sent_again_too() {
    let world = World::new().await;
    let mut running = Running::start(world.relay());
    let [register, _] = direct();
    let bid = world.bid(1).await;
    for intent in [&register, &bid] {
        running.plan(&world, intent).await;
    }
    world.pooled(2).await;
    for intent in [&register, &bid] {
        running.until(&world, intent, "done", true).await;
    }
    let before = world.journal.parcels(world.relayer.address()).unwrap();
    assert!(!world.accounted().is_zero());
    world.take_back(0).await;
    for intent in [&register, &bid] {
        running.until(&world, intent, "signed", false).await;
        // Whoever has not heard of it yet, and wishes for it again, must not have it signed again.
        let again = world.journal.plan(intent.clone(), "wished again".into(), 2).unwrap_err();
        assert!(matches!(again, JournalError::Transition { from: "signed", .. }), "{again}");
    }
    world.pooled(2).await;
    assert_eq!(world.accounted(), U256::ZERO);
    let after = world.journal.parcels(world.relayer.address()).unwrap();
    for (nonce, parcel) in &before {
        assert_eq!(parcel.versions, after[nonce].versions, "the same bytes");
    }
    for intent in [&register, &bid] {
        running.until(&world, intent, "done", true).await;
    }
    let mut told = Vec::new();
    while told.iter().filter(|result| **result == Ok(Done::TakenBack)).count() < 2 {
        told.push(running.told().await.1);
    }
    assert_eq!(told.len(), 6, "mined, final, taken back: {told:?}");
    let gas = world.journal.parcels(world.relayer.address()).unwrap();
    let gas: U256 = gas.values().map(|parcel| parcel.landed.as_ref().unwrap().gas_wei).sum();
    assert_eq!(world.accounted(), gas);
    assert_eq!((world.count().await, world.registrations().await), (2, 1));
    assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
    world.at_rest().await;
}

/// The index sees a deep reorganisation before the relay does, be that one at work or away: what is wished for again meanwhile
/// gets no second signature, since the first can still land.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planned_again_after_a_deep_reorganisation_is_not_signed_twice() {
    for away in [false, true] {
        let world = World::new().await;
        // It looks so seldom that the plan comes before its next look, and on what it saw lately it signs at once.
        let seldom = || {
            let mut relay = world.relay();
            relay.poll = Duration::from_secs(3);
            relay
        };
        let mut running = Running::start(seldom());
        let bid = world.bid(1).await;
        running.plan(&world, &bid).await;
        world.pooled(1).await;
        world.mine(1 + CONFIRMATIONS).await;
        running.until(&world, &bid, "done", false).await;
        if away {
            running.kill().await;
            world.take_back(0).await;
            world.journal.plan(bid.clone(), "wished again".into(), 2).unwrap();
            running = Running::start(seldom());
            running.go_on(&world).await;
        } else {
            world.take_back(0).await;
            running.plan(&world, &bid).await;
        }
        running.until(&world, &bid, "done", true).await;
        assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
        assert_eq!(world.count().await, 1, "one nonce, one transaction");
        world.at_rest().await;
    }
}

/// The same, when it is on its way from the loop to the relay while that one sees the reorganisation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planned_again_but_not_handed_over_yet_is_not_signed_twice() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let ([register, _], bid) = (direct(), world.bid(1).await);
    for intent in [&register, &bid] {
        running.plan(&world, intent).await;
    }
    world.pooled(2).await;
    for intent in [&register, &bid] {
        running.until(&world, intent, "done", true).await;
    }
    let plan = |intent: &Intent| world.journal.plan(intent.clone(), "wished again".into(), 2).unwrap();
    let records = [&register, &bid].map(plan);
    world.take_back(0).await;
    for intent in [&register, &bid] {
        running.until(&world, intent, "signed", false).await;
    }
    for record in records {
        running.inbox().send(record).await.unwrap();
    }
    world.pooled(2).await;
    for intent in [&register, &bid] {
        running.until(&world, intent, "done", true).await;
    }
    assert_eq!((world.count().await, world.registrations().await), (2, 1));
    assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
    world.at_rest().await;
}

/// What ended is wanted anew, as earnings are pulled again and again: that is another transaction. When both are taken back,
/// both nonces are used again, and the record stays with the later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_anew_is_another_transaction() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, _] = direct();
    for _ in 0..2 {
        running.plan(&world, &register).await;
        running.until(&world, &register, "done", true).await;
    }
    assert_eq!((world.count().await, world.registrations().await), (2, 2));
    world.take_back(0).await;
    running.until(&world, &register, "signed", false).await;
    world.pooled(2).await;
    running.until(&world, &register, "done", true).await;
    assert_eq!((world.count().await, world.registrations().await), (2, 2));
    world.at_rest().await;
}

/// Final transactions are forgotten in the end, and what only waits for blocks is not written at each of them: neither what is
/// final nor a request that somebody could still bring.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_waits_is_not_written_again() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, _] = direct();
    running.plan(&world, &register).await;
    running.until(&world, &register, "done", true).await;
    let bid = world.bid(1).await;
    running.plan(&world, &bid).await;
    world.pooled(1).await;
    let [parcel] = world.open_parcels().try_into().unwrap();
    let stranger =
        ProviderBuilder::new().wallet(EthereumWallet::from(world.relayer.clone())).connect_provider(world.rpc.clone());
    let fee = parcel.versions[0].max_fee_wei * 3;
    let usurper = TransactionRequest::default()
        .with_to(Address::repeat_byte(9))
        .with_nonce(parcel.nonce)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(fee)
        .with_max_priority_fee_per_gas(fee);
    let _ = stranger.send_transaction(usurper).await.unwrap();
    looks_until(&world, || world.open_parcels().iter().all(|parcel| parcel.settled)).await;
    let waiting = |intent: &Intent| world.state(intent).name();
    assert_eq!((waiting(&register), waiting(&bid)), ("done", "signed"));
    let before = world.journal_changes();
    for _ in 0..8 {
        looked(&world).await;
    }
    assert_eq!(world.journal_changes(), before, "eight blocks, no write");
    world.mine(40).await;
    looks_until(&world, || world.journal.parcels(world.relayer.address()).unwrap().len() == 1).await;
    assert!(world.journal_changes() > before);
    world.pass(100).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!(world.bids().await.len(), 1);
    world.at_rest().await;
}

/// Mines blocks, each of which the relay takes in, until something holds.
async fn looks_until(world: &World, holds: impl Fn() -> bool) {
    for _ in 0..60 {
        if holds() {
            return;
        }
        looked(world).await;
    }
    panic!("after 60 blocks it does not hold");
}

/// Mines a block and waits until the relay has taken it in: it asks for the account's count at a new block alone, and for the
/// newest block at the beginning of each of its looks, and hardly ever within one.
async fn looked(world: &World) {
    let calls = |method| world.proxy.calls(method);
    let counts = calls("eth_getTransactionCount");
    world.mine(1).await;
    reaches(|| calls("eth_getTransactionCount"), counts + 1).await;
    reaches(|| calls("eth_getBlockByNumber"), calls("eth_getBlockByNumber") + 12).await;
}

async fn reaches(count: impl Fn() -> usize, wanted: usize) {
    let since = tokio::time::Instant::now();
    while count() < wanted {
        assert!(since.elapsed() < PATIENCE, "the relay does not look");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
