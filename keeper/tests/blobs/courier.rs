//! An agent's courier against a provider that keeps its word, one that lags, and ones that do not.

use std::{
    fs,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use contracts::{
    bindings::{Start, Status},
    typed_data::{recover, start_digest},
    units::Amount,
};
use indexer::rows::{AgreementRow, Matched, Submitted};
use keeper::{
    act::errands::{Brought, Courier, ErrandError},
    blobs::{Nodes, Reach, TaskDocument},
    intake,
    job::{Job, JobId, JobState, Priority},
    spec::{Receipt, RentalSpec, Statement, TaskSpec, receipt_root, rental_result, result_hash, sha256},
};

use crate::support::{CHAIN, MARKET, PROVIDER, Plane, id, noise, result, spec};

/// A plane, an agent with a job, and the provider's key.
pub(crate) struct Trip {
    pub(crate) plane: Plane,
    pub(crate) courier: Courier,
    pub(crate) job: Job,
    pub(crate) row: AgreementRow,
    key: PrivateKeySigner,
}

impl Trip {
    pub(crate) async fn new(input: &[u8]) -> Self {
        let plane = Plane::start().await;
        let spec = spec(&[input]);
        let spec_hash = sha256(&spec.to_bytes());
        let jobs_dir = plane.folder.path().join("jobs");
        let stored = intake::input_path(&jobs_dir, spec_hash, sha256(input));
        fs::create_dir_all(stored.parent().unwrap()).unwrap();
        fs::write(stored, input).unwrap();
        let courier = Courier {
            key: plane.agent.clone(),
            chain_id: CHAIN,
            market: MARKET,
            reach: Reach::demo(),
            buckets: Vec::new(),
            nodes: Nodes::default(),
            min_billed_s: 5,
            jobs_dir,
        };
        let out_dir = plane.folder.path().join("home");
        let (job, row) = (job(spec, out_dir), row(plane.agent.address(), spec_hash));
        Self { plane, courier, job, row, key: PrivateKeySigner::random() }
    }

    /// The result over one output, signed, as the provider serves it; and the row says that it was submitted.
    pub(crate) async fn finish(&mut self, output: &[u8], change: impl FnOnce(&mut TaskDocument)) -> TaskDocument {
        let (mut document, _) = result(self.row.id, &self.job.spec, &[("a.txt", output)]);
        change(&mut document);
        let signed = Statement::sign(document.receipt.clone(), &self.key).unwrap();
        document.receipt_signature = signed.signature;
        self.plane.keep(self.row.id, &document, output).await;
        self.submit(std::slice::from_ref(&document), 5);
        document
    }

    /// What comes of the trip: "" if the result holds.
    pub(crate) async fn fetch(&self) -> String {
        let signers = [PROVIDER, self.key.address()];
        match self.courier.fetch(&self.row, &self.plane.endpoint, &signers, &self.job).await {
            Ok(_) => String::new(),
            Err(ErrandError::Refuted(text)) => format!("refuted: {text}"),
            Err(ErrandError::Unserved(text)) => format!("unserved: {text}"),
            Err(error) => format!("retry: {error}"),
        }
    }

    async fn delivered(&self) {
        self.plane.delivered(1, &self.job.spec).await;
    }
}

fn job(spec: RentalSpec, out_dir: std::path::PathBuf) -> Job {
    let spec_hash = sha256(&spec.to_bytes());
    Job {
        id: JobId(1),
        spec,
        spec_hash,
        class: None,
        max_price_per_hour: None,
        priority: Priority::Normal,
        max_duration_s: 60,
        created_s: 0,
        deadline_s: u64::MAX,
        out_dir,
        state: JobState::Active,
    }
}

/// A rental that was matched in block 7.
fn row(agent: Address, spec_hash: B256) -> AgreementRow {
    AgreementRow {
        id: id(1),
        wallet: Address::ZERO,
        agent,
        status: Status::Confirmed,
        max_duration_s: 60,
        expiry_s: 0,
        fee_bps: 0,
        template_id: 1,
        escrow: Amount(1),
        credit_used: Amount::ZERO,
        spec_hash,
        policy_hash: B256::ZERO,
        placed_block: 1,
        placed_time_s: 0,
        matched: Some(Matched { offer_id: 3, provider: PROVIDER, start_deadline_s: 77, block: 7, time_s: 0 }),
        started: None,
        submitted: None,
        dispute: None,
        payment: None,
        decline_fee: None,
        ended: None,
    }
}

#[tokio::test]
async fn work_is_handed_over_in_the_first_trip_though_the_provider_lags() {
    let trip = Trip::new(&noise(100_000, 1)).await;
    trip.plane.block.store(6, Ordering::SeqCst);
    let (courier, row, endpoint, job) =
        (trip.courier.clone(), trip.row.clone(), trip.plane.endpoint.clone(), trip.job.clone());
    let delivery = tokio::spawn(async move { courier.deliver(&row, &endpoint, &job).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!delivery.is_finished());
    trip.plane.rent(1, &trip.job.spec);
    trip.plane.block.store(7, Ordering::SeqCst);
    let known = Instant::now();
    delivery.await.unwrap().unwrap();
    assert!(known.elapsed() < Duration::from_secs(10), "{:?}", known.elapsed());
    let files = trip.plane.store.rental(trip.row.id).await.unwrap();
    assert!(files.missing.is_empty());
    let start = Start {
        agreementId: trip.row.id.into(),
        offerId: 3,
        provider: PROVIDER,
        specHash: trip.row.spec_hash,
        deadline: alloy::primitives::aliases::U40::from(77),
    };
    let signed = recover(&start_digest(&start, CHAIN, MARKET), &files.countersignature.unwrap());
    assert_eq!(signed, Some(trip.plane.agent.address()));
}

#[tokio::test]
async fn a_result_that_holds_is_brought_with_what_was_stated_on_the_way() {
    let mut trip = Trip::new(b"x").await;
    trip.delivered().await;
    let beat = |sequence| Receipt::heartbeat(trip.row.id, "t0".into(), trip.row.spec_hash, sequence * 10, sequence);
    for sequence in 0..3 {
        trip.plane.store.keep_statement(Statement::sign(beat(sequence), &trip.key).unwrap()).await.unwrap();
    }
    let output = noise(10_000, 5);
    trip.finish(&output, |document| document.receipt.sequence = 3).await;
    assert_eq!(trip.fetch().await, "");
    assert_eq!(fs::read(trip.job.out_dir.join("a.txt")).unwrap(), output);
    // The same work cannot have been done before it was under way.
    trip.finish(&output, |document| document.receipt.sequence = 2).await;
    assert!(trip.fetch().await.starts_with("refuted: rental"), "{}", trip.fetch().await);
}

#[tokio::test]
async fn what_contradicts_the_submission_is_refuted() {
    let mut trip = Trip::new(b"x").await;
    trip.delivered().await;
    let output = noise(1_000, 5);
    let good = trip.finish(&output, |_| {}).await;
    assert_eq!(trip.fetch().await, "");
    let submitted = trip.row.submitted.clone().unwrap();

    trip.row.submitted = Some(Submitted { receipt_root: B256::ZERO, ..submitted.clone() });
    assert!(trip.fetch().await.starts_with("refuted: ") && trip.fetch().await.contains("not those whose hash"));
    trip.row.submitted = Some(Submitted { result_hash: B256::ZERO, ..submitted.clone() });
    assert!(trip.fetch().await.starts_with("refuted: "));
    trip.row.submitted = Some(Submitted { billable_s: 6, ..submitted.clone() });
    assert!(trip.fetch().await.contains("6 s are billed"), "{}", trip.fetch().await);
    trip.row.submitted = Some(submitted);
    let key = std::mem::replace(&mut trip.key, PrivateKeySigner::random());
    assert!(trip.fetch().await.contains("not signed by the provider"), "{}", trip.fetch().await);
    trip.key = key;

    // Every part of the document is bound.
    let changes: [fn(&mut TaskDocument); 4] = [
        |it| it.exit_code = 1,
        |it| it.manifest.push(' '),
        |it| it.receipt.seconds += 1,
        |it| it.receipt.result_hash = B256::ZERO,
    ];
    for change in changes {
        let mut forged = good.clone();
        change(&mut forged);
        trip.plane.keep(trip.row.id, &forged, &output).await;
        assert!(trip.fetch().await.starts_with("refuted: "), "{}", trip.fetch().await);
    }
}

#[tokio::test]
async fn a_provider_that_keeps_the_result_to_itself_is_told_from_a_fault_here() {
    let mut trip = Trip::new(b"x").await;
    trip.delivered().await;
    trip.finish(&noise(1_000, 5), |_| {}).await;
    // Nothing can be written where the result belongs.
    fs::write(&trip.job.out_dir, "a file").unwrap();
    assert!(trip.fetch().await.starts_with("retry: "), "{}", trip.fetch().await);
    fs::remove_file(&trip.job.out_dir).unwrap();

    trip.plane.change(trip.row.id, |access| access.open_until_unix_s = 0);
    assert!(trip.fetch().await.starts_with("unserved: ") && trip.fetch().await.contains("410"));
    let endpoint = std::mem::replace(&mut trip.plane.endpoint, "ftp://example.org".into());
    assert!(trip.fetch().await.starts_with("unserved: endpoint"), "{}", trip.fetch().await);
    trip.plane.endpoint = "s3://somebody/else".into();
    assert!(trip.fetch().await.contains("agent.buckets"), "{}", trip.fetch().await);
    trip.plane.endpoint = endpoint;
    trip.plane.shut_down().await;
    assert!(trip.fetch().await.starts_with("unserved: provider at"), "it is gone");
}

/// A second task of the trip's spec, or a spec with one that is pushed.
fn task(task_id: &str, input: &[u8]) -> TaskSpec {
    TaskSpec { task_id: task_id.into(), ..spec(&[input]).tasks.remove(0) }
}

impl Trip {
    /// One whose spec has these tasks and is kept so long after them.
    async fn of(tasks: Vec<TaskSpec>, keep_warm_s: u32) -> Self {
        let mut trip = Self::new(b"x").await;
        trip.job = job(RentalSpec { tasks, keep_warm_s, ..trip.job.spec.clone() }, trip.job.out_dir.clone());
        trip.row.spec_hash = trip.job.spec_hash;
        trip.delivered().await;
        trip
    }

    /// Publishes the result of a task over one output, signed.
    async fn done(&self, spec: &RentalSpec, number: usize, seconds: u64, output: &[u8]) -> TaskDocument {
        let one = RentalSpec { tasks: vec![spec.tasks[number].clone()], ..spec.clone() };
        let spec_hash = sha256(&spec.to_bytes());
        let (mut document, mut manifest) = result(self.row.id, &one, &[("a.txt", output)]);
        manifest.task_id.clone_from(&spec.tasks[number].task_id);
        manifest.spec_sha256 = spec_hash;
        document.manifest = serde_json::to_string(&manifest).unwrap();
        let manifest_sha256 = sha256(document.manifest.as_bytes());
        document.receipt = Receipt {
            task_id: manifest.task_id,
            spec_hash,
            manifest_sha256,
            result_hash: result_hash(self.row.id, spec_hash, manifest_sha256, 0),
            seconds,
            sequence: self.plane.store.next_sequence(self.row.id).await.unwrap(),
            ..document.receipt
        };
        document.receipt_signature = Statement::sign(document.receipt.clone(), &self.key).unwrap().signature;
        self.plane.keep(self.row.id, &document, output).await;
        document
    }

    /// The row says that the results were submitted.
    pub(crate) fn submit(&mut self, tasks: &[TaskDocument], billable_s: u64) {
        let receipts = || tasks.iter().map(|task| &task.receipt);
        self.row.submitted = Some(Submitted {
            billable_s,
            result_hash: rental_result(receipts()),
            receipt_root: receipt_root(receipts()),
            challenge_end_s: u64::MAX,
            receipts: true,
            preempted: false,
            cancelled: false,
            block: 9,
            time_s: 0,
        });
    }

    async fn attend(&self, job: &Job, at_most: Duration) -> Result<Brought, ErrandError> {
        let signers = [PROVIDER, self.key.address()];
        self.courier.attend(&self.row, &self.plane.endpoint, &signers, job, at_most).await
    }
}

#[tokio::test]
async fn several_tasks_are_held_against_one_submission() {
    let mut trip = Trip::of(vec![task("t0", b"x"), task("t1", b"y")], 0).await;
    let spec = trip.job.spec.clone();
    let first = trip.done(&spec, 0, 3, b"one").await;
    trip.submit(std::slice::from_ref(&first), 5);
    assert!(trip.fetch().await.contains("refuted: rental") && trip.fetch().await.contains("task t1 has no result"));

    let second = trip.done(&spec, 1, 4, b"two").await;
    assert_eq!((first.receipt.sequence, second.receipt.sequence), (0, 1), "no two are at one position");
    let both = [first.clone(), second.clone()];
    trip.submit(&both, 7);
    assert_eq!(trip.fetch().await, "");
    let home = |task: &str| fs::read(trip.job.out_dir.join(task).join("a.txt")).unwrap();
    assert_eq!((home("t0"), home("t1")), (b"one".to_vec(), b"two".to_vec()));
    trip.submit(&both, 8);
    assert!(trip.fetch().await.contains("8 s are billed, but the receipts are for 7 s"), "{}", trip.fetch().await);
    // The root commits to every receipt, and to their order.
    for other in [[second, first.clone()], [first.clone(), first]] {
        trip.submit(&other, 7);
        assert!(trip.fetch().await.starts_with("refuted: "), "{}", trip.fetch().await);
    }
}

#[tokio::test]
async fn tasks_ride_in_a_rental_that_is_kept_for_them() {
    let mut trip = Trip::of(vec![task("t0", b"x")], 30).await;
    let (host, minute) = (trip.job.clone(), Duration::from_secs(60));
    let rider = job(spec(&[b"more"]), trip.plane.folder.path().join("rider"));
    fs::create_dir_all(intake::inputs_dir(&trip.courier.jobs_dir, rider.spec_hash)).unwrap();
    fs::write(intake::input_path(&trip.courier.jobs_dir, rider.spec_hash, sha256(b"more")), b"more").unwrap();
    let early = trip.attend(&rider, minute).await.unwrap_err();
    assert!(matches!(&early, ErrandError::LeftOut(text) if text.contains("only while it runs")), "{early}");

    trip.plane.change(trip.row.id, |access| access.status = Status::Running);
    // Before there is anything, time may be over.
    let none = trip.attend(&host, Duration::ZERO).await.unwrap_err();
    assert!(matches!(&none, ErrandError::Retry(text) if text.contains("no result of these tasks")), "{none}");
    let own = trip.done(&host.spec, 0, 3, b"own").await;
    assert_eq!(trip.attend(&host, minute).await.unwrap().files.len(), 1, "before its rental ends");

    let ridden = {
        let awaited = trip.attend(&rider, minute);
        let worked = async {
            let until = tokio::time::Instant::now() + minute;
            loop {
                let files = trip.plane.store.rental(trip.row.id).await.unwrap();
                if files.pushed.first().is_some_and(|pushed| pushed.is_complete) {
                    break;
                }
                assert!(tokio::time::Instant::now() < until, "nothing was pushed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            trip.done(&rider.spec, 0, 2, b"ridden").await
        };
        let (brought, ridden) = tokio::join!(awaited, worked);
        assert_eq!(brought.unwrap().files.len(), 1);
        ridden
    };
    assert_eq!(fs::read(rider.out_dir.join("a.txt")).unwrap(), b"ridden");
    // Once brought it is brought again, whatever became of the rental; a stranger's signature brings nothing.
    assert!(trip.attend(&rider, Duration::ZERO).await.is_ok());
    let stranger = trip.courier.attend(&trip.row, &trip.plane.endpoint, &[PROVIDER], &rider, minute).await.unwrap_err();
    assert!(matches!(stranger, ErrandError::Refuted(_)), "{stranger}");

    assert!(!trip.plane.store.seal(trip.row.id, 0).await.unwrap(), "one was pushed meanwhile");
    assert!(trip.plane.store.seal(trip.row.id, 1).await.unwrap());
    let late = job(spec(&[b"late"]), trip.plane.folder.path().join("late"));
    let left_out = trip.attend(&late, minute).await.unwrap_err();
    assert!(matches!(&left_out, ErrandError::LeftOut(text) if text.contains("without these tasks")), "{left_out}");
    // All of it, and the waits that were asked for, is held against the submission.
    trip.submit(&[own.clone(), ridden.clone()], 65);
    assert_eq!(trip.fetch().await, "");
    trip.submit(&[own.clone(), ridden], 66);
    assert!(trip.fetch().await.contains("60 s of waiting"), "{}", trip.fetch().await);
    trip.submit(&[own], 5);
    assert!(trip.fetch().await.contains("not those whose hash"), "{}", trip.fetch().await);
}
