//! An endpoint that leaves out logs: a proxy before the real chain that empties every answer of `eth_getLogs`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};

#[derive(Clone)]
struct Upstream {
    url: String,
    client: reqwest::Client,
    dropped: Arc<AtomicUsize>,
}

/// The endpoint; it ends with the test's runtime.
pub(crate) struct LossyProxy {
    pub(crate) url: String,
    dropped: Arc<AtomicUsize>,
}

impl LossyProxy {
    pub(crate) async fn start(upstream: &str) -> Self {
        let dropped = Arc::new(AtomicUsize::new(0));
        let state = Upstream { url: upstream.to_owned(), client: reqwest::Client::new(), dropped: dropped.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(pass_on)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, dropped }
    }

    /// Logs left out so far.
    pub(crate) fn logs_dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn pass_on(State(upstream): State<Upstream>, Json(request): Json<Value>) -> Json<Value> {
    let answer = upstream.client.post(&upstream.url).json(&request).send().await.unwrap();
    let mut answer: Value = answer.json().await.unwrap();
    if request["method"] == "eth_getLogs" {
        let left_out = answer["result"].as_array().map_or(0, Vec::len);
        upstream.dropped.fetch_add(left_out, Ordering::Relaxed);
        answer["result"] = json!([]);
    }
    Json(answer)
}
