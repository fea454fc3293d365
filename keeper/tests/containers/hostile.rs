//! Workers that do what they can against the node: each is contained, ends as a result that the provider is paid for, and
//! leaves nothing behind on an engine that works on.

use std::time::Duration;

use indexer::rows::AgreementRow;
use keeper::journal::WorkResult;

use crate::{
    docker::{objects_of, owner, raw},
    support::Bench,
    workshop::{Shop, ending_in},
};

/// Runs a hostile act that ends by itself to its result. Its exit code must be `code`; afterwards the engine holds nothing
/// of it and works.
async fn contained(act: &str, seconds: u64, code: i32) {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, act, seconds).await;
    let result = check_contained(&shop, &row, act, code).await;
    assert!(result.tasks[0].receipt.seconds <= seconds + 15, "{} seconds", result.tasks[0].receipt.seconds);
}

/// As [`contained`], of an act that goes on until its time is over, which is so `seconds` after it began. Gives how long it
/// ran, seconds.
async fn contained_when_over(act: &str, seconds: u64, code: i32) -> u64 {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, act, 60).await;
    shop.work_until(&row, &[(1, "started attempt")]).await;
    check_contained(&shop, &ending_in(&row, seconds), act, code).await.tasks[0].receipt.seconds
}

async fn check_contained(shop: &Shop, row: &AgreementRow, act: &str, code: i32) -> WorkResult {
    let result = tokio::time::timeout(Duration::from_secs(100), shop.workshop.work(row)).await.unwrap().unwrap();
    assert_eq!(result.tasks[0].receipt.exit_code, code, "{act}");
    assert!(result.tasks[0].manifest.files.is_empty() && result.tasks[0].receipt.seconds >= 1, "{result:?}");
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0, "{act} left something in the engine");
    let order = shop.bench.order(2, 1, "copy");
    assert_eq!(shop.bench.report(&order).await, "done", "the engine works on");
    result
}

#[tokio::test]
async fn a_fork_bomb_is_ended_at_its_deadline() {
    let ran_s = contained_when_over("bomb", 4, 143).await;
    assert!(ran_s >= 3, "it may use its time: {ran_s} seconds");
}

#[tokio::test]
async fn a_memory_hog_is_killed() {
    contained("memory", 30, 137).await;
}

#[tokio::test]
async fn a_hoarder_of_disk_space_gets_no_more_than_its_share() {
    let shop = Shop::over(Bench::docker().await).await;
    let order = shop.bench.order(1, 1, "hoard");
    assert_eq!(shop.bench.run(&order).await, (3, false));
    let words = shop.bench.engine.stderr_tail(order.id()).await.unwrap();
    let mib: u32 = words.split(' ').next().unwrap().parse().unwrap();
    // /out has 16 MiB and /dev/shm 1 MiB.
    assert!((14..=17).contains(&mib), "{words}");
    shop.bench.engine.remove(order.id()).await.unwrap();
    contained("hoard", 30, 3).await;
}

#[tokio::test]
async fn a_file_larger_than_any_disk_is_refused() {
    contained("sparse", 30, 3).await;
}

#[tokio::test]
async fn a_flood_of_log_lines_is_capped() {
    let shop = Shop::over(Bench::docker().await).await;
    let order = shop.bench.order(1, 1, "flood");
    assert_eq!(shop.bench.run(&order).await, (65, false));
    let found = shop.bench.engine.list(order.chain_id).await.unwrap().remove(0);
    let log = raw().inspect_container(&found.name, None).await.unwrap().log_path.unwrap();
    let bytes = std::fs::metadata(&log).unwrap().len();
    // 4 MB were written. The engine checks the size after each line.
    assert!(bytes <= 80 << 10, "{bytes} bytes in {log}");
    shop.bench.engine.remove(order.id()).await.unwrap();
    contained("flood", 30, 65).await;
}

#[tokio::test]
async fn links_pipes_devices_and_odd_names_in_the_outputs_are_a_failed_result() {
    // A worker that says it succeeded, but whose outputs cannot be taken, did not succeed.
    contained("link", 30, 137).await;
    for act in ["pipe", "names", "deep", "device"] {
        contained(act, 30, 3).await;
    }
}

#[tokio::test]
async fn a_worker_deaf_to_the_polite_signal_is_killed_after_its_grace() {
    let ran_s = contained_when_over("deaf", 3, 137).await;
    assert!(ran_s >= 12, "it had 3 seconds and 10 more: {ran_s}");
}

#[tokio::test]
async fn no_socket_leads_out() {
    contained("sockets", 60, 3).await;
}
