#![allow(clippy::unwrap_used)]
use super::*;

const GOOD: &str = r#"
        data_dir = "data"
        [chain]
        rpc_urls = ["http://127.0.0.1:8545"]
        chain_id = 31337
        market = "0x0000000000000000000000000000000000000001"
        factory = "0x0000000000000000000000000000000000000002"
        forwarder = "0x0000000000000000000000000000000000000003"
        preset = "demo"
        [provider]
        key = { keystore = "key.json", password = "env:PASSWORD" }
        class = "cpu_only"
        slots = 2
        reserve_per_hour = "0.01"
        max_duration = "10m"
        listen = "127.0.0.1:0"
        worker = "/bin/worker"
        cpus = 0.5
        memory_mib = 256
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keeper.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path)?;
    assert_eq!(config.data_dir, dir.path().join("data"));
    Ok(config)
}

#[test]
fn a_good_file_loads() {
    let provider = load(GOOD).unwrap().provider.unwrap();
    assert_eq!(provider.max_duration.as_secs(), 600);
    assert_eq!(provider.reserve_per_hour.0.0, 10_000_000_000_000_000);
}

#[test]
fn tls_is_asked_for_outside_the_demo() {
    let with = |lines: &str| load(&GOOD.replace("\"demo\"", "\"l2\"").replace("slots = 2", lines));
    let tls = "slots = 2\nendpoint = \"https://a.example\"\ntls = { certificate = \"c.pem\", key = \"k.pem\" }";
    let files = with(tls).unwrap().provider.unwrap().tls.unwrap();
    assert!(files.certificate.is_absolute() && files.key.ends_with("k.pem"));
    with("slots = 2\nendpoint = \"https://behind.a.proxy\"").unwrap();
    with("slots = 2\nallow_plain_http = true").unwrap();
    let bucket = "bucket = { url = \"s3://b/p/q\", access_key = \"env:A\", secret_key = \"env:S\" }";
    let provider = with(&format!("slots = 2\n{bucket}")).unwrap().provider.unwrap();
    assert_eq!(provider.bucket.unwrap().parts(), Some(("b", "p/q")));
    with(&format!("slots = 2\nendpoint = \"https://a.example\"\n{bucket}")).unwrap_err();
    with("slots = 2\nendpoint = \"http://a.example\"").unwrap_err();
}

#[test]
fn what_is_wrong_is_named() {
    for (from, to, word) in [
        ("slots = 2", "slots = 0", "provider.slots"),
        ("slots = 2", "slots = 2\ncolour = 1", "colour"),
        ("cpu_only", "quantum", "quantum"),
        ("\"0.01\"", "\"cheap\"", "cheap"),
        ("cpus = 0.5", "cpus = 0.0", "provider.cpus"),
        ("slots = 2", "slots = 2\ngpus = [\"nvidia.com/gpu=0\"]", "1 devices for 2 slots"),
        ("slots = 2", "slots = 1\ngpus = [\"/dev/nvidia0\"]", "/dev/nvidia0"),
        ("[\"http://127.0.0.1:8545\"]", "[]", "chain.rpc_urls"),
        ("slots = 2", "slots = 2\ntls = { certificate = \"c.pem\", key = \"k.pem\" }", "provider.endpoint must be"),
        ("slots = 2", "slots = 2\ntls = { certificate = \"c.pem\" }", "key"),
        ("\"demo\"", "\"l2\"", "allow_plain_http"),
        (
            "slots = 2",
            "slots = 2\nbucket = { url = \"s3://b\", access_key = \"env:A\", secret_key = \"env:S\" }",
            "s3://NAME",
        ),
        ("slots = 2", "slots = 2\nbucket = { url = \"s3://b/p\", access_key = \"env:A\" }", "secret_key"),
        (
            "[provider]",
            "[agent]\nwallet = \"0x0000000000000000000000000000000000000004\"\nmin_speed = 2.0\n\
             session_key = { keystore = \"a\", password = \"env:A\" }\n\
             relayer_key = { keystore = \"b\", password = \"env:B\" }\n[provider]",
            "agent.min_speed = 2",
        ),
        ("[provider]", "[relay]\nmax_batch = 0\n[provider]", "relay.max_batch"),
        ("[provider]", "[relay]\nmax_bach = 2\n[provider]", "max_bach"),
        ("[provider]", "[relay]\nmin_balance = 1.0\n[provider]", "relay.warn_balance"),
        ("http://127.0.0.1:8545", "env:NO_SUCH_VARIABLE_HERE", "NO_SUCH_VARIABLE_HERE"),
        ("data_dir = \"data\"", "", "data_dir"),
        ("[provider]", "[metrics]\nlisten = \"here\"\n[provider]", "listen"),
    ] {
        let error = load(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_node_of_a_fleet_names_its_offers() {
    let owner = "owner = \"0x0000000000000000000000000000000000000009\"";
    let with = |lines: &str| load(&GOOD.replace("reserve_per_hour = \"0.01\"", lines));
    let provider = with(&format!("{owner}\noffers = [7, 8]")).unwrap().provider.unwrap();
    assert_eq!((provider.owner, provider.offers.as_deref()), (Some(Address::with_last_byte(9)), Some(&[7, 8][..])));
    with("offers = [7]").unwrap();
    for (lines, word) in [
        (format!("reserve_per_hour = \"0.01\"\n{owner}"), "provider.offers is missing"),
        ("offers = []".to_owned(), "names 0"),
        (format!("offers = {:?}", (0..65).collect::<Vec<_>>()), "names 65"),
        ("offers = [7, 8, 7]".to_owned(), "offer 7 twice"),
        ("offers = [7]\nreserve_per_hour = \"0.01\"".to_owned(), "provider.reserve_per_hour"),
        (String::new(), "provider.reserve_per_hour = 0"),
        ("offers = [7]\nowner = \"me\"".to_owned(), "owner"),
    ] {
        let error = with(&lines).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn every_error_names_line_and_key() {
    for (from, to, line, key) in [
        ("slots = 2", "slots = 0", 13, "slots"),
        ("slots = 2", "slots = -2", 13, "slots"),
        ("slots = 2", "slots = \"two\"", 13, "slots"),
        ("slots = 2", "slot = 2", 13, "slot"),
        ("preset = \"demo\"", "preset = \"test\"", 9, "preset"),
        ("chain_id = 31337", "chain_id = \"0x1\"", 5, "chain_id"),
        ("factory = \"0x0000000000000000000000000000000000000002\"", "factory = \"0x02\"", 7, "factory"),
        ("max_duration = \"10m\"", "max_duration = \"1m\"", 15, "max_duration"),
        ("\"127.0.0.1:0\"", "\"localhost\"", 16, "listen"),
        ("memory_mib = 256", "memory_mib = 16", 19, "memory_mib"),
        ("memory_mib = 256", "", 10, "memory_mib"),
        ("preset = \"demo\"", "preset = \"demo\"\npoll_ms = 1", 10, "poll_ms"),
    ] {
        let error = load(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(key), "{to}: {key}: {error}");
        assert!(error.contains(&format!("line {line}")), "{to}: line {line}: {error}");
    }
}

#[test]
fn a_client_needs_the_chain_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.toml");
    let (head, _) = GOOD.split_once("[provider]").unwrap();
    std::fs::write(&path, head).unwrap();
    assert_eq!(Config::load_for_client(&path).unwrap().chain.chain_id, 31_337);
    assert!(Config::load(&path).unwrap_err().to_string().contains("[provider]"));
}

#[test]
fn paths_do_not_depend_on_where_the_keeper_is_started() {
    let file = tempfile::NamedTempFile::new_in(".").unwrap();
    std::fs::write(file.path(), GOOD).unwrap();
    let config = Config::load(Path::new(file.path().file_name().unwrap())).unwrap();
    assert_eq!(config.data_dir, std::env::current_dir().unwrap().join("data"));
}

#[test]
fn password_files_lie_beside_the_configuration() {
    let provider = load(&GOOD.replace("env:PASSWORD", "file:password")).unwrap().provider.unwrap();
    let file = provider.key.password.strip_prefix("file:").unwrap();
    assert_eq!(Path::new(file).parent(), provider.key.keystore.parent());
}

#[test]
fn secrets_of_buckets_lie_beside_the_configuration() {
    let keys = "access_key = \"file:access\", secret_key = \"file:secret\"";
    let bucket = format!("slots = 2\nbucket = {{ url = \"s3://b/p\", {keys} }}");
    let provider = load(&GOOD.replace("slots = 2", &bucket)).unwrap().provider.unwrap();
    let bucket = provider.bucket.unwrap();
    for reference in [bucket.access_key, bucket.secret_key] {
        assert_eq!(Path::new(reference.strip_prefix("file:").unwrap()).parent(), provider.key.keystore.parent());
    }
}

#[test]
fn what_is_published_is_the_bucket_or_the_endpoint_or_the_address() {
    for (lines, published) in [
        ("", "http://127.0.0.1:0"),
        ("endpoint = \"https://a.example\"", "https://a.example"),
        ("bucket = { url = \"s3://b/p\", access_key = \"env:A\", secret_key = \"env:S\" }", "s3://b/p"),
    ] {
        let provider = load(&GOOD.replace("slots = 2", &format!("slots = 2\n{lines}"))).unwrap().provider.unwrap();
        assert_eq!(provider.published(provider.listen), published);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/keeper.toml")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/keeper.toml") && error.contains("--config"), "{error}");
}
