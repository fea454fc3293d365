//! A configuration as the keeper understands it, without secrets, and with the clocks of its preset.

use serde_json::{Value, json};

use super::{BucketConfig, Config, KeyConfig, StrategyConfig};

/// The document behind `keeper config show`; amounts are in AIT.
pub fn document(config: &Config) -> Value {
    let chain = &config.chain;
    let agent = config.agent.as_ref().map(|agent| {
        let StrategyConfig::PatientBook(strategy) = &agent.strategy;
        json!({
            "wallet": agent.wallet,
            "session_key": key(&agent.session_key),
            "relayer_key": key(&agent.relayer_key),
            "more_relayer_keys": agent.more_relayer_keys.iter().map(key).collect::<Vec<_>>(),
            "extra_ca": agent.extra_ca,
            "allow_plain_http": agent.allow_plain_http,
            "min_speed": agent.min_speed,
            "buckets": agent.buckets.iter().map(bucket).collect::<Vec<_>>(),
            "strategy": { "name": "patient_book", "settings": format!("{strategy:?}") },
        })
    });
    let provider = config.provider.as_ref().map(|provider| {
        json!({
            "key": key(&provider.key),
            "owner": provider.owner,
            "offers": provider.offers,
            "class": provider.class,
            "slots": provider.slots,
            "reserve_per_hour": provider.reserve_per_hour.0.to_string(),
            "max_duration_s": provider.max_duration.as_secs(),
            "preemptible": provider.preemptible,
            "listen": provider.listen,
            "endpoint": provider.published(provider.listen),
            "tls": provider.tls,
            "bucket": provider.bucket.as_ref().map(bucket),
            "allow_plain_http": provider.allow_plain_http,
            "gpus": provider.gpus,
            "engine": provider.engine,
            "docker_socket": provider.docker_socket,
            "worker": provider.worker,
            "cpus": provider.cpus,
            "memory_mib": provider.memory_mib,
            "disk_mib": provider.disk_mib,
            "withdraw_above": provider.withdraw_above.0.to_string(),
        })
    });
    json!({
        "data_dir": config.data_dir,
        "chain": {
            "rpc_urls": chain.rpc_urls.iter().map(|url| without_secrets(url)).collect::<Vec<_>>(),
            "chain_id": chain.chain_id,
            "market": chain.market,
            "factory": chain.factory,
            "forwarder": chain.forwarder,
            "start_block": chain.start_block,
            "preset": chain.preset,
            "poll_ms": chain.poll_ms,
        },
        "agent": agent,
        "provider": provider,
        "api": config.api.as_ref().map(|api| json!({ "listen": api.listen })),
        "metrics": config.metrics.as_ref().map(|metrics| json!({ "listen": metrics.listen })),
        "relay": config.relay,
        "parameters": chain.preset.params(),
    })
}

/// Scheme, host and port of a URL: the rest of an endpoint's is often its secret.
pub fn without_secrets(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(parsed) => {
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            let rest = if parsed.path() == "/" && parsed.query().is_none() { "" } else { "/…" };
            format!("{}://{}{port}{rest}", parsed.scheme(), parsed.host_str().unwrap_or_default())
        }
        Err(_) => "(no URL)".into(),
    }
}

fn key(key: &KeyConfig) -> Value {
    json!({ "keystore": key.keystore, "password": reference(&key.password) })
}

fn bucket(bucket: &BucketConfig) -> Value {
    json!({
        "url": bucket.url,
        "service": bucket.service.as_deref().map(without_secrets),
        "region": bucket.region,
        "access_key": reference(&bucket.access_key),
        "secret_key": reference(&bucket.secret_key),
    })
}

/// Where a secret is, but never what somebody wrote in place of that.
fn reference(place: &str) -> &str {
    match ["env:", "file:"].iter().any(|form| place.starts_with(form)) {
        true => place,
        false => "(a literal, which is refused)",
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn what_may_be_a_secret_is_left_out() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://user:word@rpc.example.org/v3/abc?key=x", "https://rpc.example.org/…"),
            ("https://rpc.example.org/", "https://rpc.example.org"),
            ("secret words", "(no URL)"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
