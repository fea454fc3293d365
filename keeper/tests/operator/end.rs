//! A keeper's end: in time, whatever it is at, and with nothing lost.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use keeper::socket::Request;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{
    actors::Actor,
    support::{again, ask_to_end, change, command, does, live, offer_of, run, stage, until},
};

/// A keeper that was asked to end is gone within this.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// A keeper asked to end does so in time, whatever it is at, and the next start finishes the work.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_the_middle_of_a_rental() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let mut agent = Actor::start(&stage, "agent").await.unwrap();
    let mut provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    offer_of(&provider).await;
    let input = dir.path().join("notes.md");
    std::fs::write(&input, "# Notes\n\nWords to work on.\n").unwrap();
    let (at, input) = (agent.data_dir.display().to_string(), input.display().to_string());
    let out = dir.path().join("results").display().to_string();
    let rent = ["rent", "--data-dir", &at, "--task", "text_processing", "--input", &input, "--out", &out];
    let mut client = command(&rent).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // Started, and not yet deep enough for the worker: the middle of the work.
    until("a running rental", async || live(&agent).await.into_iter().find(|row| row["status"] == "running")).await;
    for (actor, name) in [(&mut provider, "provider-cpu"), (&mut agent, "agent")] {
        let took = ask_to_end(actor, name).await;
        assert!(took < GONE_WITHIN, "{name} took {took:?}");
    }
    assert!(!client.wait().unwrap().success(), "the client is told that its keeper went away");
    again(&mut provider).await;
    again(&mut agent).await;
    does(&["rent", "--data-dir", &at, "--job", "job-1"], &["results"]);
    provider.stop().await;
    agent.stop().await;
}

/// A machine that boots may start the keeper before its engine; and who waits for one ends in time, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_yet_is_waited_for() {
    let engine = std::env::var("OPENCLAW_TEST_DOCKER").expect("OPENCLAW_TEST_DOCKER names an engine: run script/test");
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let later = dir.path().join("engine.sock");
    change(&stage, "provider-cpu", &engine, &format!("unix://{}", later.display()));
    let log = dir.path().join("provider-cpu.log");
    let waits = async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.contains("no container engine answers") && text.contains("asked again")).then_some(())
    };
    let mut impatient = command(&["run", "--config", &stage.config("provider-cpu").display().to_string()])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    until("a keeper that waits", waits).await;
    let since = Instant::now();
    kill_process(Pid::from_child(&impatient), Signal::TERM).unwrap();
    impatient.wait().unwrap();
    assert!(since.elapsed() < GONE_WITHIN, "it took {:?}", since.elapsed());

    std::fs::remove_file(&log).unwrap();
    let comes = async {
        until("a keeper that waits", waits).await;
        std::os::unix::fs::symlink(engine.trim_start_matches("unix://"), &later).unwrap();
    };
    let (started, ()) = tokio::join!(Actor::start(&stage, "provider-cpu"), comes);
    let provider = started.unwrap();
    offer_of(&provider).await;
    provider.stop().await;
}

/// An endpoint that neither answers nor hangs up does not hold the end up.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_while_the_endpoint_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let frozen = CancellationToken::new();
    let rpc = forward(stage.rpc.strip_prefix("http://").unwrap().to_owned(), frozen.clone()).await;
    let text = std::fs::read_to_string(stage.config("agent")).unwrap();
    let text = text.replace(&stage.rpc, &rpc).replace("data_dir = \"agent\"", "data_dir = \"hung\"");
    std::fs::write(stage.config("hung"), text).unwrap();
    let mut agent = Actor::start(&stage, "hung").await.unwrap();
    // There is something to ask the chain for all the time: a job that looks for money to bid with.
    let input = dir.path().join("notes.md");
    std::fs::write(&input, "words").unwrap();
    let (at, input) = (agent.data_dir.display().to_string(), input.display().to_string());
    let rent = ["rent", "--data-dir", &at, "--task", "text_processing", "--input", &input];
    let mut client = command(&rent).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the job", async || {
        (!agent.document(Request::Status).await.ok()?["jobs"].as_array()?.is_empty()).then_some(())
    })
    .await;
    frozen.cancel();
    let late = async || (agent.document(Request::Status).await.ok()?["block_age_s"].as_u64()? > 3).then_some(());
    until("a silent chain", late).await;
    let took = ask_to_end(&mut agent, "hung").await;
    assert!(took < GONE_WITHIN, "it took {took:?}");
    assert!(!client.wait().unwrap().success());
}

/// Logs are lines of JSON when that is asked for, and people's lines otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_when_asked_for() {
    let said = run(&["run", "--config", "/nowhere/keeper.toml", "--log", "loud"]);
    assert!(!said.ok && said.err.contains("loud") && said.err.contains("text, json"), "{}", said.err);
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let config = stage.config("agent").display().to_string();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut child = command(&["run", "--config", &config, "--log", "json"]).stderr(file).spawn().unwrap();
    let ready = async || std::fs::read_to_string(&log).ok()?.contains("keeper ready").then_some(());
    until("the keeper", ready).await;
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let since = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success() && since.elapsed() < GONE_WITHIN);
    let text = std::fs::read_to_string(&log).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string() && line["fields"]["message"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    // Nothing secret is in it.
    assert!(!text.contains(&format!("\"{}\"", crate::stage::password())), "{text}");
}

/// Passes bytes on to `to` until `frozen`; then connections stay open and silent.
async fn forward(to: String, frozen: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, frozen) = (to.clone(), frozen.clone());
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = frozen.cancelled() => std::future::pending().await,
                }
            });
        }
    });
    url
}
