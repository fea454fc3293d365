//! The program, a stage for it, and waiting with an end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, U256},
    providers::Provider,
};
use contracts::{bindings::IERC20, units::Amount};
use keeper::{keys, socket::Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    actors::{Actor, READY_WITHIN},
    stage::{self, Options, Stage},
};

/// What a command said, and whether it ended well.
pub(crate) struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

/// Runs the program with the demo's password in its environment.
pub(crate) fn run(arguments: &[&str]) -> Said {
    let output = command(arguments).output().expect("the keeper starts");
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keeper"));
    command.args(arguments).env(stage::PASSWORD_VARIABLE, stage::password()).env("NO_COLOR", "1");
    for variable in ["KEEPER_CONFIG", "KEEPER_DATA_DIR", "KEEPER_OWNER_KEY", "KEEPER_PASSWORD", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// The command must end well and say all of `words`; gives what it said.
#[track_caller]
pub(crate) fn does(arguments: &[&str], words: &[&str]) -> String {
    let said = run(arguments);
    assert!(said.ok, "{arguments:?} failed:\n{}{}", said.err, said.out);
    for word in words {
        assert!(said.out.contains(word), "{arguments:?} does not say '{word}':\n{}{}", said.out, said.err);
    }
    said.out
}

/// The command must fail and say all of `words`.
#[track_caller]
pub(crate) fn refuses(arguments: &[&str], words: &[&str]) {
    let said = run(arguments);
    let text = said.err + &said.out;
    assert!(!said.ok, "{arguments:?} ended well:\n{text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?} does not say '{word}':\n{text}");
    }
}

/// Runs a command whose output is JSON.
#[track_caller]
pub(crate) fn json(arguments: &[&str]) -> Value {
    let out = does(arguments, &[]);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}:\n{out}"))
}

/// A chain with a market and everything for keepers, under `data`.
pub(crate) async fn stage(data: &Path) -> Stage {
    let docker = std::env::var("OPENCLAW_TEST_DOCKER").ok();
    let options = Options {
        anvil: Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin/anvil"),
        worker: worker(),
        engine: if docker.is_some() { "docker" } else { "process" },
        docker_socket: docker,
        data: data.to_owned(),
    };
    let stage = Stage::set(&options).await.unwrap();
    stage.write_configs(&options, |_| stage.rpc.clone()).unwrap();
    stage
}

/// The reference worker in the build folder; static, if it is there.
fn worker() -> PathBuf {
    if let Ok(path) = std::env::var("OPENCLAW_TEST_WORKER") {
        return path.into();
    }
    let folder = Path::new(env!("CARGO_BIN_EXE_keeper")).parent().unwrap();
    let found = ["worker-static", "worker"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no worker in {}: run script/build", folder.display()))
}

/// A new key in a keystore, with gas coin and AIT; gives its address and its file.
pub(crate) async fn person(stage: &Stage, name: &str, ait: &str) -> (Address, String) {
    let path = stage.data.join(format!("keys/{name}.json"));
    let address = keys::create(&path, stage::password()).unwrap().address();
    let ten = U256::from(10_000_000_000_000_000_000u128);
    stage.chain.raw_request::<_, ()>("anvil_setBalance".into(), (address, ten)).await.unwrap();
    let amount: Amount = ait.parse().unwrap();
    if amount > Amount::ZERO {
        let token = IERC20::new(stage.deployment.token, &stage.chain);
        let sent = token.mint(address, U256::from(amount.0)).send().await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
    }
    (address, path.display().to_string())
}

/// A configuration with the `[chain]` table alone, as an owner without a keeper has it.
pub(crate) fn chain_config(stage: &Stage) -> String {
    let text = std::fs::read_to_string(stage.config("agent")).unwrap();
    let (head, _) = text.split_once("[agent]").unwrap();
    let (_, chain) = head.split_once('\n').unwrap();
    let path = stage.data.join("chain.toml");
    std::fs::write(&path, chain).unwrap();
    path.display().to_string()
}

/// `env:NAME` of the password of all keys here.
pub(crate) fn password_place() -> String {
    format!("env:{}", stage::PASSWORD_VARIABLE)
}

/// Adds a line to a keeper's configuration.
pub(crate) fn append(stage: &Stage, name: &str, text: &str) {
    let path = stage.config(name);
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, before + text).unwrap();
}

/// Changes a keeper's configuration.
pub(crate) fn change(stage: &Stage, name: &str, from: &str, to: &str) {
    let path = stage.config(name);
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{name}.toml has no '{from}':\n{before}");
    std::fs::write(path, before.replace(from, to)).unwrap();
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again until `found` finds something; a minute is enough for anything on a chain with a block a second.
pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a provider's keeper has an open offer; gives its number.
pub(crate) async fn offer_of(actor: &Actor) -> u64 {
    use keeper::socket::Question;
    until("an offer", async || {
        let body = actor.document(Request::Show(Question::Offers)).await.ok()?;
        body["offers"].as_array()?.iter().find(|offer| offer["open"] == true)?["offer"].as_u64()
    })
    .await
}

/// An agent's live bids and rentals.
pub(crate) async fn live(agent: &Actor) -> Vec<Value> {
    let status = agent.document(Request::Status).await.unwrap();
    status["rentals"].as_array().cloned().unwrap_or_default()
}

/// Sends SIGTERM and waits for the end; gives how long it took.
pub(crate) async fn ask_to_end(actor: &mut Actor, name: &str) -> Duration {
    let lock = std::fs::read_to_string(actor.data_dir.join("lock")).unwrap();
    let pid = Pid::from_raw(lock.trim().parse().unwrap()).unwrap();
    let since = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = until("the keeper's end", async || actor.check().err()).await;
    let took = since.elapsed();
    assert!(ended.to_string().contains("exit status: 0"), "{name}: {ended}");
    took
}

/// Starts a keeper that has ended on its folder again, and waits until it answers.
pub(crate) async fn again(actor: &mut Actor) {
    actor.come_back(None).unwrap();
    actor.ready(READY_WITHIN).await.unwrap();
}
