//! Work and results by way of a bucket: in memory and on disk, whole and cut off, true and false.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::primitives::Bytes;
use contracts::{bindings::Status, ids::AgreementId};
use futures_util::StreamExt;
use keeper::{
    blobs::{
        BlobEvent, RentalAccess, Store, StoreError,
        bucket::{Bucket, BucketError, Mirror, Rentals, Standing},
    },
    spec::{InputRef, MAX_SPEC_BYTES, sha256},
};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{LIMITS, PROVIDER, id, noise, only, result, spec};

const AGENT: alloy::primitives::Address = alloy::primitives::Address::repeat_byte(1);

/// An agent's files, a provider's store, and a bucket between them.
struct Post {
    folder: TempDir,
    objects: Arc<dyn ObjectStore>,
    bucket: Bucket,
    store: Store,
}

impl Post {
    async fn new(objects: Option<Arc<dyn ObjectStore>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = objects.unwrap_or_else(|| {
            std::fs::create_dir(folder.path().join("bucket")).unwrap();
            Arc::new(
                LocalFileSystem::new_with_prefix(folder.path().join("bucket")).unwrap().with_automatic_cleanup(true),
            )
        });
        let bucket = Bucket::new(objects.clone(), "market/provider");
        let store = Store::open(&folder.path().join("store"), LIMITS).await.unwrap();
        Self { folder, objects, bucket, store }
    }

    fn blob(&self, inputs: &[Vec<u8>]) -> impl Fn(&InputRef) -> PathBuf + use<> {
        let folder = self.folder.path().to_owned();
        for input in inputs {
            std::fs::write(folder.join(hex::encode(sha256(input))), input).unwrap();
        }
        move |input| folder.join(hex::encode(input.sha256))
    }

    async fn put(&self, rental: AgreementId, name: &str, bytes: &[u8]) {
        let path = format!("market/provider/{rental}/{name}").into();
        self.objects.put(&path, bytes.to_vec().into()).await.unwrap();
    }
}

fn signature() -> Bytes {
    Bytes::from_static(&[1, 2, 3])
}

async fn there_and_back(post: Post) {
    let inputs = [noise(1_000, 1), noise(200_000, 2)];
    let spec = spec(&[&inputs[0], &inputs[1]]);
    let (rental, spec_hash) = (id(1), sha256(&spec.to_bytes()));
    let collect = async || post.bucket.collect(rental, AGENT, spec_hash, &post.store).await;
    assert_eq!(collect().await.unwrap(), None, "nothing is there yet");
    assert!(post.bucket.result(rental).await.unwrap_err().is_missing());

    let blob = post.blob(&inputs);
    for _ in 0..2 {
        post.bucket.deliver(rental, &spec.to_bytes(), &spec, &blob, &signature()).await.unwrap();
    }
    // One input was half here already.
    post.store.accept_spec(rental, AGENT, spec_hash, &spec.to_bytes()).await.unwrap();
    let mut upload = post.store.begin(rental, sha256(&inputs[1]), 0).await.unwrap().unwrap();
    upload.write(&inputs[1][..150_000]).await.unwrap();
    drop(upload);
    let signed = BlobEvent::Countersigned { rental, signature: signature() };
    let events = Some([BlobEvent::SpecReady { rental }, BlobEvent::InputsComplete { rental }, signed]);
    for _ in 0..2 {
        assert_eq!(collect().await.unwrap(), events);
    }
    let files = post.store.rental(rental).await.unwrap();
    assert_eq!((files.spec, files.missing.len(), files.countersignature), (Some(spec.clone()), 0, Some(signature())));
    for input in &inputs {
        assert_eq!(std::fs::read(post.store.blob_path(&sha256(input))).unwrap(), *input);
    }

    let outputs: [(&str, &[u8]); 3] = [("a.txt", &noise(80_000, 5)), ("d/b.txt", &noise(10, 6)), ("d/empty", b"")];
    let (document, manifest) = result(rental, &spec, &outputs);
    let out = post.folder.path().join("out");
    std::fs::create_dir_all(out.join("d")).unwrap();
    for (path, bytes) in outputs {
        std::fs::write(out.join(path), bytes).unwrap();
    }
    post.store.publish_task(rental, document.clone(), &out).await.unwrap();
    for _ in 0..2 {
        post.bucket.publish(rental, &only(&document, true), &post.store).await.unwrap();
    }
    assert_eq!(post.bucket.result(rental).await.unwrap(), only(&document, true));
    let home = post.folder.path().join("home");
    for _ in 0..2 {
        let paths = post.bucket.outputs(rental, &manifest, &home, 1 << 20).await.unwrap();
        for (path, (name, bytes)) in paths.iter().zip(outputs) {
            assert_eq!((path, std::fs::read(path).unwrap()), (&home.join(name), bytes.to_vec()));
        }
        std::fs::write(home.join("a.txt"), "changed").unwrap();
    }
    assert!(post.bucket.outputs(rental, &manifest, &home, 100).await.is_err());
    assert_eq!(post.bucket.rentals().await.unwrap(), [rental]);
    post.bucket.clear(rental).await.unwrap();
    assert!(post.bucket.result(rental).await.unwrap_err().is_missing());
    assert_eq!(post.objects.list(None).collect::<Vec<_>>().await.len(), 0);
}

#[tokio::test]
async fn work_and_results_go_by_a_bucket_in_memory() {
    there_and_back(Post::new(Some(Arc::new(InMemory::new()))).await).await;
}

#[tokio::test]
async fn work_and_results_go_by_a_bucket_on_disk() {
    there_and_back(Post::new(None).await).await;
}

#[tokio::test]
async fn what_others_put_there_is_not_believed() {
    let post = Post::new(Some(Arc::new(InMemory::new()))).await;
    let inputs = [noise(1_000, 1)];
    let spec = spec(&[&inputs[0]]);
    let (rental, spec_hash) = (id(1), sha256(&spec.to_bytes()));
    let collect = async || post.bucket.collect(rental, AGENT, spec_hash, &post.store).await.unwrap_err();
    let input = format!("blobs/{}", hex::encode(sha256(&inputs[0])));

    post.put(rental, "countersignature", &[b' '; 9_000]).await;
    assert!(matches!(collect().await, BucketError::Content { what, .. } if what.contains("8192")));
    post.put(rental, "countersignature", b"{}").await;
    assert!(matches!(collect().await, BucketError::Content { what, .. } if what.contains("countersignature")));
    post.put(rental, "countersignature", br#"{"signature":"0x010203"}"#).await;
    assert!(collect().await.is_missing(), "the spec is not there");
    post.put(rental, "spec", &vec![b' '; MAX_SPEC_BYTES + 1]).await;
    assert!(matches!(collect().await, BucketError::Content { what, .. } if what.contains("more than")));
    post.put(rental, "spec", b"{}").await;
    assert!(matches!(collect().await, BucketError::Store(StoreError::WrongHash { .. })));
    assert!(post.store.rental(rental).await.is_none());
    post.put(rental, "spec", &spec.to_bytes()).await;
    assert!(collect().await.is_missing(), "the input is not there");
    post.put(rental, &input, &noise(1_001, 1)).await;
    assert!(matches!(collect().await, BucketError::Content { what, .. } if what.contains("1001 bytes, not 1000")));
    post.put(rental, &input, &noise(1_000, 2)).await;
    assert!(matches!(collect().await, BucketError::Store(StoreError::WrongHash { .. })));
    assert!(!post.store.has(&sha256(&inputs[0])).await);
    assert_eq!(post.store.rental(rental).await.unwrap().countersignature, None, "it counts when all is here");
    post.put(rental, &input, &inputs[0]).await;
    assert!(post.bucket.collect(rental, AGENT, spec_hash, &post.store).await.unwrap().is_some());

    let (document, manifest) = result(rental, &spec, &[("a.txt", &noise(500, 7))]);
    post.put(rental, "result", b"not json").await;
    assert!(matches!(post.bucket.result(rental).await, Err(BucketError::Content { .. })));
    post.put(rental, "result", &serde_json::to_vec(&document).unwrap()).await;
    let output = format!("outputs/{}", hex::encode(sha256(&noise(500, 7))));
    let home = post.folder.path().join("home");
    for false_bytes in [noise(500, 8), noise(501, 7), noise(499, 7)] {
        post.put(rental, &output, &false_bytes).await;
        let error = post.bucket.outputs(rental, &manifest, &home, 1 << 20).await.unwrap_err();
        assert!(matches!(&error, BucketError::Content { what, .. } if what.contains("a.txt")), "{error}");
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "nothing is left");
    }
    let mut outside = manifest.clone();
    outside.files[0].path = "../a".into();
    assert!(post.bucket.outputs(rental, &outside, &home, 1 << 20).await.is_err());
}

#[tokio::test]
async fn a_mirror_takes_work_in_gives_results_out_and_clears_what_is_over() {
    let post = Post::new(None).await;
    let inputs = [noise(1_000, 1)];
    let spec = spec(&[&inputs[0]]);
    let (rental, spec_hash) = (id(1), sha256(&spec.to_bytes()));
    let access = RentalAccess {
        agent: AGENT,
        provider: PROVIDER,
        offer: 3,
        here: true,
        status: Status::Confirmed,
        spec_hash,
        open_until_unix_s: u64::MAX,
    };
    let over = Arc::new(Mutex::new(false));
    let rentals = Rentals {
        live: Box::new(move || vec![rental, id(2)]),
        standing: Box::new({
            let over = over.clone();
            move |asked| match (asked == rental, *over.lock().unwrap()) {
                (true, false) => Standing::Waiting(access.clone()),
                (true, true) => Standing::Over,
                _ => Standing::Other,
            }
        }),
    };
    let (events, mut inbox) = mpsc::channel(64);
    let every = Duration::from_millis(50);
    let (bucket, store) = (post.bucket.clone(), post.store.clone());
    let score = tokio::sync::watch::Sender::new(None);
    let mirror = Mirror { bucket, store, rentals, score: score.subscribe(), events, every, clear_every: every };
    let stop = CancellationToken::new();
    let running = tokio::spawn(mirror.run(stop.clone()));

    post.put(id(2), "countersignature", br#"{"signature":"0x01"}"#).await;
    let blob = post.blob(&inputs);
    post.bucket.deliver(rental, &spec.to_bytes(), &spec, &blob, &signature()).await.unwrap();
    assert_eq!(inbox.recv().await, Some(BlobEvent::SpecReady { rental }));
    assert_eq!(inbox.recv().await, Some(BlobEvent::InputsComplete { rental }));
    assert_eq!(inbox.recv().await, Some(BlobEvent::Countersigned { rental, signature: signature() }));
    assert!(post.store.rental(id(2)).await.is_none(), "it waits for nothing");

    let (document, _) = result(rental, &spec, &[("a.txt", &noise(500, 7))]);
    let out = post.folder.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("a.txt"), noise(500, 7)).unwrap();
    post.store.publish_task(rental, document.clone(), &out).await.unwrap();
    assert!(post.store.seal(rental, 0).await.unwrap());
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while post.bucket.result(rental).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "the result never comes");
        tokio::time::sleep(every).await;
    }
    assert_eq!(post.bucket.result(rental).await.unwrap(), only(&document, true));

    // The score goes there too, and a newer one in its place.
    let key = alloy::signers::local::PrivateKeySigner::random();
    for took_ms in [5_000, 2_500] {
        let stated = crate::score::scored(&key, took_ms);
        score.send_replace(Some(stated.clone()));
        while post.bucket.score().await.ok().as_ref() != Some(&stated) {
            assert!(tokio::time::Instant::now() < until, "the score never comes");
            tokio::time::sleep(every).await;
        }
    }

    post.store.release(rental).await.unwrap();
    *over.lock().unwrap() = true;
    while post.bucket.rentals().await.unwrap() != [id(2)] {
        assert!(tokio::time::Instant::now() < until, "what is over stays");
        tokio::time::sleep(every).await;
    }
    assert!(inbox.try_recv().is_err(), "what is here is told once");
    stop.cancel();
    running.await.unwrap();
}

/// Against an S3-compatible service: `OPENCLAW_TEST_S3` is its URL, and any keys are good there.
#[tokio::test]
#[ignore = "needs an S3-compatible service at OPENCLAW_TEST_S3"]
async fn work_and_results_go_by_an_s3_bucket() {
    let service = std::env::var("OPENCLAW_TEST_S3").expect("OPENCLAW_TEST_S3 is the URL of an S3-compatible service");
    let name = format!("openclaw-{:016x}", rand::random::<u64>());
    let made = reqwest::Client::new().put(format!("{service}/{name}")).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let s3 = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(&service)
        .with_allow_http(true)
        .with_bucket_name(&name)
        .with_region("us-east-1")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .build()
        .unwrap();
    there_and_back(Post::new(Some(Arc::new(s3))).await).await;
}
