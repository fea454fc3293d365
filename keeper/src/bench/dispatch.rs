//! `script/bench dispatch`: from a confirmed rental at the provider's hands to its running container, one at a time and fifty
//! at once, with the engine's own time for the same container beside it.
//!
//! The clock starts when the keeper's loop hands a rental over, and stops when the attempt is journalled as started: inputs are
//! laid out, the attempt is written, volume, holder and worker are made and started. How soon the loop hands over after a
//! block is `script/bench react`.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use contracts::{
    ids::{AgreementId, BookId},
    units::Amount,
};
use eyre::{OptionExt as _, bail, ensure};
use indexer::rows::{AgreementRow, Started, Status};
use keeper::{
    act::{
        containers::{Engine, EngineConfig, Limits, WorkOrder, layout},
        errands::Workshop,
    },
    blobs::{Store, StoreLimits},
    clock::now_s,
    journal::{AttemptState, Journal},
    spec::{InputRef, RentalSpec, TaskSpec, TaskType, sha256},
};
use serde_json::json;

use crate::numbers::percentile_ms;

/// Rentals dispatched one at a time.
const ALONE: u64 = 20;
/// Rentals dispatched at once.
const AT_ONCE: u64 = 50;
/// A rental's time.
const RENTAL_S: u64 = 300;
/// What a chain is called here.
const CHAIN: u64 = 31_337;
/// The work: a page of text.
const INPUT: &[u8] = include_bytes!("../../../README.md");

/// Gives the line of numbers. `socket` is the engine's; without it, the usual ones are looked for.
pub(crate) async fn measure(socket: Option<String>, worker: &Path) -> eyre::Result<serde_json::Value> {
    let folder = tempfile::Builder::new().prefix("openclaw-bench-").tempdir()?;
    let owner = format!("bench-{}", std::process::id());
    let engine = Engine::connect(&EngineConfig::Docker { socket, owner }).await?;
    let image = engine.load_worker_image(worker).await?;
    let limits = StoreLimits {
        total_bytes: 1 << 30,
        rental_bytes: 1 << 20,
        agent_bytes: 1 << 30,
        agent_rentals: 1_000,
        grace_s: 600,
    };
    let workshop = Workshop {
        engine,
        image,
        limits: Limits { memory_mib: 64, cpus: 0.5, pids: 16, disk_mib: 8 },
        devices: Vec::new(),
        store: Store::open(&folder.path().join("blobs"), limits).await?,
        work_dir: folder.path().join("work"),
        key: PrivateKeySigner::random(),
        chain_id: CHAIN,
        journal: Journal::open(&folder.path().join("journal"))?,
    };

    let (mut alone, mut floor) = (Vec::new(), Vec::new());
    for number in 0..ALONE {
        // In turn, so that both meet the same machine.
        floor.push(engine_alone(&workshop, AT_ONCE + ALONE + number, folder.path()).await?);
        let row = deliver(&workshop, number).await?;
        let (running, ended) = dispatched(&workshop, row);
        alone.push(running.await??);
        ended.await??;
        anstream::eprint!(".");
    }
    anstream::eprintln!(" one at a time");

    let mut under_way = Vec::new();
    for number in ALONE..ALONE + AT_ONCE {
        under_way.push(deliver(&workshop, number).await?);
    }
    let under_way: Vec<_> = under_way.into_iter().map(|row| dispatched(&workshop, row)).collect();
    let (mut together, mut lost) = (Vec::new(), 0);
    for (running, ended) in under_way {
        match (running.await?, ended.await?) {
            (Ok(took), Ok(())) => together.push(took),
            (running, ended) => {
                lost += 1;
                for problem in [running.err(), ended.err()].into_iter().flatten() {
                    anstream::eprintln!("lost: {problem:#}");
                }
            }
        }
    }
    anstream::eprintln!(
        "{AT_ONCE} at once: the middle one after {} ms, the last after {} ms",
        percentile_ms(&mut together, 50),
        percentile_ms(&mut together, 100)
    );
    let left = workshop.engine.list(CHAIN).await?.len();
    ensure!(left == 0, "{left} containers are left behind");
    Ok(json!({
        "bench": "dispatch",
        "dispatch_p50_ms": percentile_ms(&mut alone, 50),
        "engine_p50_ms": percentile_ms(&mut floor, 50),
        "dispatched": AT_ONCE,
        "lost": lost,
    }))
}

type Running = tokio::task::JoinHandle<eyre::Result<Duration>>;
type Ended = tokio::task::JoinHandle<eyre::Result<()>>;

/// Sets a rental's errand off; gives the time to its running container, and its end.
fn dispatched(workshop: &Workshop, row: AgreementRow) -> (Running, Ended) {
    let (rental, journal) = (row.id, workshop.journal.clone());
    let since = Instant::now();
    let workshop = workshop.clone();
    let ended: Ended = tokio::spawn(async move {
        let result = workshop.work(&row).await?;
        let files = result.tasks.iter().map(|task| task.manifest.files.len()).sum::<usize>();
        let code = result.receipts().map(|receipt| receipt.exit_code).max();
        ensure!(code == Some(0) && files > 0, "{rental}: exit code {code:?}, {files} files");
        Ok(())
    });
    let running = tokio::spawn(async move {
        while since.elapsed() < Duration::from_secs(RENTAL_S) {
            // The journal is asked, not the engine, which has enough to do.
            let last = journal.attempts(rental)?.pop();
            if last.is_some_and(|last| matches!(last.state, AttemptState::Started | AttemptState::Accepted)) {
                return Ok(since.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("{rental}: nothing runs after {RENTAL_S} s")
    });
    (running, ended)
}

/// The engine's own time to make and start one attempt.
async fn engine_alone(workshop: &Workshop, number: u64, folder: &Path) -> eyre::Result<Duration> {
    let spec = spec(number);
    let (rental, spec_hash) = (id(number)?, sha256(&spec.to_bytes()));
    let (in_dir, blob) = (folder.join(format!("engine-{number}")), folder.join("input"));
    std::fs::write(&blob, INPUT)?;
    let task = spec.tasks.first().ok_or_eyre("a spec has a task")?;
    layout::write_inputs(&in_dir, rental, spec_hash, task, |_| blob.clone())?;
    let order = WorkOrder {
        chain_id: CHAIN,
        rental,
        attempt: 1,
        spec_hash,
        image: workshop.image,
        in_dir,
        out_dir: folder.join("engine-out"),
        limits: workshop.limits,
        devices: Vec::new(),
        deadline_unix_s: now_s() + RENTAL_S,
    };
    let since = Instant::now();
    workshop.engine.start(&order).await?;
    let took = since.elapsed();
    workshop.engine.wait(order.id(), Duration::from_secs(RENTAL_S)).await?;
    workshop.engine.remove(order.id()).await?;
    Ok(took)
}

/// A rental that just started, with its work delivered.
async fn deliver(workshop: &Workshop, number: u64) -> eyre::Result<AgreementRow> {
    let bytes = spec(number).to_bytes();
    let (rental, spec_hash) = (id(number)?, sha256(&bytes));
    workshop.store.accept_spec(rental, Address::ZERO, spec_hash, &bytes).await?;
    if let Some(mut upload) = workshop.store.begin(rental, sha256(INPUT), 0).await? {
        upload.write(INPUT).await?;
        upload.finish().await?;
    }
    let now = now_s();
    let started = Started { time_s: now, end_time_s: now + RENTAL_S, spec_hash, image_digest: B256::ZERO, block: 3 };
    Ok(AgreementRow {
        id: rental,
        wallet: Address::ZERO,
        agent: Address::ZERO,
        status: Status::Running,
        max_duration_s: 300,
        expiry_s: now + RENTAL_S,
        fee_bps: 250,
        template_id: 1,
        escrow: Amount(1),
        credit_used: Amount::ZERO,
        spec_hash,
        policy_hash: B256::ZERO,
        placed_block: 1,
        placed_time_s: now,
        matched: None,
        started: Some(started),
        submitted: None,
        dispute: None,
        payment: None,
        decline_fee: None,
        ended: None,
    })
}

fn spec(number: u64) -> RentalSpec {
    let input = InputRef { name: "page.md".into(), sha256: sha256(INPUT), bytes: INPUT.len() as u64 };
    RentalSpec {
        version: 1,
        salt: sha256(&number.to_be_bytes()),
        tasks: vec![TaskSpec {
            task_id: "t0".into(),
            task_type: TaskType::TextProcessing,
            inputs: vec![input],
            parameters: Default::default(),
        }],
        keep_warm_s: 0,
    }
}

fn id(number: u64) -> eyre::Result<AgreementId> {
    let book = BookId::for_duration(1, 300, false).ok_or_eyre("no book takes five minutes")?;
    Ok(AgreementId::new(book, 100, number))
}
