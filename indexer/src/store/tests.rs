//! The store by itself: undo, horizon, identity.
#![allow(clippy::unwrap_used)]

use alloy::primitives::keccak256;
use contracts::{ids::AgreementId, units::Amount};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

use super::{batch::Staging, rows::CreditRow, *};

const HORIZON: u64 = 16;

fn identity() -> Identity {
    Identity { chain_id: 31_337, market: Address::repeat_byte(1), factory: Address::repeat_byte(2), start_block: 5 }
}

fn header(number: u64, fork: u8) -> Header {
    let hash = |number: u64| keccak256([&number.to_be_bytes()[..], &[fork]].concat());
    Header { number, hash: hash(number), parent: hash(number - 1), timestamp_s: 1_000 + number }
}

/// Some writes and deletions in a small space of keys, so that they meet.
fn random_changes(store: &Store, rng: &mut StdRng) -> Changes {
    let base = |key: &[u8]| store.read(key);
    let mut rows = Staging::new(&base);
    for _ in 0..rng.random_range(0..12) {
        let key = schema::credit(Address::repeat_byte(rng.random_range(0..10)));
        if rng.random_bool(0.4) {
            rows.delete(key).unwrap();
        } else {
            rows.put(key, &CreditRow { amount: Amount(rng.random_range(1..5)) }).unwrap();
        }
    }
    rows.finish()
}

fn dump(store: &Store) -> Vec<u8> {
    let mut out = Vec::new();
    store.snapshot().unwrap().dump(&mut out).unwrap().unwrap();
    out
}

#[test]
fn undoing_random_blocks_gives_the_same_bytes() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        // What the dump was at every height, bottom up.
        let mut history: Vec<Vec<u8>> = vec![dump(&store)];
        let mut fork = 0;
        for _ in 0..60 {
            if history.len() > 1 && rng.random_bool(0.3) {
                let deepest = history.len().saturating_sub(HORIZON as usize + 1);
                let height = rng.random_range(deepest..history.len());
                let ancestor = height.checked_sub(1).map(|above| identity().start_block + above as u64);
                store.undo_to(ancestor).unwrap();
                history.truncate(height + 1);
                fork += 1;
            } else {
                let number = identity().start_block + history.len() as u64 - 1;
                let changes = random_changes(&store, &mut rng);
                store.commit(&header(number, fork), &changes, Depth::Undoable { synced: false }).unwrap();
                history.push(dump(&store));
            }
            assert_eq!(dump(&store), *history.last().unwrap(), "seed {seed}");
        }
    }
}

/// Rentals come and go: whoever asks for those that are live does not wade through all that were.
#[test]
fn what_is_over_costs_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    let wallet = Address::repeat_byte(7);
    let live = |number: u64| {
        schema::by_account(schema::Table::WalletLive, wallet, number, AgreementId::from_u128(number.into()).unwrap())
    };
    set_perf_stats(PerfStatsLevel::EnableCount);
    let passed_over = || {
        let mut counted = PerfContext::default();
        counted.reset();
        let prefix = schema::Key::new(schema::Table::WalletLive).address(wallet);
        let page = store.snapshot().unwrap().page(&prefix, None, 10, |_, _| Ok(Some(()))).unwrap();
        assert_eq!(page.items.len(), 1, "one is live at a time");
        counted.metric(PerfMetric::InternalDeleteSkippedCount)
    };
    let mut most = 0;
    for number in 5..20_005 {
        let base = |key: &[u8]| store.read(key);
        let mut rows = Staging::new(&base);
        rows.mark(live(number)).unwrap();
        if number > 5 {
            rows.delete(live(number - 1)).unwrap();
        }
        let changes = rows.finish();
        store.commit(&header(number, 0), &changes, Depth::Undoable { synced: false }).unwrap();
        if number % 10 == 0 {
            most = most.max(passed_over());
        }
    }
    // What is gathered since the last file, and files that wait for their compaction.
    assert!(most < 10_000, "{most} of 20000 that are over were passed over");
    let since = std::time::Instant::now();
    while passed_over() > 2_000 {
        assert!(since.elapsed().as_secs() < 30, "{} are still passed over", passed_over());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn undo_ends_at_the_horizon() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    for number in 5..=40 {
        let changes = random_changes(&store, &mut rng);
        store.commit(&header(number, 0), &changes, Depth::Undoable { synced: false }).unwrap();
    }
    let before = dump(&store);
    let error = store.undo_to(Some(40 - HORIZON - 1)).unwrap_err().to_string();
    assert!(error.contains("16 blocks") && error.contains("delete the folder"), "{error}");
    assert_eq!(dump(&store), before, "a refused undo changes nothing");
    let kept = store.db.iterator_cf(store.chain(), rocksdb::IteratorMode::Start).flatten();
    let kept: Vec<_> = kept.filter(|(key, _)| key[0] == b'u').collect();
    assert_eq!(kept.len() as u64, HORIZON, "no undo record outlives the horizon");
    store.undo_to(Some(40 - HORIZON)).unwrap();
    assert_eq!(store.cursor().unwrap().unwrap().number, 40 - HORIZON);
}

#[test]
fn a_block_after_a_bulk_range_can_be_undone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    let mut rng = StdRng::seed_from_u64(2);
    store.commit(&header(100, 0), &random_changes(&store, &mut rng), Depth::Final).unwrap();
    let at_100 = dump(&store);
    store.commit(&header(101, 0), &random_changes(&store, &mut rng), Depth::Undoable { synced: true }).unwrap();
    store.undo_to(Some(100)).unwrap();
    assert_eq!(dump(&store), at_100);
    assert!(store.undo_to(Some(99)).is_err(), "the bulk range itself cannot");
}

#[test]
fn rows_survive_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    store.commit(&header(5, 0), &random_changes(&store, &mut rng), Depth::Undoable { synced: true }).unwrap();
    let before = dump(&store);
    drop(store);
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(dump(&Store::open_read_only(folder.path(), &identity()).unwrap()), before, "beside the writer");
}

#[test]
fn another_market_another_schema_and_a_second_writer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |identity: &Identity| Store::open(folder.path(), identity, HORIZON).map(drop);
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    let locked = open(&identity()).unwrap_err();
    assert!(matches!(locked, IndexError::Locked { .. }), "{locked}");
    drop(store);
    let other = Identity { chain_id: 1, ..identity() };
    let error = open(&other).unwrap_err().to_string();
    assert!(error.contains("chain 31337") && error.contains("chain 1,"), "{error}");
    let store = Store::open(folder.path(), &identity(), HORIZON).unwrap();
    store.db.put_cf(store.chain(), Fact::Schema.key(), 99u32.to_be_bytes()).unwrap();
    drop(store);
    let error = open(&identity()).unwrap_err().to_string();
    assert!(error.contains("schema version 99") && error.contains("delete the folder"), "{error}");
}

#[test]
fn reading_where_nothing_is_names_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open_read_only(&folder.path().join("none"), &identity()).map(drop).unwrap_err();
    assert!(error.to_string().contains("indexer run"), "{error}");
}
