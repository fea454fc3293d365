//! A dispute as the arbiter meets it.

use alloy::primitives::{Address, B256};
use contracts::{
    bindings::{IAIPowerRental, IAgentWallet, Status},
    ids::AgreementId,
    units::Amount,
};
use keeper::socket::Request;

use crate::{
    actors::Actor,
    support::{chain_config, command, does, json, offer_of, password_place, person, refuses, stage, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn listed_shown_and_ruled_on() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let (arbiter, key) = person(&stage, "arbiter", "0").await;
    let (_, stranger_key) = person(&stage, "stranger", "0").await;
    let market = IAIPowerRental::new(stage.deployment.market, &stage.chain);
    let now = market.config().call().await.unwrap();
    let sent = market.setConfig(now.feeBps, now.treasury, arbiter, now.pauser).send().await.unwrap();
    assert!(sent.get_receipt().await.unwrap().status());
    let agent = Actor::start(&stage, "agent").await.unwrap();
    let provider = Actor::start(&stage, "provider-cpu").await.unwrap();
    offer_of(&provider).await;

    let input = dir.path().join("notes.md");
    std::fs::write(&input, "# Notes\n\nWords to work on.\n").unwrap();
    let (at, input) = (agent.data_dir.display().to_string(), input.display().to_string());
    let out = dir.path().join("results").display().to_string();
    let rent = ["rent", "--data-dir", &at, "--task", "text_processing", "--input", &input, "--out", &out];
    let mut client =
        command(&rent).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let submitted = async || {
        let status = agent.document(Request::Status).await.ok()?;
        let row = status["rentals"].as_array()?.iter().find(|row| row["status"] == "submitted")?.clone();
        serde_json::from_value::<AgreementId>(row["rental"].clone()).ok()
    };
    let rental = until("a submitted result", submitted).await;
    let wallet = IAgentWallet::new(stage.wallet, &stage.chain);
    let filed = wallet.dispute(rental.into(), B256::repeat_byte(7)).send().await.unwrap();
    assert!(filed.get_receipt().await.unwrap().status(), "the owner may dispute");
    client.wait().unwrap();

    let api = format!("http://{}", stage.api);
    let (id, wallet_text) = (rental.to_string(), stage.wallet.to_string());
    let listed = async || {
        let found = json(&["dispute", "list", "--api", &api, "--json"]);
        (!found.as_array()?.is_empty()).then_some(found)
    };
    let found = until("the dispute in the index", listed).await;
    assert_eq!(found[0]["id"], id.as_str());
    does(&["dispute", "list", "--api", &api], &[&id, "AIT", "DEFAULT RULING"]);
    does(&["dispute", "list", "--api", &api, "--wallet", &wallet_text], &[&id]);
    does(&["dispute", "list", "--api", &api, "--wallet", &Address::repeat_byte(1).to_string()], &["none is disputed"]);
    does(&["dispute", "show", &id, "--api", &api], &["is disputed", "claimed", "default ruling", &wallet_text]);
    refuses(&["dispute", "list", "--api", "http://127.0.0.1:1"], &["no query API", "--api"]);
    refuses(&["dispute", "show", "0x01", "--api", &api], &["no bid or rental"]);

    let (config, place) = (chain_config(&stage), password_place());
    let rule = |key: &str, pay: &str, slash: &str| {
        [
            "dispute",
            "rule",
            &id,
            "--config",
            &config,
            "--key",
            key,
            "--password",
            &place,
            "--pay",
            pay,
            "--slash",
            slash,
        ]
        .map(str::to_owned)
    };
    let refused = |arguments: [String; 13], words: &[&str]| refuses(&arguments.each_ref().map(String::as_str), words);
    refused(rule(&stranger_key, "0", "0"), &["only the arbiter rules", &arbiter.to_string()]);
    refused(rule(&key, "100", "0"), &["more than the escrow"]);
    refused(rule(&key, "0", "100"), &["more than the slot's bond"]);
    refused(rule(&key, "nothing", "0"), &["nothing", "AIT"]);
    does(&rule(&key, "0", "0").each_ref().map(String::as_str), &["mined", "0 AIT of"]);
    let agreement = market.agreement(rental.into()).call().await.unwrap();
    assert_eq!((agreement.status, Amount::from(agreement.paid)), (Status::Resolved, Amount::ZERO));
    refused(rule(&key, "0", "0"), &["resolved, not disputed"]);
    let resolved = async || {
        let found = json(&["dispute", "list", "--api", &api, "--resolved", "--json"]);
        (!found.as_array()?.is_empty()).then_some(())
    };
    until("the ruling in the index", resolved).await;
    does(&["dispute", "show", &id, "--api", &api], &["is resolved", "ruled", "pay 0 AIT"]);
    provider.stop().await;
    agent.stop().await;
}
