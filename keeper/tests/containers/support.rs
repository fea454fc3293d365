//! Engines under test and orders for them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::primitives::B256;
use contracts::ids::{AgreementId, BookId};
use keeper::{
    act::containers::{ContainerState, Engine, EngineConfig, Limits, WorkOrder, layout},
    spec::{InputRef, RentalSpec, TaskSpec, TaskType, sha256},
};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const INPUT: &[u8] = b"real input";

/// An engine, its worker image, and a folder for orders.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) config: EngineConfig,
    pub(crate) image: B256,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) async fn docker() -> Self {
        let owner = format!("test-{}-{:?}", std::process::id(), std::thread::current().id());
        Self::over(EngineConfig::Docker { socket: Some(socket()), owner }, probe()).await
    }

    pub(crate) async fn podman() -> Self {
        let owner = format!("test-{}-{:?}", std::process::id(), std::thread::current().id());
        Self::over(EngineConfig::Docker { socket: Some(podman_socket()), owner }, probe()).await
    }

    pub(crate) async fn process() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        let config = EngineConfig::Process { worker: probe().to_owned(), state_dir, owner: "test".into() };
        Self { folder, ..Self::over(config, probe()).await }
    }

    pub(crate) async fn over(config: EngineConfig, worker: &Path) -> Self {
        let engine = Engine::connect(&config).await.unwrap();
        let image = engine.load_worker_image(worker).await.unwrap();
        Self { engine, config, image, folder: tempfile::tempdir().unwrap() }
    }

    /// What a keeper has after it was killed and started again.
    pub(crate) async fn restarted(&self) -> Engine {
        let engine = Engine::connect(&self.config).await.unwrap();
        engine.load_worker_image(probe()).await.unwrap();
        engine
    }

    /// What another keeper on the same engine, or its reaper, has.
    pub(crate) async fn stranger(&self) -> Engine {
        let mut config = self.config.clone();
        match &mut config {
            EngineConfig::Docker { owner, .. } | EngineConfig::Process { owner, .. } => owner.push_str("-stranger"),
        }
        Engine::connect(&config).await.unwrap()
    }

    /// An order for the probe, with its `/in` filled.
    pub(crate) fn order(&self, rental: u64, attempt: u32, act: &str) -> WorkOrder {
        self.order_for(rental, attempt, &spec(act), &[INPUT])
    }

    pub(crate) fn order_for(&self, rental: u64, attempt: u32, spec: &RentalSpec, inputs: &[&[u8]]) -> WorkOrder {
        let rental = AgreementId::new(BookId::for_duration(1, 60, false).unwrap(), 100, rental);
        let folder = self.folder.path().join(format!("{rental}-{attempt}"));
        std::fs::create_dir_all(&folder).unwrap();
        let blob = |hash: &B256| folder.join(hash.to_string());
        inputs.iter().for_each(|input| std::fs::write(blob(&sha256(input)), input).unwrap());
        let in_dir = folder.join("in");
        layout::write_inputs(&in_dir, rental, sha256(&spec.to_bytes()), &spec.tasks[0], blob).unwrap();
        WorkOrder {
            chain_id: CHAIN,
            rental,
            attempt,
            spec_hash: sha256(&spec.to_bytes()),
            image: self.image,
            in_dir,
            out_dir: folder.join("out"),
            limits: Limits { memory_mib: 64, cpus: 1.0, pids: 16, disk_mib: 16 },
            devices: Vec::new(),
            deadline_unix_s: now() + 300,
        }
    }

    /// Starts, waits for the end, collects; the exit code and whether memory was the reason.
    pub(crate) async fn run(&self, order: &WorkOrder) -> (i32, bool) {
        self.engine.start(order).await.unwrap();
        match self.engine.wait(order.id(), Duration::from_secs(60)).await.unwrap() {
            ContainerState::Exited { code, oom_killed, started_unix_s, finished_unix_s } => {
                assert!(started_unix_s + 600 > now() && started_unix_s <= finished_unix_s, "{started_unix_s}");
                (code, oom_killed)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Runs, collects, and gives the probe's report.
    pub(crate) async fn report(&self, order: &WorkOrder) -> String {
        let ended = self.run(order).await;
        let stderr = self.engine.stderr_tail(order.id()).await.unwrap();
        assert_eq!(ended, (0, false), "{stderr}");
        self.engine.collect(order).await.unwrap();
        self.engine.remove(order.id()).await.unwrap();
        std::fs::read_to_string(order.out_dir.join("report")).unwrap()
    }
}

/// Work for the probe.
pub(crate) fn spec(act: &str) -> RentalSpec {
    RentalSpec {
        version: 1,
        salt: B256::ZERO,
        tasks: vec![TaskSpec {
            task_id: "t0".into(),
            task_type: TaskType::TextProcessing,
            inputs: vec![InputRef { name: "a.md".into(), sha256: sha256(INPUT), bytes: INPUT.len() as u64 }],
            parameters: json!({ "act": act }).as_object().unwrap().clone(),
        }],
        keep_warm_s: 0,
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Socket of the engine for tests. There is no way around it: a test that is skipped proves nothing.
pub(crate) fn socket() -> String {
    std::env::var("OPENCLAW_TEST_DOCKER").unwrap_or_else(|_| {
        panic!(
            "OPENCLAW_TEST_DOCKER is not set: run `script/test`, which starts a private Docker engine, or set it to \
             the socket of one (unix:///path/docker.sock)"
        )
    })
}

/// Socket of Podman for tests.
pub(crate) fn podman_socket() -> String {
    std::env::var("OPENCLAW_TEST_PODMAN").unwrap_or_else(|_| {
        panic!(
            "OPENCLAW_TEST_PODMAN is not set: run `script/test`, which starts a private Podman, or set it to the \
             socket of one (unix:///path/podman.sock)"
        )
    })
}

/// The misbehaving worker, compiled once.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| compile(&["-C", "target-feature=+crt-static"], "probe"))
}

/// The same, but in need of a loader.
pub(crate) fn dynamic_probe() -> PathBuf {
    compile(&["-C", "target-feature=-crt-static"], "dynamic-probe")
}

fn compile(options: &[&str], name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers/probe.rs");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let fresh = target.with_extension(std::process::id().to_string());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let done = Command::new(rustc)
        .args(["--edition", "2024", "-O", "--crate-name", "probe", "-o"])
        .arg(&fresh)
        .args(options)
        .arg(&source)
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::rename(&fresh, &target).unwrap();
    target
}

/// The reference worker, static: `OPENCLAW_TEST_WORKER`, or `worker-static` or `worker` in the build folder.
pub(crate) fn reference_worker() -> PathBuf {
    if let Ok(path) = std::env::var("OPENCLAW_TEST_WORKER") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    ["worker-static", "worker"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no worker in {}: run `script/test`, or `cargo rustc -p worker --release -- -C target-feature=+crt-static`",
            folder.display()
        )
    })
}
