//! Following: backfill, reorganisations, restarts, faulty endpoints.

use contracts::{
    bindings::{IAIPowerRental as Market, IAgentWallet as Wallet},
    units::Amount,
};
use indexer::{Index, IndexError, rows::Status};
use serde_json::json;

use crate::{
    chain::{Running, SPEC, World, book, dump},
    proxy::LossyProxy,
};

async fn assert_equals_chain(index: &Index) {
    // On a task of its own, as a service would.
    let index = index.clone();
    let report = tokio::spawn(async move { index.verify().await }).await.unwrap().unwrap();
    assert!(report.is_equal(), "{:#?}", report.mismatches);
    assert!(report.checked > 30, "only {} things were compared", report.checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_happens_is_indexed_and_equals_the_chain() {
    let world = World::new().await;
    world.busy_life().await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    world.catch_up(&index).await;
    assert_equals_chain(&index).await;

    let snapshot = index.snapshot().unwrap();
    let wallet = snapshot.wallet(world.wallet).unwrap().unwrap();
    assert_eq!(wallet.owner, world.owner);
    let statuses: Vec<Status> =
        snapshot.agreements_by_wallet(world.wallet, false, 100).unwrap().iter().map(|row| row.status).collect();
    for status in [
        Status::Open,
        Status::Confirmed,
        Status::Settled,
        Status::Resolved,
        Status::Preempted,
        Status::Expired,
        Status::Failed,
        Status::Cancelled,
    ] {
        assert!(statuses.contains(&status), "no rental is {status:?}: {statuses:?}");
    }
    let all = snapshot.agreements_by_wallet(world.wallet, false, 100).unwrap();
    for row in &all {
        let of_spec = snapshot.agreements_of_spec(world.wallet, row.spec_hash, 100).unwrap();
        let same: Vec<_> = all.iter().filter(|other| other.spec_hash == row.spec_hash).cloned().collect();
        assert_eq!(of_spec, same, "spec {}", row.spec_hash);
    }
    let ticks: Vec<u8> = snapshot.open_bids(book(false), 10).unwrap().iter().map(|row| row.id.tick()).collect();
    assert_eq!(ticks, [42, 42, 42, 41, 40, 40], "best first");
    assert_eq!(snapshot.best_tick(book(false)).unwrap(), Some(42));
    let provider = snapshot.provider(world.provider).unwrap().unwrap();
    assert_eq!((provider.operators, provider.row.endpoint.as_str()), (vec![world.operator], "http://127.0.0.1:7000"));
    let clearing = snapshot.recent_clearing(book(false), 100).unwrap();
    assert_eq!(clearing[0].tick, 70, "the newest match");
    assert!(clearing.is_sorted_by_key(|clearing| std::cmp::Reverse(clearing.block)));
    let others = snapshot.recent_clearing(book(true), 100).unwrap();
    assert!(clearing.iter().all(|clearing| clearing.id.book() == Some(book(false))), "each book has its own prices");
    assert!(!others.is_empty() && others.iter().all(|clearing| clearing.id.book() == Some(book(true))));
    assert!(snapshot.is_key_alive(world.wallet, world.agent.address()).unwrap());
    assert!(!snapshot.is_key_alive(world.wallet, alloy::primitives::Address::repeat_byte(0x77)).unwrap(), "revoked");
    let account = snapshot.key_account(world.agent.address()).unwrap().unwrap();
    assert_eq!(
        (account.wallet, account.spent),
        (world.wallet, Amount::ZERO),
        "its last bid counted all that was spent"
    );
    let disputes: Vec<_> = snapshot
        .agreements_by_wallet(world.wallet, false, 100)
        .unwrap()
        .into_iter()
        .filter_map(|row| row.dispute)
        .map(|dispute| dispute.counted)
        .collect();
    assert_eq!(disputes, [false, true, true, true], "the owner's newest dispute counts against no limit");
    assert_eq!(snapshot.template(1).unwrap().unwrap().pids, 256);
    drop(snapshot);

    // Far behind the head, ranges are read in bulk and undo records skipped: the rows are the same.
    let far = tempfile::tempdir().unwrap();
    let mut config = world.config(far.path());
    config.undo_horizon_blocks = 3;
    let bulk = Index::open(config).await.unwrap();
    world.catch_up(&bulk).await;
    assert_eq!(dump(&bulk), dump(&index));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_counted_at_the_next_bid_or_when_it_is_collected() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    let running = Running::start(&index);
    let agent = world.agent.address();
    let first = world.rent(100).await;
    world.reached(&index).await;
    let snapshot = index.snapshot().unwrap();
    let paid = snapshot.agreement(first).unwrap().unwrap();
    assert_eq!(paid.started.as_ref().unwrap().spec_hash, SPEC);
    let payment = paid.payment.unwrap();
    let spent = payment.pay + payment.fee;
    let account = snapshot.key_account(agent).unwrap().unwrap();
    assert_eq!((account.wallet, account.credit), (world.wallet, payment.refund));
    assert_eq!((account.spent, account.released), (spent, payment.refund), "waits to be counted");
    let wallet = snapshot.wallet(world.wallet).unwrap().unwrap();
    assert_eq!((wallet.reserved, wallet.spent), (paid.escrow, Amount::ZERO), "held until then");
    assert_eq!(snapshot.spends(world.wallet, 10).unwrap(), []);
    drop(snapshot);
    assert_equals_chain(&index).await;

    // A second bid uses the credit and counts the first one's spending, on key and wallet alike.
    let second = world.bid(90).await;
    world.reached(&index).await;
    let snapshot = index.snapshot().unwrap();
    let bid = snapshot.agreement(second).unwrap().unwrap();
    assert_eq!(bid.credit_used, bid.escrow.min(payment.refund));
    let account = snapshot.key_account(agent).unwrap().unwrap();
    assert_eq!(account.credit + bid.credit_used, payment.refund);
    assert_eq!((account.spent, account.released), (Amount::ZERO, Amount::ZERO));
    let (wallet, key) =
        (snapshot.wallet(world.wallet).unwrap().unwrap(), snapshot.key(world.wallet, agent).unwrap().unwrap());
    assert_eq!([wallet.reserved, key.reserved], [bid.escrow; 2]);
    assert_eq!([wallet.spent, key.spent], [spent; 2]);
    let counted = snapshot.spends(world.wallet, 10).unwrap();
    assert_eq!((counted.len(), counted[0].agent, counted[0].spent), (1, agent, spent));
    drop(snapshot);
    assert_equals_chain(&index).await;

    // It expires; anybody collects what is left of it. Then that block is taken back.
    world.pass(3_700).await;
    world.advance(second).await;
    world.reached(&index).await;
    let before = dump(&index);
    world.call(world.admin, world.wallet, Wallet::collectCall { agent }).await;
    world.reached(&index).await;
    let snapshot = index.snapshot().unwrap();
    let account = snapshot.key_account(agent).unwrap().unwrap();
    assert_eq!((account.credit, account.released), (Amount::ZERO, Amount::ZERO));
    assert_eq!(snapshot.wallet(world.wallet).unwrap().unwrap().reserved, Amount::ZERO);
    assert_eq!(snapshot.totals().unwrap().escrow, Amount::ZERO);
    drop(snapshot);
    assert_equals_chain(&index).await;
    world.raw("anvil_reorg", json!([1, []])).await;
    world.mine(1).await;
    world.reached(&index).await;
    running.stop().await;
    // The first line names the block.
    let rows = |dump: &str| dump.split_once('\n').unwrap().1.to_owned();
    assert_eq!(rows(&dump(&index)), rows(&before), "byte by byte as before");
    assert_equals_chain(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_of_three_blocks_leaves_the_bytes_of_a_fresh_index() {
    let world = World::new().await;
    world.rent(100).await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    let running = Running::start(&index);

    // Three blocks that are to vanish: a match, a bid, a cancelled bid.
    let kept = world.bid(50).await;
    let gone = world.bid(60).await;
    world.take(world.offer, false).await;
    let also_gone = world.bid(61).await;
    world.reached(&index).await;
    assert_eq!(index.snapshot().unwrap().agreement(gone).unwrap().unwrap().status, Status::Confirmed);
    let before = index.snapshot().unwrap().head().unwrap();

    // The other fork holds a bid of its own in its second block.
    let call = world.bid_call(70, 300, false).await;
    let data = alloy::primitives::Bytes::from(alloy::sol_types::SolCall::abi_encode(&call));
    let transaction = json!({ "from": world.agent.address(), "to": world.wallet, "data": data });
    world.raw("anvil_reorg", json!([3, [[transaction, 1]]])).await;
    world.reached(&index).await;

    let snapshot = index.snapshot().unwrap();
    let head = snapshot.head().unwrap();
    assert!(head.number <= before.number && head.hash != before.hash);
    assert_eq!(snapshot.agreement(kept).unwrap().unwrap().status, Status::Open);
    assert_eq!(snapshot.agreement(gone).unwrap(), None);
    assert_eq!(snapshot.agreement(also_gone).unwrap(), None);
    let ticks: Vec<u8> = snapshot.open_bids(book(false), 10).unwrap().iter().map(|row| row.id.tick()).collect();
    assert_eq!(ticks, [70, 50]);
    drop(snapshot);
    assert_equals_chain(&index).await;
    assert_eq!(dump(&index), world.fresh_dump().await);

    // Life goes on, and the chain is reorganised again, to a lower head this time and up from there.
    world.bid(62).await;
    world.reached(&index).await;
    let before = index.snapshot().unwrap().head().unwrap();
    world.raw("anvil_rollback", json!([2])).await;
    // A lower head alone proves nothing; a block of another hash does.
    world.pass(100).await;
    world.reached(&index).await;
    assert_eq!(index.snapshot().unwrap().head().unwrap().number, before.number - 1);
    assert_eq!(dump(&index), world.fresh_dump().await);
    world.rent(90).await;
    world.reached(&index).await;
    running.stop().await;
    assert_equals_chain(&index).await;
    assert_eq!(dump(&index), world.fresh_dump().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_while_the_index_was_closed_is_undone_too() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    let gone = world.bid(60).await;
    world.mine(2).await;
    world.catch_up(&index).await;
    drop(index);
    world.raw("anvil_reorg", json!([3, []])).await;
    world.bid(61).await;
    let index = Index::open(world.config(folder.path())).await.unwrap();
    world.catch_up(&index).await;
    let id = index.snapshot().unwrap().agreement(gone).unwrap();
    assert_eq!(id, None);
    assert_equals_chain(&index).await;
    assert_eq!(dump(&index), world.fresh_dump().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_below_the_horizon_ends_with_the_remedy() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = world.config(folder.path());
    config.undo_horizon_blocks = 2;
    let index = Index::open(config).await.unwrap();
    world.mine(6).await;
    world.catch_up(&index).await;
    let before = dump(&index);
    world.raw("anvil_reorg", json!([5, []])).await;
    let error = Running::start(&index).failed().await;
    assert!(matches!(error, IndexError::ReorgTooDeep { horizon: 2, .. }), "{error}");
    assert!(error.to_string().contains("delete the folder"), "{error}");
    assert_eq!(dump(&index), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_and_reopening_anywhere_gives_the_same_bytes() {
    let world = World::new().await;
    // More blocks than are read at once.
    world.mine(100).await;
    let folder = tempfile::tempdir().unwrap();
    let mut partial = 0;
    for tick in [100, 90, 80] {
        let index = Index::open(world.config(folder.path())).await.unwrap();
        let running = Running::start(&index);
        // The first change of the head, wherever that is, and not the chain's end.
        index.subscribe().changed().await.unwrap();
        running.stop().await;
        partial += u64::from(index.snapshot().unwrap().head().unwrap().number < world.head().await.0);
        drop(index);
        world.rent(tick).await;
    }
    assert!(partial > 0, "no stop was in the middle");
    let index = Index::open(world.config(folder.path())).await.unwrap();
    world.catch_up(&index).await;
    assert_equals_chain(&index).await;
    assert_eq!(dump(&index), world.fresh_dump().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_is_passed_over() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = world.config(folder.path());
    // Nothing listens on the discard port.
    config.rpc_urls.insert(0, "http://127.0.0.1:9".into());
    let index = Index::open(config).await.unwrap();
    world.catch_up(&index).await;
    assert_equals_chain(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_an_endpoint_leaves_out_are_found_by_the_receipts() {
    let world = World::new().await;
    let proxy = LossyProxy::start(&world.anvil.url).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = world.config(folder.path());
    config.rpc_urls = vec![proxy.url.clone()];
    let index = Index::open(config).await.unwrap();
    world.rent(100).await;
    world.catch_up(&index).await;
    assert!(proxy.logs_dropped() > 10, "the endpoint left nothing out");
    assert_eq!(dump(&index), world.fresh_dump().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_sent_by_mistake_are_a_surplus_and_a_changed_row_is_a_mismatch() {
    let world = World::new().await;
    world.bid(50).await;
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(world.config(folder.path())).await.unwrap();
    world.catch_up(&index).await;
    world.mint(world.market.market, 7).await;
    world.catch_up(&index).await;
    let report = index.verify().await.unwrap();
    assert_eq!((report.is_equal(), report.surplus), (true, Amount(7)));

    // The chain is made to differ from its own events: the comparison must say where.
    let storage = json!([world.market.market, last_offer_slot(&world).await, alloy::primitives::B256::ZERO]);
    world.raw("anvil_setStorageAt", storage).await;
    world.mine(1).await;
    world.catch_up(&index).await;
    let report = index.verify().await.unwrap();
    assert!(report.mismatches.iter().any(|mismatch| mismatch.what == "offer 1"), "{report:#?}");
}

/// The storage slot that holds offer 1, found by what its change does to the view.
async fn last_offer_slot(world: &World) -> alloy::primitives::B256 {
    let market = world.market.market;
    let before = world.view(market, Market::offerCall { offerId: 1 }).await;
    for slot in 0u64..40 {
        let key = alloy::primitives::keccak256(alloy::sol_types::SolValue::abi_encode(&(1u64, slot)));
        let old = world.raw("eth_getStorageAt", json!([market, key, "latest"])).await;
        world.raw("anvil_setStorageAt", json!([market, key, alloy::primitives::B256::ZERO])).await;
        let after = world.view(market, Market::offerCall { offerId: 1 }).await;
        world.raw("anvil_setStorageAt", json!([market, key, old])).await;
        if after.provider != before.provider {
            return key;
        }
    }
    panic!("no slot of the first forty holds the offers")
}
