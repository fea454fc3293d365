//! What holds for every engine.

use std::time::Duration;

use keeper::act::containers::{ContainerState, EngineError, Found, WorkOrder};

use crate::support::{Bench, CHAIN, INPUT, now};
use keeper::spec::sha256;

macro_rules! on_all {
    ($($name:ident),* $(,)?) => {
        mod on_docker { $(#[tokio::test] async fn $name() { super::$name(crate::support::Bench::docker().await).await })* }
        mod on_podman { $(#[tokio::test] async fn $name() { super::$name(crate::support::Bench::podman().await).await })* }
        mod on_process { $(#[tokio::test] async fn $name() { super::$name(crate::support::Bench::process().await).await })* }
    };
}

on_all!(
    work_is_done_collected_and_forgotten,
    a_start_that_was_made_before_is_adopted,
    a_second_attempt_waits_for_the_first,
    a_start_cut_short_anywhere_can_be_made_again,
    only_what_is_past_its_deadline_is_reaped,
    any_owner_is_reaped_by_deadline_alone,
    a_name_that_holds_other_work_is_not_adopted,
    a_stopped_worker_keeps_its_outputs,
    links_are_not_collected,
    failures_tell_their_code_and_last_words,
    removing_nothing_is_fine,
);

async fn work_is_done_collected_and_forgotten(bench: Bench) {
    let order = bench.order(1, 1, "copy");
    assert_eq!(bench.engine.state(order.id()).await.unwrap(), ContainerState::Missing);
    assert_eq!(bench.run(&order).await, (0, false));
    let copy = order.out_dir.join("deep/er").join(hex::encode(sha256(INPUT)));
    for _ in 0..2 {
        bench.engine.collect(&order).await.unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), INPUT);
        std::fs::write(order.out_dir.join("stale"), "of the first time").unwrap();
    }
    bench.engine.collect(&order).await.unwrap();
    assert!(!order.out_dir.join("stale").exists(), "a folder is replaced as a whole");
    let found = bench.engine.list(CHAIN).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].running), (order.id(), false));
    bench.engine.remove(order.id()).await.unwrap();
    nothing_left(&bench, &order).await;
}

async fn a_start_that_was_made_before_is_adopted(bench: Bench) {
    let order = bench.order(2, 1, "sleep");
    let first = bench.engine.start(&order).await.unwrap();
    assert!(!first.adopted);
    let restarted = bench.restarted().await;
    let second = restarted.start(&order).await.unwrap();
    assert_eq!((second.name, second.adopted), (first.name, true));
    let ContainerState::Running { started_unix_s } = restarted.state(order.id()).await.unwrap() else {
        panic!("it must run on")
    };
    let waited = restarted.wait(order.id(), Duration::from_millis(200)).await.unwrap();
    assert_eq!(waited, ContainerState::Running { started_unix_s });
    assert_eq!(restarted.list(CHAIN).await.unwrap().len(), 1);
    restarted.remove(order.id()).await.unwrap();
    nothing_left(&bench, &order).await;
    // One that has ended is adopted as well: its outputs are the attempt's outputs.
    let order = bench.order(2, 2, "copy");
    bench.run(&order).await;
    assert!(bench.restarted().await.start(&order).await.unwrap().adopted);
    bench.engine.collect(&order).await.unwrap();
    bench.engine.remove(order.id()).await.unwrap();
}

async fn a_second_attempt_waits_for_the_first(bench: Bench) {
    let first = bench.order(3, 1, "sleep");
    let second = bench.order(3, 2, "copy");
    bench.engine.start(&first).await.unwrap();
    let error = bench.engine.start(&second).await.unwrap_err();
    assert!(matches!(error, EngineError::AnotherAttempt { running: 1, wanted: 2, .. }), "{error}");
    assert_eq!(bench.engine.state(second.id()).await.unwrap(), ContainerState::Missing);
    bench.engine.stop(first.id()).await.unwrap();
    assert_eq!(bench.run(&second).await, (0, false));
    for order in [first, second] {
        bench.engine.remove(order.id()).await.unwrap();
        nothing_left(&bench, &order).await;
    }
}

/// A keeper that is killed in a start leaves whatever it had done by then. Dropping the future after every few
/// milliseconds visits the same places.
async fn a_start_cut_short_anywhere_can_be_made_again(bench: Bench) {
    for (index, cut_ms) in [1, 3, 6, 12, 25, 50, 75, 100, 150, 250].into_iter().enumerate() {
        let order = bench.order(40 + index as u64, 1, "copy");
        let cut = Duration::from_millis(cut_ms);
        let _ = tokio::time::timeout(cut, bench.engine.start(&order)).await;
        let restarted = bench.restarted().await;
        restarted.start(&order).await.unwrap();
        let end = restarted.wait(order.id(), Duration::from_secs(30)).await.unwrap();
        assert!(matches!(end, ContainerState::Exited { code: 0, .. }), "cut after {cut_ms} ms: {end:?}");
        restarted.collect(&order).await.unwrap();
        assert!(order.out_dir.join("report").exists(), "cut after {cut_ms} ms");
        // A removal that is cut short is made again as well.
        let _ = tokio::time::timeout(cut, restarted.remove(order.id())).await;
        restarted.remove(order.id()).await.unwrap();
        nothing_left(&bench, &order).await;
    }
}

async fn only_what_is_past_its_deadline_is_reaped(bench: Bench) {
    let late = WorkOrder { deadline_unix_s: now() + 5, ..bench.order(5, 1, "sleep") };
    let other_chain = WorkOrder { chain_id: 1, ..late.clone() };
    let early = bench.order(6, 1, "sleep");
    for order in [&late, &early] {
        bench.engine.start(order).await.unwrap();
    }
    assert_eq!(bench.engine.reap(now()).await.unwrap(), []);
    let reaper = bench.restarted().await;
    bench.engine.start(&other_chain).await.unwrap();
    let mut reaped: Vec<_> = reaper.reap(late.deadline_unix_s).await.unwrap().into_iter().map(|gone| gone.id).collect();
    reaped.sort();
    assert_eq!(reaped, [other_chain.id(), late.id()]);
    nothing_left(&bench, &late).await;
    assert!(matches!(bench.engine.state(early.id()).await.unwrap(), ContainerState::Running { .. }));
    bench.engine.remove(early.id()).await.unwrap();
}

async fn any_owner_is_reaped_by_deadline_alone(bench: Bench) {
    // Long ago, so that no other test's work is late by the same clock.
    let late = WorkOrder { deadline_unix_s: 1_000, ..bench.order(11, 1, "sleep") };
    let early = bench.order(12, 1, "sleep");
    for order in [&late, &early] {
        bench.engine.start(order).await.unwrap();
    }
    let stranger = bench.stranger().await;
    let name =
        |order: &WorkOrder, found: Vec<Found>| found.into_iter().find(|found| found.id == order.id()).unwrap().name;
    let late_name = name(&late, bench.engine.list(CHAIN).await.unwrap());
    assert_eq!(stranger.list(CHAIN).await.unwrap(), [], "it has nothing of its own");
    let (reaped, failure) = stranger.reap_late(None, 999).await.unwrap();
    assert!(failure.is_none() && reaped.iter().all(|gone| gone.name != late_name), "{reaped:?}");
    // Whoever reaps for one node alone leaves the others' be, however late they are.
    let (reaped, failure) = stranger.reap_late(Some("another node"), 1_000).await.unwrap();
    assert!(failure.is_none() && reaped.is_empty(), "{reaped:?}");
    let (reaped, failure) = stranger.reap_late(None, 1_000).await.unwrap();
    assert!(failure.is_none() && reaped.iter().any(|gone| gone.name == late_name), "{failure:?} {reaped:?}");
    nothing_left(&bench, &late).await;
    assert!(matches!(bench.engine.state(early.id()).await.unwrap(), ContainerState::Running { .. }));
    bench.engine.remove(early.id()).await.unwrap();
}

async fn a_name_that_holds_other_work_is_not_adopted(bench: Bench) {
    let first = bench.order(13, 1, "sleep");
    let second = bench.order(13, 1, "copy");
    bench.engine.start(&first).await.unwrap();
    let error = bench.engine.start(&second).await.unwrap_err();
    let (found, wanted) = (first.spec_hash, second.spec_hash);
    assert!(
        matches!(&error, EngineError::OtherWork { found: f, wanted: w, .. } if (*f, *w) == (found, wanted)),
        "{error}"
    );
    assert_eq!(bench.engine.list(CHAIN).await.unwrap()[0].spec_hash, found, "it is left as it was");
    bench.engine.remove(first.id()).await.unwrap();
    assert_eq!(bench.run(&second).await, (0, false));
    bench.engine.remove(second.id()).await.unwrap();
    nothing_left(&bench, &second).await;
}

async fn a_stopped_worker_keeps_its_outputs(bench: Bench) {
    let order = bench.order(7, 1, "sleep");
    bench.engine.start(&order).await.unwrap();
    let error = bench.engine.collect(&order).await.unwrap_err();
    assert!(matches!(error, EngineError::StillRunning { .. }), "{error}");
    // The report is written before the sleep begins; the order of the two is the probe's.
    until_written(&bench, &order).await;
    bench.engine.stop(order.id()).await.unwrap();
    bench.engine.stop(order.id()).await.unwrap();
    let ContainerState::Exited { code, oom_killed: false, .. } = bench.engine.state(order.id()).await.unwrap() else {
        panic!("it must have ended")
    };
    assert!(code == 137 || code == 143, "{code}");
    bench.engine.collect(&order).await.unwrap();
    assert_eq!(std::fs::read(order.out_dir.join("report")).unwrap(), b"asleep");
    bench.engine.remove(order.id()).await.unwrap();
}

async fn links_are_not_collected(bench: Bench) {
    let order = bench.order(8, 1, "link");
    assert_eq!(bench.run(&order).await, (0, false));
    let error = bench.engine.collect(&order).await.unwrap_err();
    assert!(error.to_string().contains("'link' is a symbolic link"), "{error}");
    assert!(!order.out_dir.exists());
    bench.engine.remove(order.id()).await.unwrap();
}

async fn failures_tell_their_code_and_last_words(bench: Bench) {
    let order = bench.order(9, 1, "flood");
    assert_eq!(bench.run(&order).await, (65, false));
    let words = bench.engine.stderr_tail(order.id()).await.unwrap();
    assert!(words.len() <= 4 * 1024 && words.ends_with("the last  word"), "{words:?}");
    bench.engine.remove(order.id()).await.unwrap();
}

async fn removing_nothing_is_fine(bench: Bench) {
    let order = bench.order(10, 1, "copy");
    bench.engine.remove(order.id()).await.unwrap();
    bench.engine.stop(order.id()).await.unwrap();
    assert_eq!(bench.engine.stderr_tail(order.id()).await.unwrap(), "");
    let error = bench.engine.collect(&order).await.unwrap_err();
    assert!(matches!(error, EngineError::NotFound { .. }), "{error}");
}

async fn nothing_left(bench: &Bench, order: &WorkOrder) {
    assert_eq!(bench.engine.state(order.id()).await.unwrap(), ContainerState::Missing);
    assert!(bench.engine.list(order.chain_id).await.unwrap().iter().all(|found| found.id != order.id()));
}

/// Waits until the probe has written its report, which shows in the engine's own view of `/out`.
async fn until_written(bench: &Bench, order: &WorkOrder) {
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while !crate::docker::has_report(bench, order).await {
        assert!(tokio::time::Instant::now() < until, "the probe wrote nothing in 30 seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
