//! Lines that break and providers that lag: the client gets there all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use keeper::{
    blobs::{Client, ClientError, Reach, ServerLimits, StoreLimits},
    spec::sha256,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{LIMITS, Plane, auth, id, noise, spec};

/// Passes bytes on and breaks each connection once so many have gone either way.
struct BadLine {
    endpoint: String,
    breaks: Arc<AtomicUsize>,
}

impl BadLine {
    async fn to(plane: &Plane, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = plane.endpoint.trim_start_matches("http://").to_owned();
        let breaks = Arc::new(AtomicUsize::new(0));
        let count = breaks.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, count) = (server.clone(), count.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let broke = tokio::select! {
                        broke = pass(from_client, to_server, bytes) => broke,
                        broke = pass(from_server, to_client, bytes) => broke,
                    };
                    count.fetch_add(usize::from(broke), Ordering::SeqCst);
                });
            }
        });
        Self { endpoint, breaks }
    }
}

/// Whether the line broke before its end.
async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mut left: usize) -> bool {
    let mut buffer = vec![0; 8 * 1024];
    while left > 0 {
        let want = left.min(buffer.len());
        match from.read(&mut buffer[..want]).await {
            Ok(0) | Err(_) => return false,
            Ok(read) => {
                left -= read;
                if to.write_all(&buffer[..read]).await.is_err() {
                    return false;
                }
            }
        }
    }
    true
}

#[tokio::test]
async fn work_and_results_get_through_a_line_that_keeps_breaking() {
    let plane = Plane::with(ServerLimits::default(), StoreLimits { total_bytes: 1 << 22, ..LIMITS }).await;
    let input = noise(400_000, 1);
    let spec = spec(&[&input]);
    let rental = plane.rent(1, &spec);
    let file = plane.file("input", &input);
    let line = BadLine::to(&plane, 90_000).await;
    let client = Client::connect(&line.endpoint, &Reach::demo(), auth(&plane.agent)).await.unwrap();
    client.push(rental, &spec.to_bytes(), &spec, |_| file.clone()).await.unwrap();
    assert_eq!(std::fs::read(plane.store.blob_path(&sha256(&input))).unwrap(), input);
    let breaks = line.breaks.swap(0, Ordering::SeqCst);
    assert!(breaks >= 4, "{breaks}");

    let output = noise(800_000, 2);
    let manifest = plane.publish(rental, &spec, &output).await;
    let home = plane.folder.path().join("home");
    let paths = client.outputs(rental, &manifest, &home, 1 << 20).await.unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), output);
    let breaks = line.breaks.load(Ordering::SeqCst);
    assert!(breaks >= 8, "more often than one call is repeated without getting on: {breaks}");
}

#[tokio::test]
async fn a_provider_that_is_some_blocks_behind_is_waited_for() {
    let plane = Plane::start().await;
    let spec = spec(&[b"x"]);
    let client = plane.client().await;
    plane.block.store(9, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait_until_known(id(1), 11, Duration::from_secs(20)).await }
    });
    for block in [10, 11] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "it waits for block 11");
        if block == 11 {
            plane.rent(1, &spec);
        }
        plane.block.store(block, Ordering::SeqCst);
    }
    assert!(!waiting.await.unwrap().unwrap().have_spec);

    // A provider that has seen the block and knows no such rental is not waited for.
    let began = Instant::now();
    let error = client.wait_until_known(id(2), 11, Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, block: Some(11), .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    // Nor is one that never gets there.
    let error = client.wait_until_known(id(2), 12, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, block: Some(11), .. }), "{error}");
}
