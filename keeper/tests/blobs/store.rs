//! What the store keeps, shares, bounds and clears.

use std::{fs, path::Path};

use alloy::{
    primitives::{Address, Bytes},
    signers::local::PrivateKeySigner,
};
use keeper::{
    blobs::{Store, StoreError, StoreLimits},
    spec::{Receipt, RentalSpec, Statement, sha256},
};

use crate::support::{LIMITS, id, noise, only, result, spec};

async fn accept(store: &Store, number: u64, spec: &RentalSpec) {
    accept_of(store, AGENT, number, spec).await.unwrap();
}

const AGENT: Address = Address::repeat_byte(1);

async fn accept_of(store: &Store, agent: Address, number: u64, spec: &RentalSpec) -> Result<RentalSpec, StoreError> {
    store.accept_spec(id(number), agent, sha256(&spec.to_bytes()), &spec.to_bytes()).await
}

async fn put(store: &Store, number: u64, bytes: &[u8]) -> Result<(), StoreError> {
    if let Some(mut upload) = store.begin(id(number), sha256(bytes), 0).await? {
        upload.write(bytes).await?;
        upload.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_blob_that_two_rentals_need_is_there_once_and_goes_with_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    let shared = noise(1_000, 1);
    for number in [1, 2] {
        accept(&store, number, &spec(&[&shared])).await;
    }
    put(&store, 1, &shared).await.unwrap();
    assert!(store.rental(id(2)).await.unwrap().missing.is_empty(), "it is here for the second as well");
    assert_eq!(store.rentals().await, [id(1), id(2)]);
    store.release(id(1)).await.unwrap();
    assert!(store.has(&sha256(&shared)).await && store.rental(id(1)).await.is_none());
    // The same after a restart.
    drop(store);
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    assert!(store.has(&sha256(&shared)).await);
    store.release(id(2)).await.unwrap();
    store.release(id(2)).await.unwrap();
    assert!(!store.has(&sha256(&shared)).await);
    assert_eq!(files_under(folder.path()), 0);
}

#[tokio::test]
async fn space_is_bounded_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), StoreLimits { total_bytes: 10_000, ..LIMITS }).await.unwrap();
    let (first, second) = (noise(6_000, 1), noise(6_000, 2));
    accept(&store, 1, &spec(&[&first])).await;
    accept(&store, 2, &spec(&[&second])).await;
    // Space is set aside when an upload begins, and given back when it is cut off before anything came.
    let begun = store.begin(id(1), sha256(&first), 0).await.unwrap().unwrap();
    let error = put(&store, 2, &second).await.unwrap_err();
    assert!(matches!(&error, StoreError::Full(text) if text.contains("10000")), "{error}");
    drop(begun);
    put(&store, 2, &second).await.unwrap();
    // What has come of a cut-off upload takes space.
    store.release(id(2)).await.unwrap();
    let mut begun = store.begin(id(1), sha256(&first), 0).await.unwrap().unwrap();
    begun.write(&first[..5_000]).await.unwrap();
    drop(begun);
    accept(&store, 2, &spec(&[&second])).await;
    assert!(matches!(put(&store, 2, &second).await.unwrap_err(), StoreError::Full(_)));
    // Until its rental goes, or it turns out to be something else.
    let mut begun = store.begin(id(1), sha256(&first), 0).await.unwrap().unwrap();
    begun.write(&second).await.unwrap();
    assert!(matches!(begun.finish().await.unwrap_err(), StoreError::WrongHash { .. }));
    put(&store, 2, &second).await.unwrap();
    store.release(id(2)).await.unwrap();
    put(&store, 1, &first).await.unwrap();
}

#[tokio::test]
async fn one_agent_does_not_take_the_whole_store() {
    let folder = tempfile::tempdir().unwrap();
    let limits = StoreLimits { agent_rentals: 2, agent_bytes: 10_000, ..LIMITS };
    let store = Store::open(folder.path(), limits).await.unwrap();
    let (small, large) = (spec(&[&noise(1_000, 1)]), spec(&[&noise(9_500, 2)]));
    accept(&store, 1, &small).await;
    let error = accept_of(&store, AGENT, 2, &large).await.unwrap_err();
    assert!(matches!(&error, StoreError::Full(text) if text.contains("10000 are taken")), "{error}");
    accept(&store, 3, &small).await;
    let error = accept_of(&store, AGENT, 4, &small).await.unwrap_err();
    assert!(matches!(&error, StoreError::Full(text) if text.contains("2 rentals")), "{error}");
    // What is there already is no new rental, and others have shares of their own: also after a restart.
    accept(&store, 1, &small).await;
    drop(store);
    let store = Store::open(folder.path(), limits).await.unwrap();
    assert!(accept_of(&store, AGENT, 4, &small).await.is_err());
    accept_of(&store, Address::repeat_byte(2), 2, &large).await.unwrap();
    store.release(id(1)).await.unwrap();
    accept(&store, 4, &small).await;
}

#[tokio::test]
async fn one_rental_does_not_take_all_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    let inputs: Vec<_> = (0..5).map(|seed| noise(100, seed)).collect();
    let spec = spec(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for number in [1, 2] {
        accept(&store, number, &spec).await;
    }
    let mut begun = Vec::new();
    for input in &inputs[..4] {
        begun.push(store.begin(id(1), sha256(input), 0).await.unwrap().unwrap());
    }
    let error = store.begin(id(1), sha256(&inputs[4]), 0).await.unwrap_err();
    assert!(matches!(error, StoreError::TooMany { limit: 4, .. }), "{error}");
    put(&store, 2, &inputs[0]).await.unwrap();
    // Both were uploading the same blob; the second to finish changes nothing.
    let mut same = begun.remove(0);
    same.write(&inputs[0]).await.unwrap();
    same.finish().await.unwrap();
    put(&store, 1, &inputs[4]).await.unwrap();
}

#[tokio::test]
async fn results_are_published_again_after_a_kill_and_only_if_they_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), LIMITS).await.unwrap();
    let spec = spec(&[b"x"]);
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("d")).unwrap();
    let content = noise(500, 3);
    fs::write(out.join("d/a"), &content).unwrap();
    let (document, _) = result(id(1), &spec, &[("d/a", &content)]);
    let error = store.publish_task(id(1), document.clone(), &out).await.unwrap_err();
    assert!(error.to_string().contains("nothing was ever delivered"), "{error}");
    accept(&store, 1, &spec).await;
    for _ in 0..2 {
        store.publish_task(id(1), document.clone(), &out).await.unwrap();
    }
    drop(store);
    let store = Store::open(&folder.path().join("store"), LIMITS).await.unwrap();
    // The worker's folder may go: the store has its own.
    fs::remove_dir_all(&out).unwrap();
    assert_eq!(store.rental(id(1)).await.unwrap().result, Some(only(&document, false)));
    assert!(store.is_output(id(1), &sha256(&content)));
    assert_eq!(fs::read(store.blob_path(&sha256(&content))).unwrap(), content);

    accept(&store, 2, &spec).await;
    fs::create_dir_all(out.join("d")).unwrap();
    fs::write(out.join("d/a"), "not that").unwrap();
    let (wrong, _) = result(id(2), &spec, &[("d/a", &noise(500, 5))]);
    let error = store.publish_task(id(2), wrong, &out).await.unwrap_err();
    assert!(error.to_string().contains("d/a"), "{error}");
    assert_eq!(store.rental(id(2)).await.unwrap().result, None);
    let (outside, _) = result(id(2), &spec, &[("../store/x", b"x")]);
    let error = store.publish_task(id(2), outside, &out).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn statements_are_kept_in_order_and_few() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    let key = PrivateKeySigner::random();
    let work = spec(&[b"x"]);
    let state = |spec: &RentalSpec, sequence| {
        let hash = sha256(&spec.to_bytes());
        Statement::sign(Receipt::heartbeat(id(1), "t0".into(), hash, sequence * 10, sequence), &key).unwrap()
    };
    assert!(matches!(store.keep_statement(state(&work, 0)).await, Err(StoreError::NotReferenced { .. })));
    accept(&store, 1, &work).await;
    assert_eq!(store.next_sequence(id(1)).await.unwrap(), 0);
    for sequence in 0..40 {
        store.keep_statement(state(&work, sequence)).await.unwrap();
    }
    // No position is used twice, not even after a kill, and none is left out.
    drop(store);
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    for sequence in [0, 39, 41] {
        let error = store.keep_statement(state(&work, sequence)).await.unwrap_err();
        assert!(matches!(error, StoreError::Sequence { next: 40, .. }), "{error}");
    }
    assert_eq!(store.next_sequence(id(1)).await.unwrap(), 40);
    let kept = store.statements(id(1)).await.unwrap();
    assert_eq!((kept.len(), &kept[0], kept.last()), (32, &state(&work, 8), Some(&state(&work, 39))));
    // Another spec under the same id begins anew, and what is released is gone.
    let other = spec(&[b"y"]);
    assert!(store.keep_statement(state(&other, 40)).await.is_err());
    accept(&store, 1, &other).await;
    assert_eq!(store.next_sequence(id(1)).await.unwrap(), 0);
    store.keep_statement(state(&other, 0)).await.unwrap();
    store.release(id(1)).await.unwrap();
    assert_eq!(files_under(folder.path()), 0);
}

#[tokio::test]
async fn what_a_kill_left_half_done_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    let input = noise(1_000, 1);
    accept(&store, 1, &spec(&[&input])).await;
    store.put_countersignature(id(1), Bytes::from_static(&[1])).await.unwrap();
    let mut upload = store.begin(id(1), sha256(&input), 0).await.unwrap().unwrap();
    upload.write(&input[..10]).await.unwrap();
    drop(upload);
    drop(store);
    let orphan = folder.path().join("blobs/ab").join(format!("ab{}", "0".repeat(62)));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    for stray in [orphan, folder.path().join("tmp/half"), folder.path().join("rentals/broken.json")] {
        fs::write(stray, "x").unwrap();
    }
    let strange = folder.path().join("partial").join(id(9).to_string());
    fs::create_dir_all(&strange).unwrap();
    fs::write(strange.join("x"), "x").unwrap();

    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    assert_eq!(store.rental(id(1)).await.unwrap().missing[0].received, 10);
    assert_eq!(store.rental(id(1)).await.unwrap().countersignature, Some(Bytes::from_static(&[1])));
    assert_eq!(
        files_under(folder.path()),
        4,
        "record, spec, partial upload, and the unreadable record for a person to see"
    );
    // Uploads that nobody went on with are not kept for ever.
    drop(store);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(LIMITS.grace_s + 1);
    let partial = folder.path().join("partial").join(id(1).to_string()).join(hex::encode(sha256(&input)));
    fs::File::options().write(true).open(&partial).unwrap().set_modified(old).unwrap();
    let store = Store::open(folder.path(), LIMITS).await.unwrap();
    assert_eq!(store.rental(id(1)).await.unwrap().missing[0].received, 0);
    put(&store, 1, &input).await.unwrap();
}

fn files_under(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_under(&path) } else { 1 }).sum()
}
