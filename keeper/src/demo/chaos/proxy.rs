//! A chain endpoint that misbehaves on demand, between one keeper and anvil.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use eyre::Context as _;
use serde_json::{Value, json};

/// How an endpoint misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Answers only once the fault is over.
    Stall,
    /// 429 to everything.
    TooMany,
    /// `"result": null` to everything, as endpoints behind load balancers do.
    Empty,
    /// Does what was asked, and breaks the connection instead of answering.
    Lost,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Stall, Self::TooMany, Self::Empty, Self::Lost];

    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stall => "stalls",
            Self::TooMany => "answers 429",
            Self::Empty => "answers nothing",
            Self::Lost => "loses answers",
        }
    }
}

/// One endpoint. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    to: String,
    client: reqwest::Client,
    fault: Mutex<Option<(Fault, Instant)>>,
}

impl Endpoint {
    /// Serves in front of `to` until the program ends.
    pub(crate) async fn open(to: &str) -> eyre::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.wrap_err("a port for an endpoint")?;
        let url = format!("http://{}", listener.local_addr()?);
        let inner = Inner { url, to: to.to_owned(), client: reqwest::Client::new(), fault: Mutex::new(None) };
        let endpoint = Self { inner: Arc::new(inner) };
        let router = Router::new().route("/", post(answer)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(endpoint)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.inner.url
    }

    /// Misbehaves for a while.
    pub(crate) fn misbehave(&self, fault: Fault, time: Duration) {
        *self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, Instant::now() + time));
    }

    /// Behaves from now on.
    pub(crate) fn behave(&self) {
        *self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it has misbehaved after `since`.
    pub(crate) fn failed_since(&self, since: Instant) -> bool {
        let fault = *self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.is_some_and(|(_, until)| until > since)
    }

    fn fault(&self) -> Option<(Fault, Instant)> {
        let fault = *self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.filter(|(_, until)| Instant::now() < *until)
    }

    async fn forward(&self, body: Bytes) -> Result<Bytes, reqwest::Error> {
        let request =
            self.inner.client.post(&self.inner.to).header(header::CONTENT_TYPE, "application/json").body(body);
        request.send().await?.bytes().await
    }
}

async fn answer(State(endpoint): State<Endpoint>, body: Bytes) -> Response {
    match endpoint.fault() {
        Some((Fault::TooMany, _)) => return (StatusCode::TOO_MANY_REQUESTS, "too many requests").into_response(),
        Some((Fault::Empty, _)) => return json_of(Bytes::from(empty(&body).to_string())),
        Some((Fault::Lost, _)) => {
            let _ = endpoint.forward(body).await;
            let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
            return Body::from_stream(broken).into_response();
        }
        Some((Fault::Stall, until)) => tokio::time::sleep_until(until.into()).await,
        None => {}
    }
    match endpoint.forward(body).await {
        Ok(body) => json_of(body),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn json_of(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Nothing, to each request of a batch.
fn empty(body: &[u8]) -> Value {
    let nothing = |request: &Value| json!({ "jsonrpc": "2.0", "id": request["id"], "result": null });
    match serde_json::from_slice(body).unwrap_or_default() {
        Value::Array(batch) => batch.iter().map(nothing).collect(),
        request => nothing(&request),
    }
}
