//! `keeper config`: what is wrong is found before the keeper runs, and nothing secret is shown.

use crate::{
    actors::Actor,
    support::{append, does, free_port, json, refuses, run, stage},
};

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path()).await;
    append(&stage, "agent", &format!("\n[metrics]\nlisten = \"127.0.0.1:{}\"\n", free_port()));
    let agent = stage.config("agent").display().to_string();
    let provider = stage.config("provider-cpu").display().to_string();
    let said = does(
        &["config", "check", &agent],
        &["✓ chain.rpc_urls", "✓ agent.wallet", "✓ metrics.listen", "a keeper can run with it"],
    );
    assert!(!said.contains('✗'), "{said}");
    does(
        &["config", "check", &provider],
        &["✓ provider.engine", "✓ provider.worker", "✓ provider.listen", "✓ chain.preset"],
    );
    let findings = json(&["config", "check", &provider, "--json"]);
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["good"] == true), "{findings:#}");

    let variant = |of: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(of).unwrap();
        assert!(text.contains(from), "'{from}' is not in {of}");
        let path = dir.path().join("variant.toml");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path.display().to_string()
    };
    let bad = |of: &str, from: &str, to: &str, words: &[&str]| {
        refuses(&["config", "check", &variant(of, from, to)], words);
    };
    let at = stage.deployment;
    let nobody = "0x00000000000000000000000000000000000000aa";
    bad(&agent, &stage.rpc, "http://127.0.0.1:1", &["✗ chain.rpc_urls", "does not answer"]);
    bad(&agent, "chain_id = 31337", "chain_id = 10", &["✗ chain.chain_id", "31337", "10"]);
    bad(&agent, &at.market.to_string(), nobody, &["✗ chain.market", "no code"]);
    bad(&agent, &at.factory.to_string(), &at.token.to_string(), &["✗ chain.factory", &at.factory.to_string()]);
    bad(&agent, &at.forwarder.to_string(), nobody, &["✗ chain.forwarder", "no code"]);
    bad(&agent, "preset = \"demo\"", "preset = \"l2\"", &["✗ chain.preset", "clocks"]);
    bad(&agent, &stage.wallet.to_string(), nobody, &["✗ agent.wallet", "keeper wallet create"]);
    bad(&agent, "keys/session.json", "keys/provider-cpu.json", &["✗ agent.session_key", "keeper wallet authorise"]);
    bad(&agent, "keys/relayer.json", "keys/session.json", &["✗ agent.relayer_key", "no gas coin"]);
    bad(&agent, "env:OPENCLAW_DEMO_PASSWORD", "env:NOT_SET", &["✗ agent.session_key", "NOT_SET"]);
    bad(&provider, "class = \"cpu_only\"", "class = \"cpu\"", &["line", "cpu"]);
    bad(&provider, "keys/provider-cpu.json", "keys/relayer.json", &["✗ provider.key", "no AIT"]);
    let relayer = "relayer_key = { keystore = \"keys/relayer.json\", password = \"env:OPENCLAW_DEMO_PASSWORD\" }";
    let more = |line: &str| format!("{relayer}\n{line}");
    let (_, key) = relayer.split_once(" = ").unwrap();
    let twice = more(&format!("more_relayer_keys = [{key}]"));
    bad(&agent, relayer, &twice, &["✓ agent.more_relayer_keys", "✗ agent.relayer_key", "named twice"]);
    let missing = more("more_relayer_keys = [{ keystore = \"keys/none.json\", password = \"env:NOT_SET\" }]");
    bad(&agent, relayer, &missing, &["✗ agent.more_relayer_keys", "keys/none.json"]);
    bad(&agent, relayer, &more("extra_ca = \"keys/relayer.json\""), &["✗ agent.extra_ca", "PEM"]);
    let bucket = "{ url = \"s3://name/prefix\", access_key = \"env:NOT_SET\", secret_key = \"env:NOT_SET\" }";
    bad(&agent, relayer, &more(&format!("buckets = [{bucket}]")), &["✗ agent.buckets", "NOT_SET", "s3://name/prefix"]);
    let published = format!("slots = 2\nbucket = {bucket}");
    bad(&provider, "slots = 2", &published, &["s3://name/prefix is published", "✗ provider.bucket", "NOT_SET"]);
    let tls = "slots = 2\nendpoint = \"https://a.example\"\ntls = { certificate = \"none.pem\", key = \"none.pem\" }";
    bad(&provider, "slots = 2", tls, &["✗ provider.tls", "none.pem"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    bad(&agent, &stage.api, &busy, &["✗ api.listen", &busy, "taken"]);
    // The engine is asked, whichever the others use.
    let text = std::fs::read_to_string(&provider).unwrap();
    let (head, rest) = text.split_once("engine = ").unwrap();
    let (_, tail) = rest.split_once('\n').unwrap();
    let tail = tail.split_inclusive('\n').filter(|line| !line.starts_with("docker_socket")).collect::<String>();
    let path = dir.path().join("engine.toml");
    std::fs::write(
        &path,
        format!("{head}engine = \"docker\"\ndocker_socket = \"unix:///nowhere/docker.sock\"\n{tail}"),
    )
    .unwrap();
    refuses(&["config", "check", path.to_str().unwrap()], &["✗ provider.engine", "/nowhere/docker.sock"]);
    // A key that others can read.
    let key = dir.path().join("keys/relayer.json");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refuses(&["config", "check", &agent], &["✗ agent.relayer_key", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    // A running keeper's own ports are not held against it.
    let running = Actor::start(&stage, "agent").await.unwrap();
    does(&["config", "check", &agent], &["a keeper runs in it", "by the keeper that runs here"]);
    running.stop().await;
}

#[test]
fn show_leaves_secrets_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keeper.toml");
    let address = |n: u8| format!("0x{n:040x}");
    let text = format!(
        "data_dir = \"data\"\n[chain]\nrpc_urls = [\"https://me:hidden1@rpc.example.org/v3/hidden2?key=hidden3\"]\nchain_id = 10\n\
         market = \"{}\"\nfactory = \"{}\"\nforwarder = \"{}\"\npreset = \"l2\"\n[agent]\nwallet = \"{}\"\n\
         session_key = {{ keystore = \"s.json\", password = \"hidden4\" }}\n\
         relayer_key = {{ keystore = \"r.json\", password = \"env:RELAYER_PASSWORD\" }}\n",
        address(1),
        address(2),
        address(3),
        address(4)
    );
    std::fs::write(&path, text).unwrap();
    let shown = json(&["config", "show", "--config", path.to_str().unwrap()]);
    let said = shown.to_string();
    assert!(!said.contains("hidden"), "{said}");
    assert_eq!(shown["chain"]["rpc_urls"][0], "https://rpc.example.org/…");
    assert_eq!(shown["agent"]["relayer_key"]["password"], "env:RELAYER_PASSWORD");
    assert_eq!(shown["parameters"]["confirmations"], 5);
    assert_eq!(json(&["config", "show", "--preset", "demo"])["confirmations"], 2);
    assert_eq!(json(&["config", "show"])["confirmations"], 5, "as before: the l2 preset");
    let said = run(&["config", "check", path.to_str().unwrap()]);
    assert!(!said.ok && !(said.out + &said.err).contains("hidden"), "a check shows no secrets either");
}
