//! The relay inside a keeper: what ends the one ends the other, and says why.

use std::{path::Path, time::Duration};

use alloy::primitives::Address;
use keeper::{
    config::{Config, chain_table},
    daemon,
    journal::{Journal, State},
    keys,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    flight::direct,
    support::{PATIENCE, World},
};

/// Keys and configuration of an agent's keeper in `folder`; gives the relaying account.
fn prepare(world: &World, folder: &Path, more: &str) -> Address {
    std::fs::write(folder.join("password"), "test").unwrap();
    keys::create(&folder.join("session.json"), "test").unwrap();
    let relayer = keys::create(&folder.join("relayer.json"), "test").unwrap();
    let key = |name: &str| format!("{{ keystore = \"{name}.json\", password = \"file:password\" }}");
    let config = format!(
        "data_dir = \"data\"\n{}poll_ms = 50\n[agent]\nwallet = \"{}\"\nsession_key = {}\nrelayer_key = {}\n{more}",
        chain_table(&world.proxy.url, &world.market),
        world.session.wallet,
        key("session"),
        key("relayer"),
    );
    std::fs::write(folder.join("keeper.toml"), config.replace("RELAYER", &key("relayer"))).unwrap();
    relayer.address()
}

/// How a keeper on `folder` ends by itself.
async fn ends(folder: &Path) -> String {
    let config = Config::load(&folder.join("keeper.toml")).unwrap();
    let running = daemon::run(config, CancellationToken::new());
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("the keeper ends by itself");
    format!("{:#}", ended.expect_err("it ends with an error"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_relay_ends_the_keeper_and_is_named() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let sender = prepare(&world, folder.path(), "");
    {
        let journal = Journal::open(&folder.path().join("data/journal")).unwrap();
        let key = journal.plan(direct()[0].clone(), "wished".into(), 1).unwrap().intent.key();
        journal.advance(&key, State::Signed { hash: Default::default(), sender, nonce: 4 }, 2).unwrap();
    }
    let error = ends(folder.path()).await;
    assert!(error.contains("provider/register") && error.contains("outbox"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_refuses_accounts_that_it_does_not_own_alone() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    prepare(&world, folder.path(), "more_relayer_keys = [RELAYER]\n");
    let error = ends(folder.path()).await;
    assert!(error.contains("named twice"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let relayer = prepare(&world, folder.path(), "");
    let code = format!("0xef0100{:x}", Address::repeat_byte(7));
    world.raw("anvil_setCode", json!([relayer, code])).await;
    let error = ends(folder.path()).await;
    assert!(error.contains("EIP-7702") && error.contains(&relayer.to_string()), "{error}");
}

/// A stop is no fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_stopped_ends_well() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    prepare(&world, folder.path(), "");
    let config = Config::load(&folder.path().join("keeper.toml")).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(daemon::run(config, stop.clone()));
    let socket = folder.path().join("data").join(keeper::socket::SOCKET_NAME);
    let since = std::time::Instant::now();
    while !socket.exists() {
        assert!(since.elapsed() < PATIENCE && !running.is_finished(), "the keeper does not get ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), running).await.unwrap().unwrap().unwrap();
}
