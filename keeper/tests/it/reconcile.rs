//! Workers that no rental wants go after their grace, but only by the word of a chain that answers.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use contracts::ids::{AgreementId, BookId};
use keeper::act::containers::{ContainerState, Engine, EngineConfig, Limits, WorkOrder};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    actors::Actor,
    stage::{Options, Stage},
};

/// The chain behind a port that can be closed and opened.
struct Wire {
    address: String,
    chain: String,
    connections: Option<JoinHandle<()>>,
}

impl Wire {
    async fn to(rpc: &str) -> Self {
        let chain = rpc.trim_start_matches("http://").to_owned();
        let mut wire = Self { address: "127.0.0.1:0".into(), chain, connections: None };
        wire.mend().await;
        wire
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let chain = self.chain.clone();
        self.connections = Some(tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let chain = chain.clone();
                open.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(chain).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }

    async fn cut(&mut self) {
        let connections = self.connections.take().unwrap();
        connections.abort();
        let _ = connections.await;
    }
}

fn sleeper(folder: &Path) -> PathBuf {
    let path = folder.join("sleeper");
    std::fs::write(&path, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn order(stage: &Stage, number: u64) -> WorkOrder {
    WorkOrder {
        chain_id: stage.deployment.chain_id,
        rental: AgreementId::new(BookId { class: 1, bucket: 0, preemptible: false }, 100, number),
        attempt: 1,
        spec_hash: B256::repeat_byte(7),
        image: B256::ZERO,
        in_dir: stage.data.join("in"),
        out_dir: stage.data.join("out"),
        limits: Limits { memory_mib: 64, cpus: 1.0, pids: 16, disk_mib: 16 },
        devices: Vec::new(),
        deadline_unix_s: keeper::clock::now_s() + 3_600,
    }
}

async fn runs(engine: &Engine, order: &WorkOrder) -> bool {
    matches!(engine.state(order.id()).await.unwrap(), ContainerState::Running { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rental_wants_is_removed_after_its_grace_and_never_while_the_chain_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        anvil: Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin/anvil"),
        worker: sleeper(dir.path()),
        engine: "process",
        docker_socket: None,
        data: dir.path().to_owned(),
    };
    let stage = Stage::set(&options).await.unwrap();
    let mut wire = Wire::to(&stage.rpc).await;
    stage.write_configs(&options, |_| format!("http://{}", wire.address)).unwrap();
    let keeper = Actor::start(&stage, "provider-cpu").await.unwrap();

    let data_dir = stage.data_dir("provider-cpu");
    let owner = std::fs::read_to_string(data_dir.join("node-id")).unwrap().trim().to_owned();
    let (worker, state_dir) = (options.worker.clone(), data_dir.join("processes"));
    let engine = Engine::connect(&EngineConfig::Process { worker, state_dir, owner }).await.unwrap();
    std::fs::create_dir_all(stage.data.join("in")).unwrap();

    wire.cut().await;
    let stray = order(&stage, 1);
    engine.start(&stray).await.unwrap();
    let since = Instant::now();
    // Longer than the grace and the age at which a view is stale, together.
    while since.elapsed() < Duration::from_secs(35) {
        assert!(runs(&engine, &stray).await, "removed {:?} after the chain fell silent", since.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    wire.mend().await;
    // From here on the chain says that nobody rents it.
    let since = Instant::now();
    while runs(&engine, &stray).await {
        assert!(since.elapsed() < Duration::from_secs(60), "it is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(since.elapsed() >= Duration::from_secs(10), "no grace: removed after {:?}", since.elapsed());
    // A worker is ended first, and what is left of it removed then.
    while !engine.list(stage.deployment.chain_id).await.unwrap().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60), "its remains are still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    keeper.stop().await;
}
