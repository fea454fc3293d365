//! A rental's work over a real engine: attempts journalled, resumed, lost and made again; one accepted result.

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{Address, B256, Signature},
    signers::local::PrivateKeySigner,
};
use contracts::{
    bindings::Status,
    ids::{AgreementId, BookId},
    units::Amount,
};
use indexer::rows::{AgreementRow, Matched, Started};
use keeper::{
    act::{
        containers::{ContainerState, Engine, EngineConfig, Found, Limits},
        errands::Workshop,
    },
    blobs::{Store, StoreLimits},
    journal::{AttemptState, Journal, WorkResult},
    spec::{RentalSpec, TaskName, TaskSpec, sha256},
};
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use crate::{
    docker::{objects_of, owner, raw},
    support::{Bench, CHAIN, INPUT, now, probe, socket, spec},
};

/// A provider's hands over an engine under test.
pub(crate) struct Shop {
    pub(crate) bench: Bench,
    pub(crate) workshop: Workshop,
}

impl Shop {
    pub(crate) async fn over(bench: Bench) -> Self {
        let limits = StoreLimits {
            total_bytes: 64 << 20,
            rental_bytes: 64 << 20,
            agent_bytes: 64 << 20,
            agent_rentals: 100,
            grace_s: 600,
        };
        let folder = bench.folder.path();
        let workshop = Workshop {
            engine: bench.engine.clone(),
            image: bench.image,
            limits: Limits { memory_mib: 64, cpus: 1.0, pids: 16, disk_mib: 16 },
            devices: Vec::new(),
            store: Store::open(&folder.join("blobs"), limits).await.unwrap(),
            work_dir: folder.join("work"),
            key: PrivateKeySigner::random(),
            chain_id: CHAIN,
            journal: Journal::open(&folder.join("journal")).unwrap(),
        };
        Self { bench, workshop }
    }

    /// A rental that just started, with its work delivered; the worker has `seconds`.
    pub(crate) async fn rental(&self, number: u64, act: &str, seconds: u64) -> AgreementRow {
        self.rental_of(number, &[act], 0, seconds).await
    }

    /// As [`Self::rental`], of several tasks, and kept so long after them.
    async fn rental_of(&self, number: u64, acts: &[&str], keep_warm_s: u32, seconds: u64) -> AgreementRow {
        let spec = RentalSpec { keep_warm_s, ..spec_of(acts) };
        let bytes = spec.to_bytes();
        let row = running(number, sha256(&bytes), seconds);
        self.workshop.store.accept_spec(row.id, row.agent, row.spec_hash, &bytes).await.unwrap();
        self.input(row.id).await;
        row
    }

    async fn input(&self, rental: AgreementId) {
        if let Some(mut upload) = self.workshop.store.begin(rental, sha256(INPUT), 0).await.unwrap() {
            upload.write(INPUT).await.unwrap();
            upload.finish().await.unwrap();
        }
    }

    /// What a keeper that was killed and started again has.
    async fn restarted(&self) -> Workshop {
        Workshop { engine: self.bench.restarted().await, ..self.workshop.clone() }
    }

    /// Works until the attempts stand as in `numbers`, and is killed then.
    pub(crate) async fn work_until(&self, row: &AgreementRow, numbers: &[(u32, &'static str)]) {
        let (workshop, rental) = (self.workshop.clone(), row.clone());
        let errand = tokio::spawn(async move { workshop.work(&rental).await });
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.numbers(row.id) != numbers {
            assert!(tokio::time::Instant::now() < until, "{:?}", self.numbers(row.id));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        errand.abort();
        let _ = errand.await;
    }

    fn numbers(&self, rental: AgreementId) -> Vec<(u32, &'static str)> {
        let attempts = self.workshop.journal.attempts(rental).unwrap();
        attempts.iter().map(|attempt| (attempt.number, attempt.state.name())).collect()
    }

    async fn until_running(&self, rental: AgreementId) -> Found {
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let attempts = self.workshop.journal.attempts(rental).unwrap();
            let started = attempts.last().is_some_and(|last| last.state == AttemptState::Started);
            let held = self.bench.engine.list(CHAIN).await.unwrap();
            let found = held.into_iter().find(|found| found.id.rental == rental && found.running);
            if let Some(found) = found.filter(|_| started) {
                return found;
            }
            assert!(tokio::time::Instant::now() < until, "nothing runs after 30 seconds: {attempts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The result is signed, journalled and served, and the engine holds nothing of the rental any more.
    pub(crate) async fn check_kept(&self, result: &WorkResult) {
        let rental = result.tasks[0].receipt.rental;
        assert_eq!(self.workshop.journal.result(rental).unwrap().as_ref(), Some(result));
        for task in &result.tasks {
            let signature = Signature::from_raw(&task.signature).unwrap();
            let signer = signature.recover_address_from_prehash(&task.receipt.digest()).unwrap();
            assert_eq!(signer, self.workshop.key.address());
        }
        let served = self.workshop.store.rental(rental).await.unwrap().result.unwrap();
        assert!(served.is_final && served.receipts().eq(result.receipts()), "{served:?}");
        let held = self.bench.engine.list(CHAIN).await.unwrap();
        assert!(held.iter().all(|found| found.id.rental != rental), "{held:?}");
    }
}

fn running(number: u64, spec_hash: B256, seconds: u64) -> AgreementRow {
    let matched = Matched {
        offer_id: 1,
        provider: Address::repeat_byte(9),
        start_deadline_s: now() + 30,
        block: 2,
        time_s: now(),
    };
    // The worker's time ends 5 seconds before the rental's.
    let started =
        Started { time_s: now(), end_time_s: now() + seconds + 5, spec_hash, image_digest: B256::ZERO, block: 3 };
    AgreementRow {
        id: AgreementId::new(BookId::for_duration(1, 60, false).unwrap(), 100, number),
        wallet: Address::ZERO,
        agent: Address::ZERO,
        status: Status::Running,
        max_duration_s: 60,
        expiry_s: now() + 60,
        fee_bps: 250,
        template_id: 1,
        escrow: Amount(1),
        credit_used: Amount::ZERO,
        spec_hash,
        policy_hash: B256::ZERO,
        placed_block: 1,
        placed_time_s: now(),
        matched: Some(matched),
        started: Some(started),
        submitted: None,
        dispute: None,
        payment: None,
        decline_fee: None,
        ended: None,
    }
}

/// The same rental when its worker has `seconds` left: what is tested at the end of a worker's time must not depend on how
/// soon a busy engine starts it.
pub(crate) fn ending_in(row: &AgreementRow, seconds: u64) -> AgreementRow {
    let mut row = row.clone();
    row.started.as_mut().unwrap().end_time_s = now() + seconds + 5;
    row
}

/// Work for the probe, task after task.
fn spec_of(acts: &[&str]) -> RentalSpec {
    let task = |(number, act): (usize, &&str)| TaskSpec { task_id: format!("t{number}"), ..spec(act).tasks.remove(0) };
    RentalSpec { tasks: acts.iter().enumerate().map(task).collect(), ..spec("nap") }
}

/// An engine behind a socket that can be taken away and given back.
struct Wire {
    path: PathBuf,
    connections: Option<tokio::task::JoinHandle<()>>,
}

impl Wire {
    fn new(path: PathBuf) -> Self {
        let mut wire = Self { path, connections: None };
        wire.mend();
        wire
    }

    fn mend(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let engine = socket().trim_start_matches("unix://").to_owned();
        self.connections = Some(tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let engine = engine.clone();
                open.spawn(async move {
                    if let Ok(mut far) = UnixStream::connect(engine).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }

    /// Ends every connection and refuses new ones.
    fn cut(&mut self) {
        self.connections.take().unwrap().abort();
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[tokio::test]
async fn a_killed_keeper_goes_on_with_the_attempt_it_had() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let found = shop.until_running(row.id).await;
    let before = shop.bench.engine.state(found.id).await.unwrap();
    errand.abort();
    let _ = errand.await;
    assert_eq!(shop.bench.engine.state(found.id).await.unwrap(), before, "work goes on without the keeper");
    let result = shop.restarted().await.work(&row).await.unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (3, vec![(1, "accepted attempt")]));
    shop.check_kept(&result).await;
    // Asked once more, as after a crash before the answer was journalled, the same result comes back.
    assert_eq!(shop.workshop.work(&row).await.unwrap(), result);
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn what_ended_while_the_keeper_was_dead_is_collected() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let found = shop.until_running(row.id).await;
    errand.abort();
    let ended = shop.bench.engine.wait(found.id, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(ended, ContainerState::Exited { code: 3, .. }), "{ended:?}");
    // The rental's time may be over by then.
    let late = AgreementRow {
        started: row.started.clone().map(|started| Started { end_time_s: now() - 1, ..started }),
        ..row.clone()
    };
    let result = shop.restarted().await.work(&late).await.unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (3, vec![(1, "accepted attempt")]));
    shop.check_kept(&result).await;
}

#[tokio::test]
async fn an_attempt_that_the_engine_lost_is_journalled_and_made_again() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let found = shop.until_running(row.id).await;
    // What keeps its outputs ends before the worker does.
    raw().kill_container(&format!("{}-hold", found.name), None).await.unwrap();
    let error = errand.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("outputs") && error.contains("are gone"), "{error}");
    assert_eq!(shop.numbers(row.id), [(1, "lost attempt")]);
    let result = shop.workshop.work(&row).await.unwrap();
    assert_eq!(
        (result.tasks[0].receipt.exit_code, shop.numbers(row.id)),
        (3, vec![(1, "lost attempt"), (2, "accepted attempt")])
    );
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn a_worker_that_the_engine_killed_gets_another_attempt() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let found = shop.until_running(row.id).await;
    raw().kill_container(&found.name, None).await.unwrap();
    let error = errand.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("killed, not by this keeper: exit code 137"), "{error}");
    let result = shop.workshop.work(&row).await.unwrap();
    let attempts = vec![(1, "lost attempt"), (2, "accepted attempt")];
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (3, attempts.clone()));
    shop.check_kept(&result).await;

    // One that kills itself gets one more attempt as well, and then has its result.
    let row = shop.rental(2, "suicide", 60).await;
    let error = shop.workshop.work(&row).await.unwrap_err().to_string();
    assert!(error.contains("exit code 137"), "{error}");
    let result = shop.workshop.work(&row).await.unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (137, attempts));
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn no_new_attempt_is_made_when_time_is_over() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 0).await;
    let late = AgreementRow {
        started: row.started.clone().map(|started| Started { time_s: now() - 60, end_time_s: now() - 30, ..started }),
        ..row
    };
    let error = shop.workshop.work(&late).await.unwrap_err().to_string();
    assert!(error.contains("no time"), "{error}");
    assert_eq!(shop.numbers(late.id), []);
    // Nor for one that was planned before the keeper died.
    let task = TaskName { spec_hash: late.spec_hash, task_id: "t0".into() };
    shop.workshop.journal.plan_attempt(late.id, late.spec_hash, task, 1, now()).unwrap();
    let error = shop.workshop.work(&late).await.unwrap_err().to_string();
    assert!(error.contains("over before it began"), "{error}");
    assert_eq!(shop.numbers(late.id), [(1, "lost attempt")]);
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_costs_no_attempt() {
    let bench = Bench::docker().await;
    let path = bench.folder.path().join("engine.sock");
    let mut wire = Wire::new(path.clone());
    let config = EngineConfig::Docker { socket: Some(format!("unix://{}", path.display())), owner: owner(&bench) };
    let through = Engine::connect(&config).await.unwrap();
    through.load_worker_image(probe()).await.unwrap();
    let mut shop = Shop::over(bench).await;
    shop.workshop.engine = through;
    let row = shop.rental(1, "nap", 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let found = shop.until_running(row.id).await;
    wire.cut();
    let ended = shop.bench.engine.wait(found.id, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(ended, ContainerState::Exited { code: 3, .. }), "{ended:?}");
    assert!(!errand.is_finished(), "it waits for the engine");
    wire.mend();
    let result = errand.await.unwrap().unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (3, vec![(1, "accepted attempt")]));
    shop.check_kept(&result).await;
}

#[tokio::test]
async fn after_a_reorganisation_the_rentals_other_work_is_done() {
    let shop = Shop::over(Bench::docker().await).await;
    let before = shop.rental(1, "sleep", 60).await;
    let (workshop, first) = (shop.workshop.clone(), before.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    shop.until_running(before.id).await;
    errand.abort();
    let after = shop.rental(1, "nap", 60).await;
    assert_ne!(before.spec_hash, after.spec_hash);
    let result = shop.restarted().await.work(&after).await.unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, result.tasks[0].receipt.spec_hash), (3, after.spec_hash));
    assert_eq!(shop.numbers(after.id), [(1, "lost attempt"), (2, "accepted attempt")]);
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn attempts_that_a_lost_journal_does_not_know_are_adopted() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental(1, "nap", 60).await;
    // Attempt 3 runs; an earlier one was left behind.
    let mut order = shop.bench.order(1, 2, "copy");
    assert_eq!(order.rental, row.id);
    shop.bench.run(&order).await;
    order = shop.bench.order(1, 3, "nap");
    assert_eq!(order.spec_hash, row.spec_hash);
    shop.bench.engine.start(&order).await.unwrap();
    let result = shop.workshop.work(&row).await.unwrap();
    assert_eq!((result.tasks[0].receipt.exit_code, shop.numbers(row.id)), (3, vec![(3, "accepted attempt")]));
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn tasks_are_done_in_order_each_with_its_own_receipt_whatever_is_killed() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental_of(1, &["nap", "nap", "nap"], 0, 60).await;
    shop.work_until(&row, &[(1, "accepted attempt"), (2, "started attempt")]).await;
    let so_far = shop.workshop.store.rental(row.id).await.unwrap().result.unwrap();
    assert!(so_far.tasks.len() == 1 && !so_far.is_final, "a task is served as soon as it is done");
    let result = shop.restarted().await.work(&row).await.unwrap();
    let accepted = "accepted attempt";
    assert_eq!(shop.numbers(row.id), [(1, accepted), (2, accepted), (3, accepted)], "none is done twice");
    assert!(result.receipts().map(|receipt| &*receipt.task_id).eq(["t0", "t1", "t2"]), "{result:?}");
    assert!(result.receipts().all(|receipt| receipt.exit_code == 3 && receipt.seconds >= 1));
    assert!(result.receipts().is_sorted_by(|one, next| one.sequence < next.sequence), "{result:?}");
    assert_eq!((result.idle_s, result.seconds()), (0, result.receipts().map(|receipt| receipt.seconds).sum()));
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
    assert_eq!(shop.workshop.work(&row).await.unwrap(), result);
}

#[tokio::test]
async fn a_rental_is_kept_for_tasks_that_come_while_it_runs() {
    let shop = Shop::over(Bench::docker().await).await;
    let row = shop.rental_of(1, &["nap"], 4, 60).await;
    let (workshop, first) = (shop.workshop.clone(), row.clone());
    let errand = tokio::spawn(async move { workshop.work(&first).await });
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while shop.workshop.journal.result(row.id).unwrap().is_none() {
        assert!(tokio::time::Instant::now() < until, "the first task is never done");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let more = RentalSpec { salt: B256::repeat_byte(2), ..spec_of(&["copy", "nap"]) };
    let bytes = more.to_bytes();
    shop.workshop.store.push_spec(row.id, sha256(&bytes), &bytes).await.unwrap();
    let result = errand.await.unwrap().unwrap();
    let named = |receipt: &keeper::spec::Receipt| (receipt.spec_hash, receipt.task_id.clone());
    let (own, pushed) = (row.spec_hash, sha256(&bytes));
    let expect = [(own, "t0".into()), (pushed, "t0".into()), (pushed, "t1".into())];
    assert!(result.receipts().map(named).eq(expect), "{result:?}");
    // The wait before the push and the one after it are paid for, none beyond what was asked for.
    assert!((4..=8).contains(&result.idle_s), "{} s of waiting", result.idle_s);
    shop.check_kept(&result).await;
    let late = shop.workshop.store.push_spec(row.id, sha256(b"late"), b"late").await.unwrap_err();
    assert!(late.to_string().contains("spec"), "{late}");
    let late = spec_of(&["nap", "nap"]).to_bytes();
    let late = shop.workshop.store.push_spec(row.id, sha256(&late), &late).await.unwrap_err();
    assert!(late.to_string().contains("takes no more tasks"), "{late}");
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}

#[tokio::test]
async fn what_was_done_counts_though_time_is_over_before_the_last_task() {
    let shop = Shop::over(Bench::docker().await).await;
    // The second is ended when the worker's time is over, the third does not begin.
    let row = shop.rental_of(1, &["nap", "sleep", "nap"], 60, 60).await;
    shop.work_until(&row, &[(1, "accepted attempt"), (2, "started attempt")]).await;
    let result = shop.workshop.work(&ending_in(&row, 1)).await.unwrap();
    let codes: Vec<_> = result.receipts().map(|receipt| receipt.exit_code).collect();
    assert!(codes[0] == 3 && codes[1] != 0 && codes[2..] == [137], "{codes:?}");
    assert_eq!((result.tasks[2].receipt.seconds, shop.numbers(row.id).len()), (0, 2));
    shop.check_kept(&result).await;
    assert_eq!(objects_of(&owner(&shop.bench)).await, 0);
}
