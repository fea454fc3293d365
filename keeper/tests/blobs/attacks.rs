//! What an agent of a real rental, or a stranger, may try over a real socket.

use std::{sync::atomic::Ordering, time::Duration};

use alloy::{primitives::B128, signers::local::PrivateKeySigner};
use keeper::{
    blobs::{ServerLimits, StoreLimits},
    spec::sha256,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    server::check,
    support::{Call, LIMITS, Plane, hash_path, noise, spec},
};

/// What must happen happens within this time.
const SOON: Duration = Duration::from_secs(20);

/// Waits for `done`, which must come true soon.
async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done().await {
        assert!(Instant::now() < until, "it never came true");
        sleep(Duration::from_millis(10)).await;
    }
}

/// All that comes until the server ends the connection, which it must do soon.
async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = timeout(SOON, socket.read_to_end(&mut answer)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_is_served_once() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.rent(1, &spec);
    let path = format!("/v1/rentals/{rental}");
    let first = plane.call("GET", &path);
    let (nonce, expires) = (first.nonce, first.expires);
    check(first, 200, "confirmed").await;
    check(Call { nonce, expires, ..plane.call("GET", &path) }, 401, "served before").await;
    // The same for what writes.
    let put = format!("{path}/spec");
    let first = plane.call("PUT", &put).body(&spec.to_bytes());
    let (nonce, expires) = (first.nonce, first.expires);
    check(first, 204, "").await;
    let again = Call { nonce, expires, ..plane.call("PUT", &put).body(&spec.to_bytes()) };
    check(again, 401, &format!("nonce {nonce}")).await;
    check(plane.call("PUT", &put).body(&spec.to_bytes()), 204, "").await;
    // Of many copies at once, one is served.
    let nonce = B128::random();
    let copies = (0..8).map(|_| Call { nonce, expires, ..plane.call("GET", &path) }.send());
    let answers = futures_util::future::join_all(copies).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_flood_of_one_agents_requests_is_bounded() {
    let limits = ServerLimits { requests_per_agent: 5, ..Default::default() };
    let plane = Plane::with(limits, LIMITS).await;
    let rental = plane.rent(1, &spec(&[b"x"]));
    let path = format!("/v1/rentals/{rental}");
    for _ in 0..5 {
        check(plane.call("GET", &path), 200, "").await;
    }
    check(plane.call("GET", &path), 429, "made 5 requests").await;
    // A stranger's requests are not remembered, so they take nobody's place.
    let other = plane.rent(2, &spec(&[b"y"]));
    let friend = PrivateKeySigner::random();
    plane.change(other, |access| access.agent = friend.address());
    let path = format!("/v1/rentals/{other}");
    for _ in 0..10 {
        let call = Call { signer: PrivateKeySigner::random(), ..plane.call("GET", &path) };
        check(call, 403, "sign with that key").await;
    }
    check(Call { signer: friend, ..plane.call("GET", &path) }, 200, "confirmed").await;
}

#[tokio::test]
async fn packed_bodies_are_not_taken() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.rent(1, &spec);
    let path = format!("/v1/rentals/{rental}/spec");
    let put = || plane.call("PUT", &path).body(&spec.to_bytes());
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", ""] {
        check(put().header("content-encoding", encoding), 415, "as they are").await;
    }
    assert!(plane.store.rental(rental).await.is_none());
    check(put().header("content-encoding", "identity"), 204, "").await;
}

#[tokio::test]
async fn ranges_that_ask_for_too_much_are_refused() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let rental = plane.delivered(1, &spec).await;
    let output = noise(50_000, 4);
    plane.publish(rental, &spec, &output).await;
    let path = hash_path(rental, "outputs", sha256(&output));
    let many = format!("bytes={}", vec!["0-"; 1_000].join(","));
    for range in [
        "bytes=0-9,5-20",
        "bytes=0-,0-,0-",
        "bytes=-10",
        "bytes=20-10",
        "bytes=-1-5",
        "bytes=50000-",
        "bytes=18446744073709551615-",
        "bytes=18446744073709551616-",
        "bytes=99999999999999999999999999-",
        &many,
    ] {
        let response = plane.call("GET", &path).header("range", range).response().await;
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(response.headers()["content-range"], "bytes */50000", "{range}");
        assert!(response.bytes().await.unwrap().len() < 1_000, "{range}");
    }
    let twice = plane.call("GET", &path).header("range", "bytes=0-").header("range", "bytes=1-");
    assert_eq!(twice.response().await.status(), 416);
    let part = plane.call("GET", &path).header("range", "bytes=10-19").response().await;
    assert_eq!(
        (part.status().as_u16(), &part.headers()["content-range"]),
        (206, &"bytes 10-19/50000".parse().unwrap())
    );
    assert_eq!(part.bytes().await.unwrap(), output[10..20]);
}

#[tokio::test]
async fn uploads_at_false_places_change_nothing() {
    let plane = Plane::start().await;
    let input = noise(1_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.delivered(1, &spec).await;
    let hash = sha256(&input);
    let path = hash_path(rental, "blobs", hash);
    let put = |from: usize| plane.call("PUT", &path).body(&input[from..]).content(hash);
    check(plane.call("PUT", &path).body(&input[..400]).content(hash), 400, "400 of 1000").await;
    for range in [
        "bytes 400-999/2000",
        "bytes 400-998/1000",
        "bytes 400-18446744073709551615/1000",
        "bytes 999-400/1000",
        "bytes -400-999/1000",
        "bytes +400-999/1000",
        "bytes 400-500,501-999/1000",
        "bytes 99999999999999999999-999/1000",
    ] {
        check(put(400).header("content-range", range), 400, "content-range").await;
    }
    let twice = put(400).header("content-range", "bytes 400-999/1000").header("content-range", "bytes 0-999/1000");
    check(twice, 400, "content-range").await;
    // Over what is there already, or past it.
    for start in [100, 399, 401, 999] {
        let range = format!("bytes {start}-999/1000");
        check(put(start).header("content-range", range), 409, "must continue at 400").await;
    }
    assert_eq!(plane.store.progress(rental, &hash).await, Some((400, 1_000)));
    check(put(400).header("content-range", "bytes 400-999/1000"), 204, "").await;
    assert_eq!(std::fs::read(plane.store.blob_path(&hash)).unwrap(), input);
}

#[tokio::test]
async fn headers_that_drip_are_cut_off_and_let_others_in() {
    let limits = ServerLimits { header_time: Duration::from_secs(1), connections: 2, ..Default::default() };
    let plane = Plane::with(limits, LIMITS).await;
    let rental = plane.rent(1, &spec(&[b"x"]));
    let mut silent = plane.socket().await;
    silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut dripping = plane.socket().await;
    dripping.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let (mut answers, mut letters) = dripping.into_split();
    let drip = tokio::spawn(async move {
        while letters.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    // Both places are taken; an honest agent waits for one of them and is served.
    let honest = plane.call("GET", &format!("/v1/rentals/{rental}"));
    let (status, text) = timeout(SOON, honest.send()).await.expect("somebody is let go");
    assert_eq!(status, 200, "{text}");
    let _ = timeout(SOON, answers.read_to_end(&mut Vec::new())).await.expect("the dripping one is cut off");
    timeout(SOON, drip).await.expect("it cannot write any more").unwrap();
    read_all(&mut silent).await;
}

#[tokio::test]
async fn bodies_that_drip_or_stop_are_cut_off_and_kept() {
    let limits = ServerLimits { body_idle: Duration::from_secs(3), transfers_per_agent: 1, ..Default::default() };
    let plane = Plane::with(limits, LIMITS).await;
    let inputs = [noise(100_000, 1), noise(100, 2)];
    let spec = spec(&[&inputs[0], &inputs[1]]);
    let rental = plane.delivered(1, &spec).await;
    let hash = sha256(&inputs[0]);
    let path = hash_path(rental, "blobs", hash);

    let mut stopped = plane.socket().await;
    stopped.write_all(&plane.call("PUT", &path).content(hash).head(inputs[0].len())).await.unwrap();
    stopped.write_all(&inputs[0][..100]).await.unwrap();
    let answer = read_all(&mut stopped).await;
    assert!(answer.contains("408") && answer.contains("resume the upload"), "{answer}");

    let resumed = plane.call("PUT", &path).content(hash).header("content-range", "bytes 100-99999/100000");
    let mut dripping = plane.socket().await;
    dripping.write_all(&resumed.head(inputs[0].len() - 100)).await.unwrap();
    let (mut answers, mut letters) = dripping.into_split();
    let rest = inputs[0][100..].to_vec();
    let drip = tokio::spawn(async move {
        for byte in rest {
            if letters.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    // While it drips, its agent has no other upload; then it has, and goes on where it was.
    eventually(async || plane.store.progress(rental, &hash).await.is_some_and(|(received, _)| received > 100)).await;
    let second = hash_path(rental, "blobs", sha256(&inputs[1]));
    check(plane.call("PUT", &second).body(&inputs[1]), 429, "uploads under way").await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, answers.read_to_end(&mut answer)).await.expect("it is cut off");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("408") && answer.contains("1024 bytes a second"), "{answer}");
    drop(answers);
    drip.await.unwrap();
    eventually(async || plane.call("PUT", &second).body(&inputs[1]).send().await.0 == 204).await;
    let (received, _) = plane.store.progress(rental, &hash).await.unwrap();
    assert!((101..10_000).contains(&received), "{received}");
    let range = format!("bytes {received}-99999/100000");
    let body = &inputs[0][usize::try_from(received).unwrap()..];
    check(plane.call("PUT", &path).content(hash).body(body).header("content-range", range), 204, "").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let limits = ServerLimits { write_idle: Duration::from_secs(3), transfers_per_agent: 1, ..Default::default() };
    let plane = Plane::with(limits, StoreLimits { total_bytes: 1 << 26, ..LIMITS }).await;
    let spec = spec(&[b"x"]);
    let rental = plane.delivered(1, &spec).await;
    // More than all buffers on the way hold.
    let output = noise(24 << 20, 4);
    plane.publish(rental, &spec, &output).await;
    let path = hash_path(rental, "outputs", sha256(&output));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = plane.endpoint.trim_start_matches("http://").parse().unwrap();
    let mut deaf = socket.connect(address).await.unwrap();
    deaf.write_all(&plane.call("GET", &path).head(0)).await.unwrap();
    deaf.read_exact(&mut [0; 64]).await.unwrap();
    check(plane.call("GET", &path), 429, "downloads under way").await;
    eventually(async || plane.call("GET", &path).header("range", "bytes=0-9").send().await.0 == 206).await;
    // An honest one still gets all of it.
    eventually(async || {
        let response = plane.call("GET", &path).response().await;
        response.status() == 200 && response.bytes().await.unwrap() == output
    })
    .await;
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let limits = ServerLimits { connections_per_address: 3, ..Default::default() };
    let plane = Plane::with(limits, LIMITS).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = plane.socket().await;
        socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        socket.read_exact(&mut [0; 12]).await.unwrap();
        held.push(socket);
    }
    let mut fourth = plane.socket().await;
    let _ = fourth.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(read_all(&mut fourth).await, "");
    // Another address has its own, and a place comes back.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(plane.endpoint.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    other.read_exact(&mut [0; 12]).await.unwrap();
    held.pop();
    eventually(async || {
        let mut again = plane.socket().await;
        let _ = again.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        again.read_exact(&mut [0; 12]).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_is_behind_says_how_far_it_is() {
    let plane = Plane::start().await;
    plane.block.store(77, Ordering::SeqCst);
    let rental = crate::support::id(1);
    let response = plane.call("GET", &format!("/v1/rentals/{rental}")).response().await;
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["block"]), (&404.into(), &77.into()));
}
