//! A provider's data plane on a loopback socket, an agent's key, and work for both.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B128, B256, Bytes},
    signers::local::PrivateKeySigner,
};
use axum::http::HeaderMap;
use contracts::{
    bindings::Status,
    ids::{AgreementId, BookId},
};
use keeper::{
    blobs::{
        Access, BlobEvent, Client, ClientAuth, Reach, RentalAccess, ResultDocument, Seen, ServerConfig, ServerLimits,
        ServerState, Store, StoreLimits, TaskDocument, auth::Subject, serve,
    },
    spec::{InputRef, Manifest, OutputRef, Receipt, RentalSpec, TaskSpec, TaskType, result_hash, sha256},
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const MARKET: Address = Address::repeat_byte(0xaa);
pub(crate) const PROVIDER: Address = Address::repeat_byte(0xbb);
pub(crate) const LIMITS: StoreLimits =
    StoreLimits { total_bytes: 1 << 20, rental_bytes: 1 << 19, agent_bytes: 1 << 20, agent_rentals: 100, grace_s: 60 };

/// A running data plane.
pub(crate) struct Plane {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    pub(crate) endpoint: String,
    pub(crate) agent: PrivateKeySigner,
    pub(crate) rentals: Arc<Mutex<HashMap<AgreementId, RentalAccess>>>,
    /// How far the provider's index is.
    pub(crate) block: Arc<AtomicU64>,
    pub(crate) events: mpsc::Receiver<BlobEvent>,
    limits: ServerLimits,
    store_limits: StoreLimits,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::with(ServerLimits::default(), LIMITS).await
    }

    pub(crate) async fn with(limits: ServerLimits, store_limits: StoreLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), store_limits).await.unwrap();
        let rentals = Arc::new(Mutex::new(HashMap::new()));
        let (_, events) = mpsc::channel(1);
        let agent = PrivateKeySigner::random();
        let endpoint = String::new();
        let (block, stop, server) = (Arc::new(AtomicU64::new(1)), None, None);
        let mut plane =
            Self { folder, store, endpoint, agent, rentals, block, events, limits, store_limits, stop, server };
        plane.serve().await;
        plane
    }

    /// Stops the server, opens the store again as after a kill, and serves on.
    pub(crate) async fn restart(&mut self) {
        self.shut_down().await;
        self.store = Store::open(&self.folder.path().join("store"), self.store_limits).await.unwrap();
        self.serve().await;
    }

    pub(crate) async fn shut_down(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.server.take().unwrap().await.unwrap().unwrap();
    }

    async fn serve(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, events) = mpsc::channel(64);
        self.events = events;
        let (stop, stopped) = oneshot::channel();
        let state = ServerState::new(self.config(), self.store.clone(), self.access(), sender);
        self.stop = Some(stop);
        self.server = Some(tokio::spawn(serve(listener, None, state, async {
            let _ = stopped.await;
        })));
    }

    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig { chain_id: CHAIN, market: MARKET, provider: PROVIDER, limits: self.limits }
    }

    pub(crate) fn access(&self) -> Access {
        let (rentals, block) = (self.rentals.clone(), self.block.clone());
        Arc::new(move |rental| {
            let block = block.load(Ordering::SeqCst);
            Seen { block, rental: rentals.lock().unwrap().get(&rental).cloned() }
        })
    }

    /// A connection without any client's help.
    pub(crate) async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.endpoint.trim_start_matches("http://")).await.unwrap()
    }

    /// A rental whose spec has arrived.
    pub(crate) async fn delivered(&self, number: u64, spec: &RentalSpec) -> AgreementId {
        let rental = self.rent(number, spec);
        let bytes = spec.to_bytes();
        self.store.accept_spec(rental, self.agent.address(), sha256(&bytes), &bytes).await.unwrap();
        rental
    }

    /// The result of a delivered rental over one output.
    pub(crate) async fn publish(&self, rental: AgreementId, spec: &RentalSpec, output: &[u8]) -> Manifest {
        let (document, manifest) = result(rental, spec, &[("a.txt", output)]);
        self.keep(rental, &document, output).await;
        manifest
    }

    /// Publishes a task's result over the one output `a.txt`.
    pub(crate) async fn keep(&self, rental: AgreementId, document: &TaskDocument, output: &[u8]) {
        // The store keeps a link to the file: what another task wrote must stay.
        let out = self.folder.path().join(format!("out-{rental}-{:x}", sha256(output)));
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("a.txt"), output).unwrap();
        self.store.publish_task(rental, document.clone(), &out).await.unwrap();
    }

    /// A confirmed rental of the agent over `spec`.
    pub(crate) fn rent(&self, number: u64, spec: &RentalSpec) -> AgreementId {
        let rental = id(number);
        let access = RentalAccess {
            agent: self.agent.address(),
            provider: PROVIDER,
            offer: 3,
            here: true,
            status: Status::Confirmed,
            spec_hash: sha256(&spec.to_bytes()),
            open_until_unix_s: u64::MAX,
        };
        self.rentals.lock().unwrap().insert(rental, access);
        rental
    }

    pub(crate) fn change(&self, rental: AgreementId, change: impl FnOnce(&mut RentalAccess)) {
        change(self.rentals.lock().unwrap().get_mut(&rental).unwrap());
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.endpoint, &Reach::demo(), auth(&self.agent)).await.unwrap()
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A request signed as the agent's, over what it really sends.
    pub(crate) fn call(&self, method: &'static str, path: &str) -> Call<'_> {
        Call {
            plane: self,
            signer: self.agent.clone(),
            path: path.to_owned(),
            method,
            signed: None,
            body: Vec::new(),
            headers: Vec::new(),
            expires: now() + 30,
            nonce: B128::random(),
        }
    }

    /// Events that have come, without waiting: they are sent before the answer is.
    pub(crate) fn take_events(&mut self) -> Vec<BlobEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

pub(crate) fn auth(signer: &PrivateKeySigner) -> ClientAuth {
    ClientAuth { signer: signer.clone(), chain_id: CHAIN, market: MARKET }
}

/// A raw request, to be bent in every way.
pub(crate) struct Call<'a> {
    pub(crate) plane: &'a Plane,
    pub(crate) signer: PrivateKeySigner,
    pub(crate) path: String,
    pub(crate) method: &'static str,
    /// Method, path, content, chain and market to sign instead of what is sent.
    pub(crate) signed: Option<(&'static str, String, B256, u64, Address)>,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) expires: u64,
    pub(crate) nonce: B128,
}

impl Call<'_> {
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signs for this content hash instead of the body's.
    pub(crate) fn content(mut self, content: B256) -> Self {
        self.signed = Some((self.method, self.path.clone(), content, CHAIN, MARKET));
        self
    }

    pub(crate) async fn send(self) -> (u16, String) {
        let response = self.response().await;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").cloned();
        let text = response.text().await.unwrap();
        if status >= 400 && !text.is_empty() {
            assert_eq!(kind.unwrap(), "application/problem+json");
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["status"], status);
            return (status, problem["detail"].as_str().unwrap().to_owned());
        }
        (status, text)
    }

    pub(crate) async fn response(self) -> reqwest::Response {
        let signed = self.sign();
        let url = format!("{}{}", self.plane.endpoint, self.path);
        let client = reqwest::Client::new();
        let mut request = client.request(self.method.parse().unwrap(), url).headers(signed).body(self.body);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    }

    /// What goes over the wire before a body of `length` bytes.
    pub(crate) fn head(self, length: usize) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n", self.method, self.path);
        for (name, value) in &self.sign() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        (head + "\r\n").into_bytes()
    }

    fn sign(&self) -> HeaderMap {
        let own = (self.method, self.path.clone(), sha256(&self.body), CHAIN, MARKET);
        let (method, path, content, chain_id, market) = self.signed.clone().unwrap_or(own);
        let (path, expires_unix_s, nonce) = (&path, self.expires, self.nonce);
        let subject = Subject { method, path, content, chain_id, market, expires_unix_s, nonce };
        subject.sign(&self.signer).unwrap()
    }
}

pub(crate) fn id(number: u64) -> AgreementId {
    AgreementId::new(BookId::for_duration(1, 60, false).unwrap(), 100, number)
}

/// A spec with these inputs.
pub(crate) fn spec(inputs: &[&[u8]]) -> RentalSpec {
    let inputs = inputs.iter().enumerate().map(|(index, bytes)| InputRef {
        name: format!("input-{index}"),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
    });
    RentalSpec {
        version: 1,
        salt: B256::random(),
        tasks: vec![TaskSpec {
            task_id: "t0".into(),
            task_type: TaskType::TextProcessing,
            inputs: inputs.collect(),
            parameters: Default::default(),
        }],
        keep_warm_s: 0,
    }
}

/// A finished rental's result over these outputs.
pub(crate) fn result(rental: AgreementId, spec: &RentalSpec, outputs: &[(&str, &[u8])]) -> (TaskDocument, Manifest) {
    let spec_hash = sha256(&spec.to_bytes());
    let files = outputs.iter().map(|(path, bytes)| OutputRef {
        path: (*path).into(),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        media_type: "text/plain".into(),
    });
    let manifest = Manifest { version: 1, task_id: "t0".into(), spec_sha256: spec_hash, files: files.collect() };
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    let manifest_sha256 = sha256(text.as_bytes());
    let receipt = Receipt {
        rental,
        task_id: "t0".into(),
        spec_hash,
        manifest_sha256,
        exit_code: 0,
        result_hash: result_hash(rental, spec_hash, manifest_sha256, 0),
        seconds: 3,
        sequence: 0,
    };
    let document = TaskDocument { exit_code: 0, manifest: text, receipt, receipt_signature: Bytes::from(vec![7; 65]) };
    (document, manifest)
}

/// A result of one task.
pub(crate) fn only(task: &TaskDocument, is_final: bool) -> ResultDocument {
    ResultDocument { tasks: vec![task.clone()], is_final }
}

/// Bytes that do not repeat and do not compress.
pub(crate) fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut block = sha256(&[seed]);
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        bytes.extend_from_slice(block.as_slice());
        block = sha256(block.as_slice());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn hash_path(rental: AgreementId, kind: &str, hash: B256) -> String {
    format!("/v1/rentals/{rental}/{kind}/{}", hex::encode(hash))
}
