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
    act::errands::{Courier, ErrandError},
    blobs::{Reach, ResultDocument},
    intake,
    job::{Job, JobId, JobState, Priority},
    spec::{Receipt, RentalSpec, Statement, sha256},
};

use crate::support::{CHAIN, MARKET, PROVIDER, Plane, id, noise, result, spec};

/// A plane, an agent with a job, and the provider's key.
struct Trip {
    plane: Plane,
    courier: Courier,
    job: Job,
    row: AgreementRow,
    key: PrivateKeySigner,
}

impl Trip {
    async fn new(input: &[u8]) -> Self {
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
            min_billed_s: 5,
            jobs_dir,
        };
        let out_dir = plane.folder.path().join("home");
        let (job, row) = (job(spec, out_dir), row(plane.agent.address(), spec_hash));
        Self { plane, courier, job, row, key: PrivateKeySigner::random() }
    }

    /// The result over one output, signed, as the provider serves it; and the row says that it was submitted.
    async fn finish(&mut self, output: &[u8], change: impl FnOnce(&mut ResultDocument)) -> ResultDocument {
        let (mut document, _) = result(self.row.id, &self.job.spec, &[("a.txt", output)]);
        change(&mut document);
        let signed = Statement::sign(document.receipt.clone(), &self.key).unwrap();
        document.receipt_signature = signed.signature;
        let out = self.plane.folder.path().join("out");
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("a.txt"), output).unwrap();
        self.plane.store.publish_result(self.row.id, document.clone(), &out).await.unwrap();
        self.row.submitted = Some(Submitted {
            billable_s: 5,
            result_hash: document.receipt.result_hash,
            receipt_root: document.receipt.digest(),
            challenge_end_s: u64::MAX,
            receipts: true,
            preempted: false,
            cancelled: false,
            block: 9,
            time_s: 0,
        });
        document
    }

    /// What comes of the trip: "" if the result holds.
    async fn fetch(&self) -> String {
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
    let signers = [trip.key.address()];
    let heard = trip.courier.heartbeats(&trip.row, &trip.plane.endpoint, &signers).await.unwrap();
    assert_eq!(heard, [beat(0), beat(1), beat(2)]);
    let error = trip.courier.heartbeats(&trip.row, &trip.plane.endpoint, &[PROVIDER]).await.unwrap_err();
    assert!(matches!(&error, ErrandError::Refuted(text) if text.contains("not signed by")), "{error}");

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
    assert!(trip.fetch().await.starts_with("refuted: ") && trip.fetch().await.contains("not the one whose hash"));
    trip.row.submitted = Some(Submitted { result_hash: B256::ZERO, ..submitted.clone() });
    assert!(trip.fetch().await.starts_with("refuted: "));
    trip.row.submitted = Some(Submitted { billable_s: 6, ..submitted.clone() });
    assert!(trip.fetch().await.contains("6 s are billed"), "{}", trip.fetch().await);
    trip.row.submitted = Some(submitted);
    let key = std::mem::replace(&mut trip.key, PrivateKeySigner::random());
    assert!(trip.fetch().await.contains("not signed by the provider"), "{}", trip.fetch().await);
    trip.key = key;

    // Every part of the document is bound.
    let changes: [fn(&mut ResultDocument); 4] = [
        |it| it.exit_code = 1,
        |it| it.manifest.push(' '),
        |it| it.receipt.seconds += 1,
        |it| it.receipt.result_hash = B256::ZERO,
    ];
    let out = trip.plane.folder.path().join("out");
    for change in changes {
        let mut forged = good.clone();
        change(&mut forged);
        trip.plane.store.publish_result(trip.row.id, forged, &out).await.unwrap();
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
