//! Nonces: transactions that are stuck, replaced, cancelled; gaps; an account that others use.

use alloy::{
    consensus::Transaction,
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, U256},
    providers::{Provider, ProviderBuilder},
    rpc::types::TransactionRequest,
};
use keeper::{
    config::RelayConfig,
    journal::{Parcel, State},
};
use serde_json::json;

use crate::{
    flight::direct,
    support::{PATIENCE, Running, World},
};

/// Makes gas so dear that nothing sent before is mined.
async fn dear(world: &World, base_fee_wei: u128) {
    world.raw("anvil_setNextBlockBaseFeePerGas", json!([format!("{base_fee_wei:#x}")])).await;
    world.mine(1).await;
}

fn only_parcel(world: &World) -> Parcel {
    let [parcel] = world.open_parcels().try_into().unwrap();
    parcel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_transaction_is_replaced_under_its_nonce() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, approve] = direct();
    running.plan(&world, &register).await;
    running.plan(&world, &approve).await;
    world.pooled(2).await;
    for _ in 0..4 {
        dear(&world, 50_000_000_000).await;
    }
    let done = running.until(&world, &register, "done", true).await;
    running.until(&world, &approve, "done", true).await;
    let State::Done { block, .. } = done else { panic!("{done:?}") };
    let mined = world.rpc.get_block(block.into()).full().await.unwrap().unwrap();
    let paid: Vec<_> = mined.transactions.as_transactions().unwrap().iter().map(|tx| tx.max_fee_per_gas()).collect();
    assert!(paid.iter().all(|fee| *fee >= 50_000_000_000), "{paid:?}");
    assert_eq!(world.count().await, 2);
    assert_eq!(world.registrations().await, 1);
    world.at_rest().await;
}

/// Each replacement pays at least a tenth more of both fees, within the cap; then the nonce is used up by nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_paid_is_cancelled_and_the_account_goes_on() {
    let world = World::new().await;
    let capped = || {
        let mut relay = world.relay();
        relay.config = RelayConfig { max_fee_gwei: 10.0, ..relay.config };
        relay
    };
    let running = Running::start(capped());
    let [register, approve] = direct();
    running.plan(&world, &register).await;
    world.pooled(1).await;
    let mut most_versions = 0;
    for _ in 0..60 {
        dear(&world, 15_000_000_000).await;
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let parcels = world.open_parcels();
        let Some(parcel) = parcels.first() else { break };
        most_versions = most_versions.max(parcel.versions.len());
        for pair in parcel.versions.windows(2) {
            assert!(pair[1].max_fee_wei * 10 >= pair[0].max_fee_wei * 11, "{pair:?}");
            assert!(pair[1].tip_wei * 10 >= pair[0].tip_wei * 11, "{pair:?}");
        }
        for version in &parcel.versions {
            assert!(version.cancels || version.max_fee_wei <= 10_000_000_000, "{version:?}");
        }
    }
    assert!(most_versions > 1, "nothing was replaced");
    running.until(&world, &register, "failed", true).await;
    let State::Failed { error } = world.state(&register) else { unreachable!() };
    assert!(error.contains("cancelled"), "{error}");
    assert_eq!(world.registrations().await, 0);
    assert_eq!(world.count().await, 1, "the nonce is used");
    dear(&world, 1_000_000_000).await;
    // A new relay looks before it sends.
    running.kill().await;
    let running = Running::start(capped());
    running.plan(&world, &approve).await;
    running.until(&world, &approve, "done", true).await;
    assert_eq!(world.count().await, 2);
    world.at_rest().await;
}

/// Somebody else uses the account: its nonces are taken from the chain, and what lost its nonce is signed anew once that
/// is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_others_use_is_reconciled() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let [register, approve] = direct();
    running.plan(&world, &register).await;
    running.until(&world, &register, "done", true).await;
    let stranger =
        ProviderBuilder::new().wallet(EthereumWallet::from(world.relayer.clone())).connect_provider(world.rpc.clone());
    let nothing = |nonce: u64, fee: u128| {
        TransactionRequest::default()
            .with_to(Address::repeat_byte(9))
            .with_value(U256::ZERO)
            .with_nonce(nonce)
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(fee)
            .with_max_priority_fee_per_gas(fee)
    };
    for nonce in [1, 2] {
        let _ = stranger.send_transaction(nothing(nonce, 5_000_000_000)).await.unwrap();
    }
    world.mine(1).await;
    running.plan(&world, &approve).await;
    running.until(&world, &approve, "done", true).await;
    assert_eq!(world.count().await, 4);

    // And while one is: the stranger's pays more and takes its nonce.
    let bid = world.bid(1).await;
    running.plan(&world, &bid).await;
    world.pooled(1).await;
    let newest = only_parcel(&world).versions[0].max_fee_wei;
    let _ = stranger.send_transaction(nothing(4, newest * 3)).await.unwrap();
    running.until(&world, &bid, "signed", false).await;
    for _ in 0..4 {
        world.mine(1).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Its request is still out in the open: it is signed anew only when nobody can bring it any more.
    assert_eq!(world.state(&bid).name(), "signed");
    assert!(only_parcel(&world).settled);
    world.pass(100).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!(world.bids().await.len(), 1);
    assert_eq!(world.count().await, 6);
    world.at_rest().await;
}

/// The first of two can take no effect any more, as its request has expired: its nonce is used up by nothing, so that the
/// second lands; then the first is signed anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_take_effect_any_more_makes_way_for_what_comes_after_it() {
    let world = World::new().await;
    let running = Running::start(world.relay());
    let bid = world.bid(1).await;
    let [register, _] = direct();
    running.plan(&world, &bid).await;
    world.pooled(1).await;
    running.plan(&world, &register).await;
    world.pooled(2).await;
    world.pass(100).await;
    let since = tokio::time::Instant::now();
    let first = || world.journal.parcels(world.relayer.address()).unwrap().remove(&0);
    while first().is_some_and(|first| !first.newest().unwrap().cancels) {
        assert!(since.elapsed() < PATIENCE, "it is not cancelled: {:?}", first());
        dear(&world, 50_000_000_000).await;
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    running.until(&world, &register, "done", true).await;
    running.until(&world, &bid, "done", true).await;
    assert_eq!((world.count().await, world.registrations().await), (3, 1));
    assert_eq!(world.bids().await.values().collect::<Vec<_>>(), [&1]);
    world.at_rest().await;
}

/// Somebody's transaction was counted on and vanished: nothing would ever use its nonce, so an empty one does, and what comes
/// after it lands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_closed_and_what_comes_after_it_lands() {
    let world = World::new().await;
    let stranger =
        ProviderBuilder::new().wallet(EthereumWallet::from(world.relayer.clone())).connect_provider(world.rpc.clone());
    let vanishing = TransactionRequest::default()
        .with_to(Address::repeat_byte(9))
        .with_nonce(0)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(5_000_000_000)
        .with_max_priority_fee_per_gas(5_000_000_000);
    let vanishing = *stranger.send_transaction(vanishing).await.unwrap().tx_hash();
    let running = Running::start(world.relay());
    let [register, _] = direct();
    running.plan(&world, &register).await;
    world.pooled(2).await;
    assert_eq!(only_parcel(&world).nonce, 1);
    world.raw("anvil_dropTransaction", json!([vanishing])).await;
    running.until(&world, &register, "done", true).await;
    assert_eq!((world.count().await, world.registrations().await), (2, 1));
    world.at_rest().await;
}
