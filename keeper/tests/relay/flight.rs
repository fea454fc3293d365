//! The way of a transaction: many under way, every crash on the way, until it is final.

use alloy::{primitives::Address, providers::Provider, signers::local::PrivateKeySigner};
use keeper::{
    act::relay::fleet,
    event::{Done, Intent},
    journal::State,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    proxy::Fault,
    support::{CONFIRMATIONS, Running, World},
};

/// Direct calls that do not depend on each other.
pub fn direct() -> [Intent; 2] {
    [
        Intent::RegisterProvider { endpoint: "http://127.0.0.1:7000".into() },
        Intent::ApproveBond { amount: contracts::units::Amount(5) },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_under_way_at_once_and_all_land() {
    let world = World::new().await;
    let mut running = Running::start(world.relay());
    for intent in direct() {
        running.plan(&world, &intent).await;
    }
    world.pooled(2).await;
    // The first bid goes alone, the others gather behind it.
    running.plan(&world, &world.bid(0).await).await;
    world.pooled(3).await;
    for number in 1..5 {
        running.plan(&world, &world.bid(number).await).await;
    }
    world.mine(1).await;
    let [register, approve] = direct();
    running.until(&world, &register, "included", false).await;
    running.until(&world, &approve, "included", false).await;
    world.pooled(1).await;
    for number in 0..5 {
        running.until(&world, &world.bid(number).await, "done", true).await;
    }
    running.until(&world, &register, "done", true).await;
    running.until(&world, &approve, "done", true).await;
    assert_eq!(world.bids().await.len(), 5);
    assert!(world.bids().await.values().all(|times| *times == 1));
    assert_eq!(world.registrations().await, 1);
    assert_eq!(world.count().await, 4, "two calls, a bid alone, four bids together");
    let (key, result) = running.told().await;
    assert!(matches!(result, Ok(Done::Mined { .. })), "{key}");
    world.at_rest().await;
}

/// A mined transaction is told at once and final only when enough blocks are on top.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mined_is_not_final() {
    let world = World::new().await;
    let mut running = Running::start(world.relay());
    let [register, _] = direct();
    running.plan(&world, &register).await;
    world.pooled(1).await;
    world.mine(1).await;
    let (key, told) = running.told().await;
    let State::Included { block, gas_wei, .. } = world.state(&register) else { panic!("not included") };
    assert_eq!((key, told), (register.key(), Ok(Done::Mined { block })));
    assert!(!gas_wei.is_zero());
    assert_eq!(world.journal.parcels(world.relayer.address()).unwrap().len(), 1, "its bytes are kept");
    world.mine(CONFIRMATIONS - 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(world.state(&register).name(), "included");
    world.mine(1).await;
    assert_eq!(running.told().await, (register.key(), Ok(Done::Mined { block })));
    assert_eq!(world.state(&register), State::Done { block, gas_wei });
    let day = keeper::clock::now_s() / 86_400;
    assert_eq!(world.journal.gas_spent(world.relayer.address(), day).unwrap(), gas_wei);
    world.at_rest().await;
}

/// The relay dies at each step on the way of its transaction; the next one goes on from the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_loses_and_doubles_nothing() {
    let world = World::new().await;
    // What the relay waits for when it dies, how that fails, and what the journal says then.
    let steps = [
        ("eth_getCode", Fault::Hang, "planned"),
        ("eth_sendRawTransaction", Fault::Hang, "signed"),
        ("eth_sendRawTransaction", Fault::LoseAnswer, "signed"),
        ("eth_getTransactionReceipt", Fault::Hang, "signed"),
    ];
    let mut expected = 0;
    for forwarded in [false, true] {
        for (method, fault, state) in steps {
            expected += 1;
            let intent = match forwarded {
                true => world.bid(expected).await,
                false => direct()[0].clone(),
            };
            world.proxy.fail(method, fault, 1);
            let running = Running::start(world.relay());
            running.plan(&world, &intent).await;
            if method == "eth_getTransactionReceipt" {
                world.pooled(1).await;
                world.mine(1).await;
            }
            world.proxy.failed(1).await;
            running.kill().await;
            assert_eq!(world.state(&intent).name(), state, "{method} {fault:?}");
            world.proxy.heal();
            let running = Running::start(world.relay());
            running.go_on(&world).await;
            running.until(&world, &intent, "done", true).await;
            running.kill().await;
            assert_eq!(world.count().await, expected, "{method} {fault:?}: one transaction for each intent");
            world.at_rest().await;
        }
    }
    // Between included and final.
    let intent = world.bid(99).await;
    let running = Running::start(world.relay());
    running.plan(&world, &intent).await;
    world.pooled(1).await;
    world.mine(1).await;
    running.until(&world, &intent, "included", false).await;
    running.kill().await;
    let running = Running::start(world.relay());
    running.until(&world, &intent, "done", true).await;
    assert_eq!(world.registrations().await, 4);
    assert_eq!(world.bids().await.len(), 5);
    assert!(world.bids().await.values().all(|times| *times == 1));
    world.at_rest().await;
}

/// Two accounts send side by side; what the session key signs goes through the first alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_work_side_by_side() {
    let world = World::new().await;
    let second = PrivateKeySigner::random();
    world.raw("anvil_setBalance", serde_json::json!([second.address(), "0x56bc75e2d63100000"])).await;
    let mut other = world.relay();
    other.signer = second.clone();
    other.session = None;
    let (first, other) = (Running::start(world.relay()), Running::start(other));
    let (inbox, records) = mpsc::channel(16);
    let relays = vec![first.inbox(), other.inbox()];
    let addresses = world.relay().addresses;
    let sharing = tokio::spawn(fleet::share(records, relays, addresses, CancellationToken::new()));
    let [register, approve] = direct();
    let bids = [world.bid(1).await, world.bid(2).await];
    for intent in [&register, &approve].into_iter().chain(&bids) {
        inbox.send(world.journal.plan(intent.clone(), "wished".into(), 1).unwrap()).await.unwrap();
    }
    for intent in [&register, &approve].into_iter().chain(&bids) {
        first.until(&world, intent, "done", true).await;
    }
    assert_eq!(world.rpc.get_transaction_count(second.address()).await.unwrap(), 1);
    let parcels = world.journal.parcels(second.address()).unwrap();
    assert!(parcels.values().all(|parcel| parcel.landed.is_some()));
    assert_eq!(world.registrations().await, 1);
    assert!(world.bids().await.values().all(|times| *times == 1));
    sharing.abort();
    world.at_rest().await;
}

/// An account whose code is a delegation is refused before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegated_account_is_refused() {
    let world = World::new().await;
    world.relay().check_account().await.unwrap();
    let code = format!("0xef0100{:x}", Address::repeat_byte(7));
    world.raw("anvil_setCode", serde_json::json!([world.relayer.address(), code])).await;
    let error = world.relay().check_account().await.unwrap_err().to_string();
    assert!(error.contains("EIP-7702") && error.contains(&world.relayer.address().to_string()), "{error}");
}
