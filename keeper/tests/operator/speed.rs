//! Providers are measured, and an agent keeps off a slow one.

use std::{process::Stdio, time::Duration};

use keeper::{
    act::containers::{Engine, EngineConfig},
    benchmark::is_run,
    socket::{Question, Request},
};
use serde_json::Value;

use crate::{
    actors::{Actor, READY_WITHIN},
    support::{change, command, does, json, offer_of, refuses, stage, until},
};

/// Much below half of the reference machine, whatever runs the test.
const SLOW_CPUS: &str = "cpus = 0.25";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_is_found_out_and_the_job_done_by_a_fast_one() {
    let socket = std::env::var("OPENCLAW_TEST_DOCKER")
        .expect("OPENCLAW_TEST_DOCKER is the socket of an engine that limits what workers use: run script/test");
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    change(&stage, "provider-cpu", "cpus = 0.5", SLOW_CPUS);
    change(&stage, "provider-gpu", "class = \"mid_range_gpu\"", "class = \"cpu_only\"");
    // Cheaper, so that it also takes a bid that was priced for the slow one alone.
    change(&stage, "provider-gpu", "reserve_per_hour = \"0.03\"", "reserve_per_hour = \"0.004\"");
    let mut slow = Actor::start(&stage, "provider-cpu").await.unwrap();
    let at_slow = slow.data_dir.display().to_string();
    offer_of(&slow).await;
    does(&["offer", "list", "--data-dir", &at_slow], &["not measured"]);

    // A keeper that is killed while it measures leaves no container behind for long.
    let owner = std::fs::read_to_string(slow.data_dir.join("node-id")).unwrap();
    let engine = Engine::connect(&EngineConfig::Docker { socket: Some(socket), owner }).await.unwrap();
    let runs = async || {
        let held = engine.list(stage.deployment.chain_id).await.unwrap();
        held.into_iter().filter(|found| is_run(found.id.rental)).count()
    };
    let measure = ["offer", "measure", "--data-dir", &at_slow];
    let mut cut_off = command(&measure).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a run of the benchmark", async || (runs().await == 1).then_some(())).await;
    refuses(&measure, &["being measured already"]);
    slow.crash().await.unwrap();
    assert!(!cut_off.wait().unwrap().success());
    assert_eq!(runs().await, 1);
    slow.come_back(None).unwrap();
    slow.ready(READY_WITHIN).await.unwrap();
    until("the end of what was cut off", async || (runs().await == 0).then_some(())).await;

    let score = json(&[measure.as_slice(), &["--json"]].concat());
    assert_eq!((&score["cpus_milli"], &score["class"]), (&250.into(), &"cpu_only".into()), "{score:#}");
    assert!(score["score_milli"].as_u64().unwrap() < 500, "{score:#}");
    assert_eq!(runs().await, 0);
    does(&["offer", "list", "--data-dir", &at_slow], &["of the reference, by the processor alone", "with 0.25 cpus"]);
    does(&["status", "--data-dir", &at_slow], &["by the processor alone"]);

    let agent = Actor::start(&stage, "agent").await.unwrap();
    let at_agent = agent.data_dir.display().to_string();
    let speed = until("the slow provider's score", async || {
        let status = agent.document(Request::Status).await.ok()?;
        status["agent"]["speeds"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(speed["score"], score, "{speed:#}");
    assert_eq!((&speed["avoided"], &speed["known_by"]), (&true.into(), &"its own score".into()), "{speed:#}");
    does(&["status", "--data-dir", &at_agent], &["KNOWN BY", "its own score", "yes"]);

    // The only one who sells takes the bid, and is called off for its speed.
    let input = dir.path().join("notes.md");
    std::fs::write(&input, "# Notes\n\nWords to work on. More words.\n").unwrap();
    let (input, out) = (input.display().to_string(), dir.path().join("results").display().to_string());
    let rent = ["rent", "--data-dir", &at_agent, "--task", "text_processing", "--input", &input, "--out", &out];
    let told = std::fs::File::create(dir.path().join("told")).unwrap();
    let mut rent = command(&[rent.as_slice(), &["--class", "cpu_only", "--max-price", "0.06"]].concat())
        .stdout(told.try_clone().unwrap())
        .stderr(told)
        .spawn()
        .unwrap();
    until("a rental that is called off", async || {
        let records = agent.document(Request::Journal { limit: 100 }).await.ok()?;
        let key = |record: &Value| record["key"].as_str().is_some_and(|key| key.starts_with("cancel/"));
        records.as_array()?.iter().any(key).then_some(())
    })
    .await;
    does(&["pause", "--data-dir", &at_slow], &["paused"]);
    let fast = Actor::start(&stage, "provider-gpu").await.unwrap();
    let ended = until("the job's end", async || rent.try_wait().unwrap()).await;
    let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
    assert!(ended.success(), "{told}");
    assert!(told.contains("by its own score, of what cpu_only should; it is called off before the start"), "{told}");

    let job = agent.document(Request::Show(Question::Job { job: "job-1".parse().unwrap() })).await.unwrap();
    assert_eq!(job["outcome"]["state"], "finished", "{job:#}");
    let rentals = job["rentals"].as_array().unwrap();
    let by = |number: usize| serde_json::to_value(stage.providers[number]).unwrap();
    let called_off = |row: &&Value| row["status"] == "cancelled" && row["provider"] == by(0);
    let given_up = rentals.iter().filter(called_off).count();
    assert!((1..=2).contains(&given_up), "{job:#}");
    assert!(rentals.iter().any(|row| row["provider"] == by(1) && row["status"] != "cancelled"), "{job:#}");
    // Half of the minimum bill was burnt for each, and nothing else of theirs was paid.
    for row in rentals.iter().filter(called_off) {
        let [paid, escrow] = [&row["paid"], &row["escrow"]].map(|it| it.as_str().unwrap().parse::<u128>().unwrap());
        assert!(paid > 0 && paid < escrow / 10, "{row:#}");
    }
    for actor in [slow, fast, agent] {
        tokio::time::timeout(Duration::from_secs(20), actor.stop()).await.unwrap();
    }
}
