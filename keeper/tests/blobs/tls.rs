//! The data plane over TLS: trusted certificates, strangers', renewed ones, and half a handshake.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use keeper::{
    blobs::{Client, ClientError, Reach, Roots, ServerConfig, ServerLimits, ServerState, Tls, serve},
    spec::sha256,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::support::{Plane, auth, id, noise, spec};

const SOON: Duration = Duration::from_secs(20);

/// A new certificate for `localhost` in `folder`, which is its own root.
fn certify(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

/// The plane's store behind TLS as well; its port. It ends when the sender goes.
async fn serve_tls(plane: &Plane, tls: Tls, limits: ServerLimits) -> (u16, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (events, mut inbox) = mpsc::channel(64);
    let config = ServerConfig { limits, ..plane.config() };
    let state = ServerState::new(config, plane.store.clone(), plane.access(), events);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    tokio::spawn(serve(listener, Some(tls), state, async {
        let _ = stopped.await;
    }));
    (port, stop)
}

/// Goes to this machine alone, and only with TLS.
fn reach(ca: Option<&Path>) -> Reach {
    let mut reach = Reach { private: true, ..Reach::default() };
    if let Some(ca) = ca {
        reach.roots.trust(ca).unwrap();
    }
    reach
}

async fn connect(plane: &Plane, host: &str, port: u16, ca: Option<&Path>) -> Client {
    Client::connect(&format!("https://{host}:{port}"), &reach(ca), auth(&plane.agent)).await.unwrap()
}

#[tokio::test]
async fn work_and_results_travel_over_tls_to_the_one_who_is_meant() {
    let plane = Plane::start().await;
    let (certificate, key) = certify(plane.folder.path());
    let tls = Tls::open(&certificate, &key).unwrap();
    let (port, _stop) = serve_tls(&plane, tls, ServerLimits::default()).await;
    let input = noise(300_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.rent(1, &spec);
    let file = plane.file("input", &input);
    let client = connect(&plane, "localhost", port, Some(&certificate)).await;
    client.push(rental, &spec.to_bytes(), &spec, |_| file.clone()).await.unwrap();
    assert_eq!(fs::read(plane.store.blob_path(&sha256(&input))).unwrap(), input);
    let output = noise(300_000, 2);
    let manifest = plane.publish(rental, &spec, &output).await;
    let paths = client.outputs(rental, &manifest, &plane.folder.path().join("home"), 1 << 20).await.unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), output);

    // Neither a certificate that nobody trusts, nor one for another name, nor a server without one.
    let stranger = connect(&plane, "localhost", port, None).await;
    let misnamed = connect(&plane, "127.0.0.1", port, Some(&certificate)).await;
    let plain: u16 = plane.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let unprotected = connect(&plane, "localhost", plain, Some(&certificate)).await;
    let (stranger, misnamed, unprotected) =
        tokio::join!(stranger.status(rental), misnamed.status(rental), unprotected.status(rental));
    for error in [stranger.unwrap_err(), misnamed.unwrap_err(), unprotected.unwrap_err()] {
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
    let error = Client::connect(&plane.endpoint, &reach(None), auth(&plane.agent)).await.unwrap_err();
    assert!(error.to_string().contains("agent.allow_plain_http"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let plane = Plane::start().await;
    let rental = plane.rent(1, &spec(&[b"x"]));
    let (certificate, key) = certify(plane.folder.path());
    let (port, _stop) = serve_tls(&plane, Tls::open(&certificate, &key).unwrap(), ServerLimits::default()).await;
    connect(&plane, "localhost", port, Some(&certificate)).await.status(rental).await.unwrap();

    certify(plane.folder.path());
    let until = Instant::now() + SOON;
    let renewed = connect(&plane, "localhost", port, Some(&certificate)).await;
    while renewed.status(rental).await.is_err() {
        assert!(Instant::now() < until, "the new certificate is never used");
    }
    // Half a renewal: the key is another's. What was good stays in use, also after the files were looked at again.
    let good = fs::read(&key).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for broken in [other.signing_key.serialize_pem().into_bytes(), b"nothing".to_vec()] {
        fs::write(&key, broken).unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        for _ in 0..2 {
            connect(&plane, "localhost", port, Some(&certificate)).await.status(rental).await.unwrap();
        }
    }
    fs::write(&key, good).unwrap();
    connect(&plane, "localhost", port, Some(&certificate)).await.status(rental).await.unwrap();
}

#[tokio::test]
async fn half_a_handshake_holds_nothing() {
    let plane = Plane::start().await;
    let (certificate, key) = certify(plane.folder.path());
    let limits = ServerLimits { header_time: Duration::from_secs(1), connections: 1, ..Default::default() };
    let (port, _stop) = serve_tls(&plane, Tls::open(&certificate, &key).unwrap(), limits).await;
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The beginning of a greeting that never goes on.
    silent.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    let rental = plane.rent(1, &spec(&[b"x"]));
    let honest = connect(&plane, "localhost", port, Some(&certificate)).await;
    timeout(SOON, honest.status(rental)).await.expect("the silent one is let go").unwrap();
    drop(honest);
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(format!("GET /v1/rentals/{} HTTP/1.1\r\nhost: x\r\n\r\n", id(1)).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut answer)).await.expect("plain HTTP is let go");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "nothing is said in the clear");
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certify(folder.path());
    let none = folder.path().join("none.pem");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (_, others_key) = certify(&other);
    let check = |certificate: &Path, key: &Path, named: &Path, remedy: &str| {
        let error = Tls::open(certificate, key).unwrap_err().to_string();
        assert!(error.contains(&named.display().to_string()) && error.contains(remedy), "{error}");
    };
    check(&none, &key, &none, "provider.tls");
    check(&certificate, &none, &none, "provider.tls");
    check(&empty, &key, &empty, "no certificate");
    check(&certificate, &empty, &empty, "no private key");
    check(&certificate, &certificate, &certificate, "no private key");
    check(&key, &key, &key, "no certificate");
    check(&certificate, &others_key, &others_key, "the key must be the certificate's");
    for bad in [&none, &empty, &key] {
        let error = Roots::default().trust(bad).unwrap_err().to_string();
        assert!(error.contains(&bad.display().to_string()) && error.contains("agent.extra_ca"), "{error}");
    }
}
