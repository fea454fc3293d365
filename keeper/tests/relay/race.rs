//! Two nodes want the bid at the head of a book: one gets it, and the other loses nothing but a little gas.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256, aliases::U96},
    providers::Provider,
    rpc::types::{Filter, TransactionRequest},
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    bindings::{IAIPowerRental as Market, IERC20},
    ids::{AgreementId, BookId},
};
use keeper::{event::Intent, job::JobId, journal::State};
use serde_json::json;

use crate::support::{AIT, PATIENCE, Running, World, call};

const BOOK: BookId = BookId { class: 1, bucket: 0, preemptible: false };

/// Makes `provider` one, with an offer of four slots; gives the offer's number.
async fn offer_of(world: &World, provider: Address) -> u64 {
    world.raw("evm_setAutomine", json!([true])).await;
    world.raw("anvil_impersonateAccount", json!([provider])).await;
    let (rpc, at) = (&world.rpc, &world.market);
    let admin = rpc.get_accounts().await.unwrap()[0];
    call(rpc, admin, at.token, IERC20::mintCall { to: provider, value: U256::from(10 * AIT) }).await;
    call(rpc, provider, at.market, Market::registerProviderCall { endpoint: "http://127.0.0.1:7000".into() }).await;
    call(rpc, provider, at.token, IERC20::approveCall { spender: at.market, value: U256::MAX }).await;
    let post = Market::postOfferCall {
        cls: BOOK.class,
        bookMask: 1 << BOOK.bits(),
        slots: 4,
        reserveTick: 0,
        bondPerSlot: U96::from(AIT),
        validUntil: alloy::primitives::aliases::U40::from(world.now_s().await + 100_000),
    };
    let posted = call(rpc, provider, at.market, post).await.decoded_log::<Market::OfferPosted>().unwrap();
    world.raw("anvil_stopImpersonatingAccount", json!([provider])).await;
    world.raw("evm_setAutomine", json!([false])).await;
    posted.offerId
}

/// Bids on chain, oldest first.
async fn bids(world: &World) -> Vec<AgreementId> {
    let filter =
        Filter::new().address(world.market.market).event_signature(Market::BidPlaced::SIGNATURE_HASH).from_block(0);
    let logs = world.rpc.get_logs(&filter).await.unwrap();
    logs.iter().map(|log| Market::BidPlaced::decode_log(&log.inner).unwrap().agreementId.into()).collect()
}

async fn taken_by(world: &World, bid: AgreementId) -> u64 {
    let market = Market::new(world.market.market, &world.rpc);
    market.agreement(bid.into()).call().await.unwrap().offerId
}

fn matching(offer: u64, expected: AgreementId) -> Intent {
    Intent::Match { offer, book: BOOK.to_u16(), min_tick: 0, expected }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_sees_it_and_takes_the_next_bid() {
    let world = World::new().await;
    let other = world.rpc.get_accounts().await.unwrap()[5];
    let (ours, theirs) = (offer_of(&world, world.relayer.address()).await, offer_of(&world, other).await);
    let mut relay = world.relay();
    // One failure would stop everything for a while.
    relay.config.max_failures = 1;
    let running = Running::start(relay);
    for number in 0..2 {
        let bid = world.bid(number).await;
        running.plan(&world, &bid).await;
        running.until(&world, &bid, "done", true).await;
    }
    let [first, second] = bids(&world).await.try_into().unwrap();

    // Both are on their way to the same block; the other pays more and comes first.
    let race = matching(ours, first);
    running.plan(&world, &race).await;
    world.pooled(1).await;
    let call = Market::matchBestCall { offerId: theirs, book: BOOK.to_u16(), minTick: 0, expectedId: first.into() };
    let dear = TransactionRequest::default()
        .with_from(other)
        .with_to(world.market.market)
        .with_input(call.abi_encode())
        .with_gas_limit(1_000_000)
        .with_max_fee_per_gas(500_000_000_000)
        .with_max_priority_fee_per_gas(400_000_000_000);
    let _sent = world.rpc.send_transaction(dear).await.unwrap();
    world.pooled(2).await;
    let State::Failed { error } = running.until(&world, &race, "failed", true).await else { unreachable!() };
    assert!(error.contains(&first.to_string()) && error.contains("not at the head"), "{error}");
    assert_eq!(taken_by(&world, first).await, theirs);

    // Seen in time, it costs nothing at all.
    let sent = world.count().await;
    running.plan(&world, &race).await;
    let State::Failed { error } = running.until(&world, &race, "failed", false).await else { unreachable!() };
    assert!(error.contains("not at the head"), "{error}");
    assert_eq!((world.count().await, world.pool().await), (sent, 0));

    // And nothing holds up the next one.
    let next = matching(ours, second);
    running.plan(&world, &next).await;
    running.until(&world, &next, "done", true).await;
    assert_eq!(taken_by(&world, second).await, ours);
    world.at_rest().await;
}

/// What is under way has taken its bids and slots when the next match is mined, and the preflight knows that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_taken_in_one_block_and_no_bid_twice() {
    let world = World::new().await;
    let ours = offer_of(&world, world.relayer.address()).await;
    let running = Running::start(world.relay());
    for number in 0..5 {
        let bid = world.bid(number).await;
        running.plan(&world, &bid).await;
        running.until(&world, &bid, "done", true).await;
    }
    let queue = bids(&world).await;
    let matches: Vec<_> = queue.iter().map(|bid| matching(ours, *bid)).collect();
    for (under_way, intent) in matches[..4].iter().enumerate() {
        running.plan(&world, intent).await;
        world.pooled(under_way + 1).await;
    }
    // The offer has four slots, which are taken by then.
    running.plan(&world, &matches[4]).await;
    let State::Failed { error } = running.until(&world, &matches[4], "failed", false).await else { unreachable!() };
    assert!(error.contains("OfferFull"), "{error}");
    world.mine(1).await;
    let mut blocks = Vec::new();
    for intent in &matches[..4] {
        let State::Done { block, .. } = running.until(&world, intent, "done", true).await else { unreachable!() };
        blocks.push(block);
    }
    assert!(blocks.iter().all(|block| *block == blocks[0]), "{blocks:?}");
    for bid in &queue[..4] {
        assert_eq!(taken_by(&world, *bid).await, ours);
    }
    world.at_rest().await;
}

/// A bid that died at the head of its book is no rival: the match that finds it clears it away, though it gets no rental.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_bid_does_not_block_its_book() {
    let world = World::new().await;
    let ours = offer_of(&world, world.relayer.address()).await;
    let running = Running::start(world.relay());
    for bid in [world.bid_until(0, world.now_s().await + 60).await, world.bid(1).await] {
        running.plan(&world, &bid).await;
        running.until(&world, &bid, "done", true).await;
    }
    let [dead, alive] = bids(&world).await.try_into().unwrap();
    world.pass(100).await;
    world.mine(1).await;
    for (expected, ends) in [(dead, "failed"), (alive, "done")] {
        let intent = matching(ours, expected);
        running.plan(&world, &intent).await;
        running.until(&world, &intent, ends, true).await;
    }
    assert_eq!((taken_by(&world, dead).await, taken_by(&world, alive).await), (0, ours));
    let market = Market::new(world.market.market, &world.rpc);
    let state = market.agreement(dead.into()).call().await.unwrap().status;
    assert_eq!(state, contracts::bindings::Status::Expired, "it was cleared away");
    world.at_rest().await;
}

/// Gaps of cancelled bids are swept a few at a time; a match that only sweeps is sent, or the book would stand still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_full_of_gaps_is_swept() {
    let world = World::new().await;
    let ours = offer_of(&world, world.relayer.address()).await;
    let running = Running::start(world.relay());
    let ends = async |intents: &[Intent]| {
        for intent in intents {
            running.plan(&world, intent).await;
        }
        for intent in intents {
            running.until(&world, intent, "done", true).await;
        }
    };
    let mut placed = Vec::new();
    for number in 0..12 {
        placed.push(world.bid(number).await);
    }
    ends(&placed).await;
    let mut ids = bids(&world).await;
    let last = ids.pop().unwrap();
    world.pass(60).await;
    world.mine(1).await;
    let cancel = |(job, rental): (usize, &AgreementId)| Intent::Cancel { rental: *rental, job: JobId(job as u64) };
    ends(&ids.iter().enumerate().map(cancel).collect::<Vec<_>>()).await;
    let intent = matching(ours, last);
    let mut sweeps = 0;
    while taken_by(&world, last).await == 0 {
        assert!(sweeps < 3, "each match sweeps eight");
        let sent = world.count().await;
        running.plan(&world, &intent).await;
        let since = tokio::time::Instant::now();
        while world.state(&intent).is_live() {
            assert!(since.elapsed() < PATIENCE, "{:?}", world.state(&intent));
            world.mine(1).await;
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
        assert_eq!(world.count().await, sent + 1, "{:?}", world.state(&intent));
        sweeps += 1;
    }
    assert!(taken_by(&world, last).await == ours && sweeps > 1, "{sweeps}");
    world.at_rest().await;
}
