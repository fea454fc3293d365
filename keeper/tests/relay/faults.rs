//! Endpoints that lose answers, limit rates, stall; journals that are not what they were.

use alloy::primitives::{Address, B256};
use keeper::{
    act::relay::RelayError,
    journal::{Commit, State},
};

use crate::{
    flight::direct,
    proxy::Fault,
    support::{Running, World},
};

/// The answer to a sent transaction is lost, or the endpoint is too busy to take it: it lands once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_changes_nothing() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let faults = [Fault::LoseAnswer, Fault::Status(429), Fault::Status(503)];
    for (number, fault) in faults.into_iter().enumerate() {
        let intent = world.bid(number as u64).await;
        world.proxy.fail("eth_sendRawTransaction", fault, 2);
        running.plan(&world, &intent).await;
        world.proxy.failed(2).await;
        let State::Signed { nonce, .. } = world.state(&intent) else { panic!("{:?}", world.state(&intent)) };
        assert_eq!(nonce, number as u64);
        running.until(&world, &intent, "done", true).await;
        assert_eq!(world.count().await, number as u64 + 1, "{fault:?}");
    }
    assert!(world.bids().await.values().all(|times| *times == 1));
    assert_eq!(world.bids().await.len(), 3);
    world.at_rest().await;
}

/// Reads that fail delay everything and decide nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_fail_are_tried_again() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    for (number, method) in ["eth_getBlockByNumber", "eth_getTransactionCount", "eth_call", "eth_getTransactionReceipt"]
        .into_iter()
        .enumerate()
    {
        let intent = world.bid(number as u64).await;
        world.proxy.fail(method, Fault::Status(429), 3);
        running.plan(&world, &intent).await;
        running.until(&world, &intent, "done", true).await;
    }
    assert_eq!(world.count().await, 4);
    assert!(world.bids().await.values().all(|times| *times == 1));
    world.at_rest().await;
}

/// A journal that moves behind the relay's back ends it with an error that names the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_contradicts_ends_the_relay() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, _] = direct();
    running.plan(&world, &register).await;
    world.pooled(1).await;
    world.journal.advance(&register.key(), State::Failed { error: "by hand".into() }, 2).unwrap();
    world.mine(1).await;
    let error = running.ended().await.unwrap_err();
    assert!(matches!(error, RelayError::Journal(_)), "{error}");
    assert!(error.to_string().contains(&register.key()), "{error}");
}

/// A record that says it was signed, with nothing in the outbox, is not guessed about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_its_bytes_ends_the_relay() {
    let world = World::new().await;
    let [register, _] = direct();
    let sender = world.relayer.address();
    world.journal.plan(register.clone(), "wished".into(), 1).unwrap();
    world.journal.advance(&register.key(), State::Signed { hash: Default::default(), sender, nonce: 3 }, 2).unwrap();
    let error = Running::start(world.relay()).ended().await.unwrap_err();
    assert!(matches!(&error, RelayError::Missing { key, nonce: 3, .. } if *key == register.key()), "{error}");
}

/// Bytes that are not those that were signed are neither sent again nor judged by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_end_the_relay() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, _] = direct();
    running.plan(&world, &register).await;
    world.pooled(1).await;
    running.kill().await;
    let mut parcel = world.open_parcels().remove(0);
    assert!(parcel.is_whole() && !parcel.data().is_empty());
    let mut raw = parcel.versions[0].raw.to_vec();
    *raw.last_mut().unwrap() ^= 1;
    for raw in [raw.clone(), raw[..20].to_vec()] {
        parcel.versions[0].raw = raw.into();
        let keep = vec![&parcel];
        world.journal.commit(parcel.sender, &Commit { keep, ..Commit::default() }, 2).unwrap();
        let error = Running::start(world.relay()).ended().await.unwrap_err();
        assert!(matches!(&error, RelayError::Damaged { nonce: 0, .. }), "{error}");
    }
}

/// What waits here and was signed by the relay of another account meanwhile is let go, and the rest is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_account_has_signed_is_let_go() {
    let world = World::new().await;
    world.proxy.fail("eth_getBlockByNumber", Fault::Status(503), usize::MAX);
    let running = Running::start(world.relay());
    let [register, approve] = direct();
    running.plan(&world, &register).await;
    running.plan(&world, &approve).await;
    // The second failed look after it was sent comes after both were taken in.
    world.proxy.fail("eth_getBlockByNumber", Fault::Status(503), usize::MAX);
    world.proxy.failed(2).await;
    let (other, hash) = (Address::repeat_byte(7), B256::ZERO);
    let states = vec![(register.key(), State::Signed { hash, sender: other, nonce: 0 })];
    world.journal.commit(other, &Commit { states, ..Commit::default() }, 2).unwrap();
    world.proxy.heal();
    running.until(&world, &approve, "done", true).await;
    assert_eq!(world.state(&register), State::Signed { hash, sender: other, nonce: 0 });
    assert_eq!((world.count().await, world.registrations().await), (1, 0));
}
