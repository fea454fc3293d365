//! Jobs that are there together are bid for and matched together, and none pays more because another waits.

use std::{collections::BTreeSet, process::Stdio};

use alloy::{providers::Provider, rpc::types::Filter, sol_types::SolEvent};
use contracts::{bindings::IAIPowerRental as Market, ids::AgreementId};
use keeper::socket::Request;

use crate::{
    actors::Actor,
    support::{change, command, does, offer_of, stage, until},
};

const JOBS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn eight_jobs_are_no_eight_times_one() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    change(&stage, "provider-cpu", "slots = 2", &format!("slots = {JOBS}"));
    let agent = Actor::start(&stage, "agent").await.unwrap();
    let provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    offer_of(&provider).await;
    let input = dir.path().join("notes.md");
    std::fs::write(&input, "# Notes\n\nWords to work on.\n").unwrap();
    let [at, out, input] =
        [agent.data_dir.clone(), dir.path().join("results"), input].map(|path| path.display().to_string());
    let rent = ["rent", "--data-dir", &at, "--out", &out, "--class", "cpu_only", "--task", "text_processing"];
    let rent = [&rent[..], &["--input", &input, "--max-duration", "60s"]].concat();

    does(&["pause", "--data-dir", &at], &[]);
    let hand_in = |_| command(&rent).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let clients: Vec<_> = (0..JOBS).map(hand_in).collect();
    until("all jobs", async || {
        let status = agent.document(Request::Status).await.ok()?;
        (status["jobs"].as_array()?.len() == JOBS).then_some(())
    })
    .await;
    does(&["resume", "--data-dir", &at], &[]);
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }

    let filter = Filter::new().address(stage.deployment.market).from_block(0);
    let logs = stage.chain.get_logs(&filter).await.unwrap();
    let of = |topic| logs.iter().filter(move |log| log.topic0() == Some(&topic));
    let blocks = |topic| of(topic).filter_map(|log| log.block_number).collect::<BTreeSet<_>>();
    let placed = of(Market::BidPlaced::SIGNATURE_HASH);
    let ticks =
        placed.map(|log| AgreementId::from(Market::BidPlaced::decode_log(&log.inner).unwrap().agreementId).tick());
    let ticks: Vec<_> = ticks.collect();
    assert!(ticks.len() == JOBS && ticks.iter().all(|tick| *tick == ticks[0]), "slots were free for all: {ticks:?}");
    // One at a time they would be in eight blocks each. A bid may leave before the others have reached the relay, and a block may
    // come between the first match and the last.
    let (bid, matched) = (blocks(Market::BidPlaced::SIGNATURE_HASH), blocks(Market::AgreementCreated::SIGNATURE_HASH));
    assert!(bid.len() <= 3 && matched.len() <= 5, "bids in blocks {bid:?}, matches in {matched:?}");
    provider.stop().await;
    agent.stop().await;
}
