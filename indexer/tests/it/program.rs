//! The program `indexer`, as its own process.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use indexer::Index;

use crate::chain::{World, dump};

fn program(world: &World, folder: &Path, command: &str) -> Command {
    let config = world.config(folder);
    let mut program = Command::new(env!("CARGO_BIN_EXE_indexer"));
    program.arg(command).env("RUST_LOG", "info").env_remove("INDEXER_CONFIG");
    program.args(["--rpc-url", &world.anvil.url, "--chain-id", &config.chain_id.to_string()]);
    program.args(["--market", &config.market.to_string(), "--factory", &config.factory.to_string()]);
    program.args(["--start-block", &config.start_block.to_string(), "--poll-interval-ms", "50"]);
    program.args(["--preset", "demo", "--listen", "127.0.0.1:0"]).arg("--data-dir").arg(&config.data_dir);
    program
}

/// Starts `indexer run`; gives the process and the API's address.
fn run(world: &World, folder: &Path) -> (Child, String) {
    let mut child = program(world, folder, "run").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("http://")?;
        let port: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
        Some(format!("http://{port}"))
    });
    std::thread::spawn(move || lines.for_each(drop));
    (child, url.expect("it says where the API listens"))
}

async fn wait_for(url: &str, number: u64) -> serde_json::Value {
    let client = reqwest::Client::new();
    for _ in 0..600 {
        if let Ok(answer) = client.get(format!("{url}/v1/status")).send().await
            && let Ok(status) = answer.json::<serde_json::Value>().await
            && status["block"]["number"].as_u64() >= Some(number)
        {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("block {number} is not served in time")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_being_killed_and_verifies() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    for tick in [100, 90] {
        let (mut child, url) = run(&world, folder.path());
        let (number, _) = world.head().await;
        wait_for(&url, number).await;
        world.bid(tick).await;
        world.take(world.offer, false).await;
        // In the middle of following the two new blocks, or just before or after.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (mut child, url) = run(&world, folder.path());
    let (number, hash) = world.head().await;
    let status = wait_for(&url, number).await;
    assert_eq!(status["block"]["hash"], serde_json::json!(hash));

    // Beside the running process.
    let verified = program(&world, folder.path(), "verify").output().unwrap();
    assert!(verified.status.success(), "{}{}", String::from_utf8_lossy(&verified.stdout), text(&verified));
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["mismatches"], serde_json::json!([]));
    let dumped = program(&world, folder.path(), "dump").output().unwrap();
    assert_eq!(String::from_utf8(dumped.stdout).unwrap(), world.fresh_dump().await);

    // A polite end frees the folder.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(child.wait().unwrap().success());
    let index = Index::open(world.config(folder.path())).await.unwrap();
    assert_eq!(dump(&index), world.fresh_dump().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_a_missing_index_and_a_dead_node_end_with_one_message() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let missing = program(&world, folder.path(), "verify").output().unwrap();
    assert!(!missing.status.success() && text(&missing).contains("indexer run"), "{}", text(&missing));

    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let config = world.config(folder.path());
    let file = folder.path().join("indexer.toml");
    let write = |rpc: &str, listen: &str| {
        let text = format!(
            "rpc_urls = ['{rpc}']\nchain_id = {}\nmarket = '{}'\nfactory = '{}'\nstart_block = {}\ndata_dir = '{}'\n\
             preset = 'demo'\nlisten = '{listen}'\n",
            config.chain_id,
            config.market,
            config.factory,
            config.start_block,
            config.data_dir.display(),
        );
        std::fs::write(&file, text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_indexer")).args(["run", "--config"]).arg(&file).output().unwrap()
    };
    let refused = write(&world.anvil.url, &address);
    assert!(!refused.status.success() && text(&refused).contains(&address), "{}", text(&refused));
    let refused = write("http://127.0.0.1:9", "127.0.0.1:0");
    assert!(!refused.status.success() && text(&refused).contains("rpc_urls"), "{}", text(&refused));
}
