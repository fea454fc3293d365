//! The benchmark as a provider runs it: over a real engine, by the real worker.

use std::time::Duration;

use alloy::primitives::Address;
use contracts::classes::HardwareClass;
use keeper::{
    act::containers::{EngineConfig, Limits},
    benchmark::{Template, is_run},
};

use crate::{
    docker::{objects_of, owner},
    support::{Bench, CHAIN, now, reference_worker, socket},
    workshop::Shop,
};

const MARKET: Address = Address::repeat_byte(7);
const CLASS: HardwareClass = HardwareClass::MidRangeGpu;

async fn shop() -> Shop {
    let owner = format!("measure-{}-{:?}", std::process::id(), std::thread::current().id());
    let config = EngineConfig::Docker { socket: Some(socket()), owner };
    let mut shop = Shop::over(Bench::over(config, &reference_worker()).await).await;
    shop.workshop.limits = Limits { memory_mib: 32, cpus: 1.0, pids: 16, disk_mib: 4 };
    shop
}

#[tokio::test]
async fn a_node_is_measured_and_nothing_is_left_of_it() {
    let shop = shop().await;
    let (workshop, provider) = (&shop.workshop, Address::repeat_byte(9));
    // One that is cut off leaves its container, which bears a deadline and the id of no rental.
    let cut_off = workshop.clone();
    let errand = tokio::spawn(async move { cut_off.measure(MARKET, provider, CLASS).await });
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while !workshop.engine.list(CHAIN).await.unwrap().iter().any(|found| found.running) {
        assert!(tokio::time::Instant::now() < until, "nothing runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    errand.abort();
    let _ = errand.await;
    let left = workshop.engine.list(CHAIN).await.unwrap();
    assert!(left.len() == 1 && is_run(left[0].id.rental) && left[0].deadline_unix_s > now(), "{left:?}");
    assert_eq!(workshop.engine.reap(now()).await.unwrap(), [], "it is not reaped before its time");

    let scored = workshop.measure(MARKET, provider, CLASS).await.unwrap();
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
    assert!(std::fs::read_dir(&workshop.work_dir).unwrap().next().is_none(), "folders stay behind");
    scored.check(CHAIN, MARKET, provider, &[workshop.key.address()], now()).unwrap();
    let score = scored.score;
    assert_eq!((score.class, score.cpus_milli, score.image), (CLASS, 1_000, shop.bench.image));
    assert!(!score.accelerated, "no craft uses an accelerator");
    // Within what any machine that runs these tests does, however busy.
    assert!((100..10_000).contains(&score.score_milli), "{score:?}");
    assert_eq!(score.score_milli, Template::of(CLASS).reference_ms * 1_000 / score.took_ms);
}

#[tokio::test]
async fn a_worker_that_does_other_work_has_no_score() {
    let shop = Shop::over(Bench::docker().await).await;
    let measured = shop.workshop.measure(MARKET, Address::ZERO, CLASS).await;
    let error = measured.unwrap_err().to_string();
    assert!(error.contains("provider.worker"), "{error}");
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}
