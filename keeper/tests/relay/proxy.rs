//! An endpoint before the real chain that fails as endpoints do, for the methods that a test names.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::Response,
    routing::post,
};
use serde_json::Value;
use tokio::sync::watch;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the chain, and is never answered.
    Hang,
    /// It reaches the chain; the connection breaks before the answer is out.
    LoseAnswer,
    /// It never reaches the chain; the answer is this status.
    Status(u16),
}

#[derive(Clone)]
struct Upstream {
    url: String,
    client: reqwest::Client,
    faults: Arc<Mutex<HashMap<String, (Fault, usize)>>>,
    hits: watch::Sender<usize>,
    calls: Arc<Mutex<HashMap<String, usize>>>,
}

/// The endpoint; it ends with the test's runtime.
pub struct Proxy {
    pub url: String,
    upstream: Upstream,
}

impl Proxy {
    pub async fn start(url: &str) -> Self {
        let upstream = Upstream {
            url: url.to_owned(),
            client: reqwest::Client::new(),
            faults: Arc::default(),
            hits: watch::Sender::new(0),
            calls: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(pass_on)).with_state(upstream.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, upstream }
    }

    /// The next `times` calls of `method` fail so.
    pub fn fail(&self, method: &str, fault: Fault, times: usize) {
        self.upstream.hits.send_replace(0);
        self.upstream.faults.lock().unwrap().insert(method.to_owned(), (fault, times));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.upstream.faults.lock().unwrap().clear();
    }

    /// Single calls of `method` so far; those in a batch are not counted.
    pub fn calls(&self, method: &str) -> usize {
        self.upstream.calls.lock().unwrap().get(method).copied().unwrap_or_default()
    }

    /// Waits until so many calls have failed since the last [`Self::fail`].
    pub async fn failed(&self, times: usize) {
        let mut hits = self.upstream.hits.subscribe();
        tokio::time::timeout(Duration::from_secs(30), hits.wait_for(|hits| *hits >= times))
            .await
            .expect("the fault is met in time")
            .unwrap();
    }
}

async fn pass_on(State(upstream): State<Upstream>, body: Bytes) -> Response {
    let fault = {
        let call: Value = serde_json::from_slice(&body).unwrap_or_default();
        let method = call["method"].as_str().unwrap_or_default();
        *upstream.calls.lock().unwrap().entry(method.to_owned()).or_default() += 1;
        let mut faults = upstream.faults.lock().unwrap();
        faults.get_mut(method).filter(|(_, times)| *times > 0).map(|(fault, times)| {
            *times -= 1;
            *fault
        })
    };
    let forward = || async {
        let request = upstream.client.post(&upstream.url).header("content-type", "application/json");
        request.body(body.clone()).send().await.unwrap().bytes().await.unwrap()
    };
    let hit = || upstream.hits.send_modify(|hits| *hits += 1);
    match fault {
        None => {
            Response::builder().header("content-type", "application/json").body(Body::from(forward().await)).unwrap()
        }
        Some(Fault::Hang) => {
            hit();
            std::future::pending().await
        }
        Some(Fault::LoseAnswer) => {
            forward().await;
            hit();
            let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut off")) });
            Response::builder().body(Body::from_stream(broken)).unwrap()
        }
        Some(Fault::Status(status)) => {
            hit();
            Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::empty()).unwrap()
        }
    }
}
