//! An agent's client against a real server, an absent one, and one that lies.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use alloy::{primitives::Bytes, signers::local::PrivateKeySigner};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use keeper::{
    blobs::{Client, ClientError, PushReport, Reach},
    spec::{InputRef, Receipt, Statement, sha256},
};
use tokio::net::TcpListener;

use crate::support::{Plane, auth, id, noise, only, result, spec};

#[tokio::test]
async fn work_goes_there_and_results_come_back() {
    let plane = Plane::start().await;
    let inputs = [noise(100_000, 1), noise(1, 2), noise(100_000, 1)];
    let spec = spec(&[&inputs[0], &inputs[1], &inputs[2]]);
    let rental = plane.rent(1, &spec);
    for input in &inputs {
        plane.file(&hex::encode(sha256(input)), input);
    }
    let blob = |input: &InputRef| plane.folder.path().join(hex::encode(input.sha256));
    let client = plane.client().await;
    let report = client.push(rental, &spec.to_bytes(), &spec, blob).await.unwrap();
    assert_eq!(report, PushReport { uploaded: 2, sent_bytes: 100_001 });
    assert_eq!(client.push(rental, &spec.to_bytes(), &spec, blob).await.unwrap(), PushReport::default());
    client.countersign(rental, &Bytes::from_static(&[1, 2, 3])).await.unwrap();
    assert!(client.status(rental).await.unwrap().countersigned);

    let error = client.result(rental, sha256(&spec.to_bytes())).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }) && error.is_retryable(), "{error}");
    let outputs: [(&str, &[u8]); 3] = [("a.txt", &noise(80_000, 5)), ("d/b.txt", &noise(10, 6)), ("d/empty", b"")];
    let (document, manifest) = result(rental, &spec, &outputs);
    let out = plane.folder.path().join("out");
    fs::create_dir_all(out.join("d")).unwrap();
    for (path, bytes) in outputs {
        fs::write(out.join(path), bytes).unwrap();
    }
    plane.store.publish_task(rental, document.clone(), &out).await.unwrap();
    assert_eq!(client.result(rental, sha256(&spec.to_bytes())).await.unwrap(), only(&document, false));
    let error = client.result(rental, sha256(b"another")).await.unwrap_err();
    assert!(matches!(error, ClientError::Content { .. }), "{error}");

    let folder = plane.folder.path().join("home");
    for _ in 0..2 {
        let paths = client.outputs(rental, &manifest, &folder, 1 << 20).await.unwrap();
        for (path, (name, bytes)) in paths.iter().zip(outputs) {
            assert_eq!((path, fs::read(path).unwrap()), (&folder.join(name), bytes.to_vec()));
        }
        // A file that somebody changed meanwhile is fetched again.
        fs::write(folder.join("a.txt"), "changed").unwrap();
    }
    let error = client.outputs(rental, &manifest, &folder, 100).await.unwrap_err();
    assert!(error.to_string().contains("at most 100"), "{error}");
}

#[tokio::test]
async fn signs_of_life_are_served_to_the_agent() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.delivered(1, &spec).await;
    let client = plane.client().await;
    assert_eq!(client.statements(rental).await.unwrap(), []);
    let key = PrivateKeySigner::random();
    let hash = sha256(&spec.to_bytes());
    let mut stated = Vec::new();
    for sequence in 0..3 {
        let receipt = Receipt::heartbeat(rental, "t0".into(), hash, sequence * 10, sequence);
        stated.push(Statement::sign(receipt, &key).unwrap());
        plane.store.keep_statement(stated[stated.len() - 1].clone()).await.unwrap();
    }
    let served = client.statements(rental).await.unwrap();
    assert_eq!(served, stated);
    assert!(served.iter().all(|stated| stated.signer() == Some(key.address())));
    // Not those of other work under the same id, and not to anybody else.
    plane.change(rental, |access| access.spec_hash = sha256(b"another"));
    assert_eq!(client.statements(rental).await.unwrap(), []);
    let stranger = Client::connect(&plane.endpoint, &Reach::demo(), auth(&PrivateKeySigner::random())).await.unwrap();
    let error = stranger.statements(rental).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{error}");
}

#[tokio::test]
async fn an_upload_resumes_and_a_changed_file_is_named() {
    let mut plane = Plane::start().await;
    let input = noise(100_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.delivered(1, &spec).await;
    let file = plane.file("input", &input);
    let mut upload = plane.store.begin(rental, sha256(&input), 0).await.unwrap().unwrap();
    upload.write(&input[..60_000]).await.unwrap();
    drop(upload);
    plane.restart().await;
    let client = plane.client().await;
    let mut changed = input.clone();
    changed[99_999] ^= 1;
    fs::write(&file, &changed).unwrap();
    let error = client.push(rental, &spec.to_bytes(), &spec, |_| file.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::Input { .. }), "{error}");
    fs::write(&file, &input[1..]).unwrap();
    let error = client.push(rental, &spec.to_bytes(), &spec, |_| file.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::Input { .. }), "{error}");
    fs::write(&file, &input).unwrap();
    let mut upload = plane.store.begin(rental, sha256(&input), 0).await.unwrap().unwrap();
    upload.write(&input[..60_000]).await.unwrap();
    drop(upload);
    let report = client.push(rental, &spec.to_bytes(), &spec, |_| file.clone()).await.unwrap();
    assert_eq!(report, PushReport { uploaded: 1, sent_bytes: 40_000 });
}

#[tokio::test]
async fn a_provider_that_is_away_is_named_and_one_that_comes_back_is_found() {
    let mut plane = Plane::start().await;
    let rental = plane.rent(1, &spec(&[b"x"]));
    let client = plane.client().await;
    let address = plane.endpoint.trim_start_matches("http://").to_owned();
    plane.shut_down().await;
    let back = tokio::spawn({
        let client = client.clone();
        async move { client.status(rental).await }
    });
    // The first attempt meets a closed port; a later one meets the server.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let listener = TcpListener::bind(&address).await.unwrap();
    let (events, _inbox) = tokio::sync::mpsc::channel(1);
    let state = keeper::blobs::ServerState::new(plane.config(), plane.store.clone(), plane.access(), events);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(keeper::blobs::serve(listener, None, state, async {
        let _ = stopped.await;
    }));
    assert!(!back.await.unwrap().unwrap().have_spec);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    let error = client.status(rental).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn private_endpoints_are_refused_outside_the_demo() {
    let plane = Plane::start().await;
    let reach = Reach { plain_http: true, ..Reach::default() };
    let error = Client::connect(&plane.endpoint, &reach, auth(&PrivateKeySigner::random())).await.unwrap_err();
    assert!(error.to_string().contains("a loopback address"), "{error}");
}

/// A provider that answers as the test wants.
async fn liar(router: Router) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::connect(&endpoint, &Reach::demo(), auth(&PrivateKeySigner::random())).await.unwrap()
}

#[tokio::test]
async fn what_a_lying_provider_sends_is_not_kept() {
    let content = noise(1_000, 1);
    let (_, manifest) = result(id(1), &spec(&[b"x"]), &[("a", &content)]);
    let folder = tempfile::tempdir().unwrap();
    let check = async |answer: Vec<u8>, words: &str| {
        let client = liar(Router::new().fallback(get(move || async move { answer }))).await;
        let error = client.outputs(id(1), &manifest, folder.path(), 1 << 20).await.unwrap_err();
        assert!(matches!(&error, ClientError::Content { .. }) && error.to_string().contains(words), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    };
    check(noise(1_000, 2), "not 1000 of").await;
    check(noise(2_000, 1), "more than 1000 bytes").await;
    check(noise(999, 1), "999 bytes").await;

    for path in ["../a", "/etc/a", "d/../../a", "a\u{1b}"] {
        let mut manifest = manifest.clone();
        manifest.files[0].path = path.into();
        let client = liar(Router::new()).await;
        let error = client.outputs(id(1), &manifest, folder.path(), 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed_and_endless_answers_end() {
    let redirect = || async { (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]) };
    let error = liar(Router::new().fallback(get(redirect))).await.status(id(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 302, .. }), "{error}");
    let endless = || async {
        Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16])))
    };
    let error = liar(Router::new().fallback(get(endless))).await.status(id(1)).await.unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    let packed = || async { ([("content-encoding", "gzip")], "{}") };
    let error = liar(Router::new().fallback(get(packed))).await.status(id(1)).await.unwrap_err();
    assert!(error.to_string().contains("content-encoding"), "{error}");
    let rude = || async {
        (
            StatusCode::FORBIDDEN,
            axum::Json(serde_json::json!({
                "status": 403, "title": "no", "detail": format!("\u{1b}[31m{}", "x".repeat(5_000)),
            })),
        )
    };
    let error = liar(Router::new().fallback(get(rude))).await.status(id(1)).await.unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.len() < 800, "{error}");
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut_off() {
    let content = noise(50_000, 1);
    let (_, manifest) = result(id(1), &spec(&[b"x"]), &[("a", &content)]);
    let calls = Arc::new(AtomicUsize::new(0));
    let served = content.clone();
    let flaky = async move |State(calls): State<Arc<AtomicUsize>>, headers: HeaderMap| {
        let start = headers.get("range").map_or(0, |range| {
            range.to_str().unwrap().trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
        });
        let body = &served[start..];
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            // Promises all and breaks off in the middle.
            let pieces = [Ok(body[..20_000].to_vec()), Err(std::io::Error::other("gone"))];
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            return ([("content-length", "50000")], body).into_response();
        }
        let range = format!("bytes {start}-49999/50000");
        (StatusCode::PARTIAL_CONTENT, [("content-range", range)], body.to_vec()).into_response()
    };
    let client = liar(Router::new().fallback(get(flaky)).with_state(calls.clone())).await;
    let folder = tempfile::tempdir().unwrap();
    let paths = client.outputs(id(1), &manifest, folder.path(), 1 << 20).await.unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), content);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
