//! Bad input ends with one message that names the thing and the remedy, and with a code that is not zero.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use alloy::primitives::aliases::U96;
use contracts::{
    bindings::{IAIPowerRental, IAgentWallet, WalletLimits},
    units::Amount,
};

use crate::{
    actors::Actor,
    stage::{self, Options, Stage},
};

fn keeper(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_keeper"))
        .args(arguments)
        .env(stage::PASSWORD_VARIABLE, stage::password())
        .env("NO_COLOR", "1")
        .output()
        .expect("the keeper starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.success(), text)
}

/// The command must fail, and say all of `words` in what it prints.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let (ended_well, text) = keeper(arguments);
    assert!(!ended_well, "{arguments:?} ended well:\n{text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?} does not say '{word}':\n{text}");
    }
}

/// A copy of a configuration with `from` replaced, in a file of its own beside it.
fn variant(config: &Path, name: &str, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "'{from}' is not in {}", config.display());
    let data_dir = format!("data_dir = \"{name}\"");
    let (_, rest) = text.split_once('\n').unwrap();
    let path = config.with_file_name(format!("{name}.toml"));
    std::fs::write(&path, format!("{data_dir}\n{}", rest.replace(from, to))).unwrap();
    path
}

#[track_caller]
fn run_refused(config: &Path, words: &[&str]) {
    refused(&["run", "--config", config.to_str().unwrap()], words);
}

#[test]
fn without_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    refused(&["status", "--data-dir", folder], &["no keeper answers", folder, "keeper run"]);
    refused(&["run", "--config", "/nowhere/keeper.toml"], &["/nowhere/keeper.toml", "--config"]);
    refused(&["rent", "--data-dir", folder, "--task", "mining", "--input", "a"], &["mining", "text_processing"]);
    refused(&["rent", "--data-dir", folder, "--task", "data_analysis"], &["--input"]);
    let file = dir.path().join("a.md");
    std::fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    let rent = |flag: &'static str, value: &'static str, words: &[&str]| {
        refused(&["rent", "--data-dir", folder, "--task", "text_processing", "--input", file, flag, value], words);
    };
    rent("--class", "quantum", &["quantum", "cpu_only"]);
    rent("--max-price", "cheap", &["cheap", "AIT"]);
    rent("--priority", "now", &["now", "urgent"]);
    rent("--max-duration", "soon", &["soon"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        anvil: Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin/anvil"),
        worker: "/bin/true".into(),
        engine: "process",
        docker_socket: None,
        data: dir.path().to_owned(),
    };
    let stage = Stage::set(&options).await.unwrap();
    stage.write_configs(&options, |_| stage.rpc.clone()).unwrap();
    let config = stage.config("agent");
    let at = stage.deployment;

    run_refused(&variant(&config, "no-rpc", &stage.rpc, "http://127.0.0.1:1"), &["http://127.0.0.1:1"]);
    run_refused(&variant(&config, "chain", "chain_id = 31337", "chain_id = 1"), &["chain", "31337", "1"]);
    let nobody = "0x00000000000000000000000000000000000000aa";
    let nobody_shown = "0x00000000000000000000000000000000000000AA";
    run_refused(&variant(&config, "market", &at.market.to_string(), nobody), &["market", "no contract", nobody_shown]);
    run_refused(&variant(&config, "wallet", &stage.wallet.to_string(), nobody), &["agent.wallet", "no code"]);
    run_refused(&variant(&config, "forwarder", &at.forwarder.to_string(), nobody), &["chain.forwarder", "no code"]);
    run_refused(&variant(&config, "unset", "env:", "env:NOT_"), &["NOT_", "session.json"]);
    run_refused(&variant(&config, "literal", "env:OPENCLAW_DEMO_PASSWORD", "demo"), &["env:NAME", "file:PATH"]);
    std::fs::write(dir.path().join("wrong"), "wrong\n").unwrap();
    let wrong = format!("file:{}", dir.path().join("wrong").display());
    run_refused(&variant(&config, "locked", "env:OPENCLAW_DEMO_PASSWORD", &wrong), &["session.json", "password"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    run_refused(&variant(&config, "busy", &stage.api, &busy), &["api.listen", &busy, "taken"]);

    let agent = Actor::start(&stage, "agent").await.unwrap();
    run_refused(&config, &["another keeper", "data folder", "agent"]);
    rent_refused(&stage, dir.path()).await;
    agent.stop().await;
}

/// What a running keeper refuses.
async fn rent_refused(stage: &Stage, dir: &Path) {
    let folder = stage.data_dir("agent");
    let folder = folder.to_str().unwrap();
    let good = dir.join("good.md");
    std::fs::write(&good, "# words").unwrap();
    let empty = dir.join("empty.md");
    std::fs::write(&empty, "").unwrap();
    let rent = |input: &str, words: &[&str]| {
        refused(&["rent", "--data-dir", folder, "--task", "text_processing", "--input", input], words);
    };
    rent(dir.join("nowhere.md").to_str().unwrap(), &["nowhere.md", "does not exist"]);
    rent(empty.to_str().unwrap(), &["empty.md", "is empty"]);
    rent(dir.to_str().unwrap(), &["is no file"]);
    refused(&["rent", "--data-dir", folder, "--job", "job-77"], &["job-77", "keeper status"]);

    // A provider lists slots, so that there is something to bid for; then the owner lowers the limit below any bid.
    let provider = Actor::start(stage, "provider-cpu").await.unwrap();
    let market = IAIPowerRental::new(stage.deployment.market, &stage.chain);
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    let since = std::time::Instant::now();
    while market.offer(1).call().await.map(|offer| offer.slots).unwrap_or_default() == 0 {
        assert!(since.elapsed() < std::time::Duration::from_secs(60), "the provider lists no slots");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let tiny = WalletLimits { daily: U96::from(10_000_000_000_000u64), ..wallet.limits().call().await.unwrap() };
    assert!(wallet.setLimits(tiny).send().await.unwrap().get_receipt().await.unwrap().status());
    rent(good.to_str().unwrap(), &["daily limit", "0.00001 AIT", "owner"]);
    let held = Amount::from(wallet.reserved().call().await.unwrap());
    assert_eq!(held, Amount::ZERO, "escrow was left behind");
    provider.stop().await;
}
