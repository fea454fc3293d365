//! A wallet's life, from its creation to its last coin.

use alloy::primitives::Address;
use contracts::{
    bindings::{IAgentWallet, IERC20},
    units::Amount,
};

use crate::support::{chain_config, does, json, password_place, person, refuses, stage};

/// A command of `keeper wallet` with whose key signs it.
struct Signed<'a> {
    config: &'a str,
    key: &'a str,
    password: &'a str,
}

impl Signed<'_> {
    fn arguments<'b>(&'b self, command: &'b str, rest: &'b [&'b str]) -> Vec<&'b str> {
        let mut all = vec!["wallet", command, "--config", self.config, "--key", self.key, "--password", self.password];
        all.extend(rest);
        all
    }

    #[track_caller]
    fn does(&self, command: &str, rest: &[&str], words: &[&str]) -> String {
        does(&self.arguments(command, rest), words)
    }

    #[track_caller]
    fn refuses(&self, command: &str, rest: &[&str], words: &[&str]) {
        refuses(&self.arguments(command, rest), words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_creation_to_the_last_coin() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let (owner, key) = person(&stage, "owner", "20").await;
    let (stranger, stranger_key) = person(&stage, "stranger", "1").await;
    let (master, master_key) = person(&stage, "master", "0").await;
    let (worker, _) = person(&stage, "worker-key", "0").await;
    let (config, place) = (chain_config(&stage), password_place());
    let as_owner = Signed { config: &config, key: &key, password: &place };
    let as_stranger = Signed { config: &config, key: &stranger_key, password: &place };
    let as_master = Signed { config: &config, key: &master_key, password: &place };
    let master_text = master.to_string();

    // A dry run sends nothing.
    as_owner.does("create", &["--daily", "2", "--dry-run"], &["dry run", "nothing was sent"]);
    let terms =
        ["--daily", "2", "--per-bid", "1", "--session-key", &master_text, "--rights", "bid,cancel,dispute,delegate"];
    let said = as_owner.does("create", &terms, &["sent   0x", "mined  in block", "2 AIT", "delegate"]);
    let line = said.lines().find_map(|line| line.strip_prefix("wallet ")).unwrap();
    let address: Address = line.parse().unwrap();
    let text = address.to_string();
    let wallet = IAgentWallet::new(address, &stage.chain);
    assert_eq!(wallet.owner().call().await.unwrap(), owner);

    let named = ["--wallet", &text];
    as_owner.does("fund", &["5", "--wallet", &text], &["holds 5 AIT"]);
    as_owner.refuses("fund", &["50", "--wallet", &text], &["holds 15 AIT", "less than 50 AIT"]);
    as_owner.refuses("fund", &["-5", "--wallet", &text], &["-5"]);
    as_owner.refuses(
        "fund",
        &["5", "--wallet", &stage.deployment.token.to_string()],
        &["no wallet", "keeper wallet create"],
    );
    as_owner.does("limits", &["--daily", "3", "--wallet", &text], &["2 AIT → 3 AIT", "1 AIT → 1 AIT"]);
    assert_eq!(Amount::from(wallet.limits().call().await.unwrap().daily), "3".parse().unwrap());
    as_owner.refuses("limits", &named, &["--daily"]);
    as_owner.refuses("limits", &["--daily", "100000", "--wallet", &text], &["LimitTooLarge"]);
    as_stranger.refuses(
        "limits",
        &["--daily", "9", "--wallet", &text],
        &["belongs to", &owner.to_string(), &stranger.to_string()],
    );
    as_stranger.refuses("withdraw", &["all", "--wallet", &text], &["belongs to"]);

    // A master key equips a worker key, within its own limits.
    let worker_text = worker.to_string();
    let within =
        [worker_text.as_str(), "--wallet", &text, "--key-daily", "0.5", "--key-per-bid", "0.2", "--key-lifetime", "1"];
    as_master.does("delegate", &within, &[&worker_text, "0.5 AIT"]);
    let beyond = [stage_key(&stranger), "--wallet".into(), text.clone(), "--key-daily".into(), "900".into()];
    let beyond: Vec<_> = beyond.iter().map(String::as_str).collect();
    as_master.refuses("delegate", &beyond, &["DelegationExceedsParent"]);
    as_stranger.refuses("delegate", &within, &["no live session key"]);
    as_owner.refuses("authorise", &[&worker_text, "--wallet", &text], &["--key-daily"]);
    // A price cap is a tick of the class.
    let capped = [
        master_text.as_str(),
        "--wallet",
        &text,
        "--key-daily",
        "2",
        "--allow",
        "cpu_only=0.02",
        "--rights",
        "bid,cancel,dispute,delegate",
    ];
    as_owner.does("authorise", &capped, &["cpu_only up to tick"]);
    as_owner.refuses(
        "authorise",
        &[&master_text, "--wallet", &text, "--key-daily", "2", "--allow", "cpu_only=0.0001"],
        &["below the lowest price"],
    );

    let shown = json(&["wallet", "show", "--config", &config, "--wallet", &text, "--json"]);
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2, "{shown:#}");
    assert_eq!(shown["tokens"], "5000000000000000000");
    assert_eq!(
        (&shown["keys"][1]["alive"], &shown["keys"][1]["parent"]),
        (&true.into(), &master_text.to_lowercase().into())
    );
    does(
        &["wallet", "show", "--config", &config, "--wallet", &text],
        &["spent in 24 h", "0 AIT of 3 AIT", &worker_text, "could bid now"],
    );

    as_owner.does("revoke", &[&master_text, "--wallet", &text], &["is dead"]);
    assert!(!wallet.isActive(worker).call().await.unwrap(), "a revoked master takes its workers with it");
    as_owner.does("pause", &named, &["is paused"]);
    as_owner.refuses("pause", &named, &["already"]);
    as_owner.does("resume", &named, &["works again"]);
    as_owner.does("revoke-all", &named, &["paused"]);
    assert!(wallet.paused().call().await.unwrap());

    as_owner.refuses("withdraw", &["6", "--wallet", &text], &["holds 5 AIT"]);
    as_owner.refuses("withdraw", &["1", "--wallet", &text, "--to", &text], &["no good receiver"]);
    as_owner.does(
        "withdraw",
        &["1.5", "--wallet", &text, "--to", &stranger.to_string()],
        &["1.5 AIT sent", "holds 3.5 AIT"],
    );
    as_owner.does("withdraw", &["all", "--wallet", &text], &["holds 0 AIT"]);
    let token = IERC20::new(stage.deployment.token, &stage.chain);
    let held = Amount(token.balanceOf(owner).call().await.unwrap().try_into().unwrap());
    assert_eq!(held, "18.5".parse().unwrap(), "everything but what went to the stranger is back");
}

fn stage_key(address: &Address) -> String {
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    let (_, key) = person(&stage, "owner", "1").await;
    let (config, place) = (chain_config(&stage), password_place());
    let wallet = stage.wallet.to_string();
    let pause = |config: &str, key: &str, password: &str, words: &[&str]| {
        refuses(
            &["wallet", "pause", "--config", config, "--key", key, "--password", password, "--wallet", &wallet],
            words,
        );
    };
    pause("/nowhere/chain.toml", &key, &place, &["/nowhere/chain.toml"]);
    pause(&config, "/nowhere/key.json", &place, &["/nowhere/key.json"]);
    pause(&config, &key, "env:NOT_SET_ANYWHERE", &["NOT_SET_ANYWHERE"]);
    pause(&config, &key, "demo", &["env:NAME"]);
    let text = std::fs::read_to_string(&config).unwrap();
    let other = |name: &str, from: &str, to: &str| {
        let path = dir.path().join(name);
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path.display().to_string()
    };
    pause(&other("chain-id.toml", "chain_id = 31337", "chain_id = 5"), &key, &place, &["chain.chain_id = 5", "31337"]);
    pause(&other("rpc.toml", &stage.rpc, "http://127.0.0.1:1"), &key, &place, &["chain.rpc_urls", "does not answer"]);
    let nobody = "0x00000000000000000000000000000000000000aa";
    let market = other("market.toml", &stage.deployment.market.to_string(), nobody);
    pause(&market, &key, &place, &["chain.market", "check the address"]);
    refuses(&["wallet", "pause", "--config", &config, "--key", &key, "--wallet", "0x12"], &["0x12"]);
    // An account without gas coin is told so.
    let poor = dir.path().join("keys/poor.json");
    keeper::keys::create(&poor, crate::stage::password()).unwrap();
    let create = [
        "wallet",
        "create",
        "--config",
        &config,
        "--key",
        poor.to_str().unwrap(),
        "--password",
        &place,
        "--daily",
        "1",
    ];
    refuses(&create, &["gas"]);
}
