//! A keeper's day: what it shows, what an operator has it do, and its end.

use contracts::bindings::{IAIPowerRental, Status};
use serde_json::Value;

use crate::{
    actors::Actor,
    support::{
        again, append, ask_to_end, command, does, free_port, json, live, offer_of, password_place, refuses, run, stage,
        until,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_sees_and_does() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let metrics = free_port();
    append(&stage, "provider-cpu", &format!("\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n"));
    let agent = Actor::start(&stage, "agent").await.unwrap();
    let mut provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    let offer = offer_of(&provider).await;
    let at_agent = agent.data_dir.display().to_string();
    let at_provider = provider.data_dir.display().to_string();

    // A whole rental, with a price: it is the one that is kept to.
    let input = dir.path().join("notes.md");
    std::fs::write(&input, "# Notes\n\nWords to work on. More words.\n").unwrap();
    let input = input.display().to_string();
    let out = dir.path().join("results").display().to_string();
    let rent = ["rent", "--data-dir", &at_agent, "--task", "text_processing", "--input", &input, "--out", &out];
    let priced = [rent.as_slice(), &["--class", "cpu_only", "--max-price", "0.02"]].concat();
    let said = run(&priced);
    assert!(said.ok, "{}", said.err);
    assert!(said.out.contains("summary") || said.out.contains("results"), "{}", said.out);

    does(&["status", "--data-dir", &at_agent], &["is working", "wallet", "job-1", "finished", "nothing is stuck"]);
    does(&["status", "--data-dir", &at_provider], &["cpu_only", "of 2 slots in use", "0.005 AIT per hour", "earned"]);
    let status = json(&["status", "--data-dir", &at_agent, "--json"]);
    assert_eq!(status["jobs"][0]["outcome"]["state"], "finished");
    assert_eq!(status["stuck"].as_array().unwrap().len(), 0, "{status:#}");

    // A running keeper's account is its own.
    let (config, key) = (stage.config("provider-cpu"), dir.path().join("keys/provider-cpu.json"));
    let (config, key, place) = (config.display().to_string(), key.display().to_string(), password_place());
    let withdraw = ["provider", "withdraw", "--config", &config, "--key", &key, "--password", &place];
    refuses(&withdraw, &["is the account of the keeper", "keeper stop"]);

    // The journal, as before and in its parts.
    let records = json(&["journal", "--data-dir", &at_agent]);
    assert_eq!(records, json(&["journal", "list", "--data-dir", &at_agent]));
    assert_eq!(records, json_with_folder(&at_agent, &["journal"]), "the folder's name may come from the environment");
    let one = json(&["journal", "show", "bid/job-1/0", "--data-dir", &at_agent]);
    assert_eq!((&one["intent"]["do"], &one["state"]["state"]), (&"bid".into(), &"done".into()), "{one:#}");
    assert_eq!(json_with_folder(&at_agent, &["journal", "show", "bid/job-1/0"]), one);
    let done = json(&["journal", "list", "--data-dir", &at_agent, "--state", "done", "--limit", "1"]);
    assert_eq!(done.as_array().unwrap().len(), 1);
    does(&["journal", "list", "--data-dir", &at_agent, "--table"], &["KEY", "bid/job-1/0", "done"]);
    refuses(&["journal", "list", "--data-dir", &at_agent, "--state", "lost"], &["lost", "planned"]);
    refuses(&["journal", "show", "bid/job-9/0", "--data-dir", &at_agent], &["bid/job-9/0", "journal list"]);
    for order in ["retry", "abandon"] {
        refuses(&["journal", order, "bid/job-1/0", "--data-dir", &at_agent], &["took effect already"]);
    }
    refuses(&["journal"], &["--data-dir"]);

    // Offers: another price, then the end, which outlives a restart.
    let number = offer.to_string();
    does(&["offer", "list", "--data-dir", &at_provider], &[&number, "open", "cpu_only", "of 2"]);
    refuses(&["offer", "list", "--data-dir", &at_agent], &["no [provider] table"]);
    refuses(&["offer", "update", &number, "--data-dir", &at_provider], &["--reserve-per-hour"]);
    refuses(&["offer", "update", "99", "--reserve-per-hour", "1", "--data-dir", &at_provider], &["no offer 99"]);
    let market = IAIPowerRental::new(stage.deployment.market, &stage.chain);
    let before = market.offer(offer).call().await.unwrap().reserveTick;
    refuses(
        &["offer", "update", &number, "--reserve-per-hour", "0.04", "--data-dir", &at_provider],
        &["bonds of offer", "per hour", "close it"],
    );
    does(&["offer", "update", &number, "--reserve-per-hour", "0.003", "--data-dir", &at_provider], &["being changed"]);
    let cheaper = async || (market.offer(offer).call().await.ok()?.reserveTick < before).then_some(());
    until("the cheaper offer", cheaper).await;
    scrape(metrics).await;

    // A bid that nobody takes is called off.
    does(&["pause", "--data-dir", &at_provider], &["paused"]);
    let mut waiting =
        command(&[rent.as_slice(), &["--class", "cpu_only", "--max-price", "0.06", "--priority", "low"]].concat())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
    let bid = until("the bid", async || live(&agent).await.into_iter().find(|row| row["status"] == "open")).await;
    does(&["cancel", "job-2", "--data-dir", &at_agent], &["job-2", "called off"]);
    does(&["cancel", "job-2", "--data-dir", &at_agent], &["already"]);
    refuses(&["cancel", "job-1", "--data-dir", &at_agent], &["job-1 is done"]);
    refuses(&["cancel", "job-7", "--data-dir", &at_agent], &["job-7 is unknown"]);
    refuses(&["cancel", "3", "--data-dir", &at_agent], &["job-N"]);
    assert!(!waiting.wait().unwrap().success(), "whoever follows the job learns it");
    let id: contracts::ids::AgreementId = serde_json::from_value(bid["rental"].clone()).unwrap();
    let cancelled = async || {
        let status = market.agreement(id.into()).call().await.ok()?.status;
        (status != Status::Open).then_some(status)
    };
    assert_eq!(until("the cancelled bid", cancelled).await, Status::Cancelled);

    does(&["offer", "close", &number, "--data-dir", &at_provider], &["being closed", "keeper resume"]);
    let closed = async || (market.offer(offer).call().await.ok()?.validUntil.is_zero()).then_some(());
    until("the closed offer", closed).await;
    ask_to_end(&mut provider, "provider-cpu").await;
    again(&mut provider).await;
    does(&["status", "--data-dir", &at_provider], &["is paused"]);
    does(&["resume", "--data-dir", &at_provider], &["resumed"]);
    assert_ne!(offer_of(&provider).await, offer, "it lists anew");
    provider.stop().await;
    agent.stop().await;
}

fn json_with_folder(data_dir: &str, arguments: &[&str]) -> Value {
    let output = command(arguments).env("KEEPER_DATA_DIR", data_dir).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn scrape(port: u16) {
    let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap().text().await.unwrap();
    for name in [
        "keeper_live_rentals",
        "keeper_earned_ait",
        "keeper_transactions_total{outcome=\"done\"}",
        "keeper_gas_paid_coins_total",
        "keeper_journal_size_bytes",
        "keeper_index_lag_blocks",
        "keeper_containers",
        "keeper_blobs_size_bytes",
        "keeper_memory_resident_bytes",
        "keeper_settled_rentals",
        "keeper_paused 0",
    ] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#')).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("keeper_memory_resident_bytes") > 1_000_000.0);
    assert!(value("keeper_transactions_total{outcome=\"done\"}") >= 3.0, "{text}");
    assert!(value("keeper_gas_paid_coins_total") > 0.0, "{text}");
}
