//! The keeper's configuration: raw TOML → validated values. Unknown fields are refused; secrets are `env:NAME` or
//! `file:PATH`, never literals.
//!
//! - `lines`: where in the file a field stands.
//! - [`check`]: whether the world is as the file says.
//! - [`show`]: the file as it is understood, without secrets.

pub mod check;
mod lines;
pub mod show;

mod relay;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, params::Preset, units::Amount};
use serde::Deserialize;

pub use self::relay::{Allowed, RelayConfig};

/// A configuration that cannot be used; the message names the field and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config {path}: {source}; give an existing file with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML of the known form.
    #[error("config {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value out of bounds.
    #[error("config {path}{}: {what}", line.map_or_else(String::new, |line| format!(", line {line}")))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line of the field, or of its table, if either is there.
        line: Option<usize>,
        /// Field and remedy.
        what: String,
    },
}

/// A validated configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder the daemon owns: journal, index, blobs, socket. Relative paths are relative to the config file.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// Chain and contracts.
    pub chain: ChainConfig,
    /// Rents for an agent, if present.
    pub agent: Option<AgentConfig>,
    /// Sells for a provider, if present.
    pub provider: Option<ProviderConfig>,
    /// Serves the query API, if present.
    pub api: Option<ApiConfig>,
    /// How transactions are sent.
    #[serde(default)]
    pub relay: RelayConfig,
    /// Serves metrics for Prometheus, if present.
    pub metrics: Option<MetricsConfig>,
}

/// Which chain and where the market is on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// RPC endpoints, the first preferred; `env:NAME` for one that holds a secret.
    pub rpc_urls: Vec<String>,
    /// EIP-155 id; the endpoints must agree.
    pub chain_id: u64,
    /// AIPowerRental.
    pub market: Address,
    /// AgentWalletFactory.
    pub factory: Address,
    /// ERC2771Forwarder.
    pub forwarder: Address,
    /// Block the market was deployed in; indexing starts there.
    #[serde(default)]
    pub start_block: u64,
    /// Clocks and margins.
    pub preset: Preset,
    /// Milliseconds between polls of the head.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
}

fn default_poll_ms() -> u64 {
    250
}

/// Where a private key is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Encrypted JSON keystore.
    pub keystore: PathBuf,
    /// `env:NAME` or `file:PATH` of its password.
    pub password: String,
}

/// The agent's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The agent's wallet.
    pub wallet: Address,
    /// Key that bids within its limits.
    pub session_key: KeyConfig,
    /// Key that pays for gas.
    pub relayer_key: KeyConfig,
    /// Further keys that pay for gas: they send what needs no session key, side by side with the first.
    #[serde(default)]
    pub more_relayer_keys: Vec<KeyConfig>,
    /// How bids are priced.
    #[serde(default)]
    pub strategy: StrategyConfig,
    /// PEM file of root certificates that are trusted besides the system's.
    pub extra_ca: Option<PathBuf>,
    /// Buckets of providers that cannot open a port.
    #[serde(default)]
    pub buckets: Vec<BucketConfig>,
    /// Whether work goes to providers without TLS too. The demo preset always allows it.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// The bid strategy: one file under `strategy/` each.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// One tick above the queue, capped by a rising percentile of recent prices.
    PatientBook(crate::strategy::patient_book::PatientBook),
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self::PatientBook(Default::default())
    }
}

/// The provider's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Key that owns the offer, its bond and its earnings; it also pays for gas.
    pub key: KeyConfig,
    /// Hardware class sold.
    pub class: HardwareClass,
    /// Rentals at once.
    pub slots: u16,
    /// Lowest price per hour.
    pub reserve_per_hour: Price,
    /// Longest rental taken.
    #[serde(default = "default_max_duration", with = "duration_text")]
    pub max_duration: Duration,
    /// Whether it takes pre-emptible work too.
    #[serde(default)]
    pub preemptible: bool,
    /// Address the data plane listens on.
    pub listen: SocketAddr,
    /// URL at which agents reach it; published on chain. `http://<listen>` if absent.
    pub endpoint: Option<String>,
    /// Certificate and key of the data plane, if it speaks TLS itself.
    pub tls: Option<TlsConfig>,
    /// Work and results go by this bucket, which is published instead of `endpoint`: for those who cannot open a port.
    pub bucket: Option<BucketConfig>,
    /// Whether the data plane may do without TLS. The demo preset always allows it.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// What runs the workers.
    #[serde(default)]
    pub engine: EngineKind,
    /// Docker's socket, if not the default.
    pub docker_socket: Option<String>,
    /// Static worker binary.
    pub worker: PathBuf,
    /// CPUs given to each worker.
    pub cpus: f64,
    /// Memory given to each worker.
    pub memory_mib: u32,
    /// Size of a worker's output folder.
    #[serde(default = "default_disk_mib")]
    pub disk_mib: u32,
    /// CDI ids of this node's accelerators, as `nvidia.com/gpu=0`; each worker gets one of its own. Docker 25 or newer.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// Earnings above this are withdrawn to the key.
    #[serde(default)]
    pub withdraw_above: Price,
}

/// An S3-compatible bucket, and a key that may list, read, write and delete in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// `s3://NAME/PREFIX`, as a provider publishes it.
    pub url: String,
    /// URL of the service, if it is not Amazon's.
    pub service: Option<String>,
    /// Its region.
    #[serde(default = "default_region")]
    pub region: String,
    /// `env:NAME` or `file:PATH` of the access key.
    pub access_key: String,
    /// `env:NAME` or `file:PATH` of the secret key.
    pub secret_key: String,
}

fn default_region() -> String {
    "us-east-1".into()
}

impl BucketConfig {
    /// Name and prefix, if the URL has both.
    pub fn parts(&self) -> Option<(&str, &str)> {
        let parts = self.url.strip_prefix("s3://")?.split_once('/')?;
        (!parts.0.is_empty() && !parts.1.is_empty() && !parts.1.ends_with('/')).then_some(parts)
    }
}

/// PEM files, read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

fn default_max_duration() -> Duration {
    Duration::from_secs(600)
}

fn default_disk_mib() -> u32 {
    128
}

/// An amount of AIT written as people do: `"0.01"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price(pub Amount);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Container engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Docker or Podman's socket. The default: anything else does not isolate.
    #[default]
    Docker,
    /// Plain processes, for development only.
    Process,
}

/// The query API inside the keeper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Address it listens on.
    pub listen: SocketAddr,
}

/// Metrics for Prometheus, at `/metrics`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address it listens on.
    pub listen: SocketAddr,
}

impl Config {
    /// Reads and validates `path`.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line, the field and the remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, |config| {
            if config.data_dir.as_os_str().is_empty() {
                return Err("data_dir is missing; name the folder that the keeper shall own".into());
            }
            config.check()
        })
    }

    /// Reads `path` for a command that is no keeper: the `[chain]` table is enough.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for_client(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, Self::check_chain)
    }

    fn read(path: &Path, check: impl Fn(&Self) -> Result<(), String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.into(), source: source.into() })?;
        let invalid =
            |what: String| ConfigError::Invalid { path: path.into(), line: lines::line_of(&text, &what), what };
        check(&config).map_err(invalid)?;
        config.chain.resolve_secrets().map_err(invalid)?;
        // So that nothing depends on where the keeper is started.
        let path = std::path::absolute(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        config.anchor(path.parent().unwrap_or(&path));
        Ok(config)
    }

    /// Makes paths relative to the config file's folder.
    fn anchor(&mut self, folder: &Path) {
        let anchor = |path: &mut PathBuf| *path = folder.join(&*path);
        let anchor_key = |key: &mut KeyConfig| {
            anchor(&mut key.keystore);
            if let Some(file) = key.password.strip_prefix("file:") {
                key.password = format!("file:{}", folder.join(file).display());
            }
        };
        anchor(&mut self.data_dir);
        if let Some(agent) = &mut self.agent {
            anchor_key(&mut agent.session_key);
            anchor_key(&mut agent.relayer_key);
            agent.more_relayer_keys.iter_mut().for_each(anchor_key);
            agent.extra_ca.iter_mut().for_each(anchor);
        }
        if let Some(provider) = &mut self.provider {
            anchor_key(&mut provider.key);
            anchor(&mut provider.worker);
            if let Some(tls) = &mut provider.tls {
                anchor(&mut tls.certificate);
                anchor(&mut tls.key);
            }
        }
    }

    fn check_chain(&self) -> Result<(), String> {
        if self.chain.rpc_urls.is_empty() {
            return Err("chain.rpc_urls is empty; give at least one URL".into());
        }
        // A node of one's own can be asked every few milliseconds; a public one should not be.
        if !(5..=60_000).contains(&self.chain.poll_ms) {
            return Err(format!("chain.poll_ms = {}; use 5 to 60000", self.chain.poll_ms));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.check_chain()?;
        if self.agent.is_none() && self.provider.is_none() {
            return Err("neither [agent] nor [provider] is given, so there is nothing to do; add one".into());
        }
        let buckets = self.agent.iter().flat_map(|agent| &agent.buckets);
        for bucket in buckets.chain(self.provider.iter().flat_map(|provider| &provider.bucket)) {
            if bucket.parts().is_none() {
                return Err(format!("bucket url '{}' is not of the form s3://NAME/PREFIX", bucket.url));
            }
        }
        self.relay.check()?;
        let Some(provider) = &self.provider else { return Ok(()) };
        if !(1..=256).contains(&provider.slots) {
            return Err(format!("provider.slots = {}; use 1 to 256", provider.slots));
        }
        if !(0.01..=1_024.0).contains(&provider.cpus) {
            return Err(format!("provider.cpus = {}; use 0.01 to 1024", provider.cpus));
        }
        if provider.memory_mib < 32 {
            return Err(format!("provider.memory_mib = {}; a worker needs at least 32", provider.memory_mib));
        }
        if !provider.gpus.is_empty() && provider.gpus.len() < usize::from(provider.slots) {
            let (slots, gpus) = (provider.slots, provider.gpus.len());
            return Err(format!("provider.gpus has {gpus} devices for {slots} slots; sell a slot for each, or fewer"));
        }
        if let Some(odd) = provider.gpus.iter().find(|id| !is_cdi_id(id)) {
            return Err(format!("provider.gpus: '{odd}' is no CDI id; write them as nvidia.com/gpu=0"));
        }
        // What a worker writes to its output folder counts against its memory.
        if !(1..=provider.memory_mib / 2).contains(&provider.disk_mib) {
            return Err(format!("provider.disk_mib = {}; use 1 to half of memory_mib", provider.disk_mib));
        }
        let longest_s = provider.max_duration.as_secs();
        if !(600..=86_400).contains(&longest_s) {
            return Err(format!("provider.max_duration = {longest_s} s; use 10 min (the shortest book) to 24 h"));
        }
        if provider.bucket.is_some() && provider.endpoint.is_some() {
            return Err(
                "provider.bucket and provider.endpoint are both given, but one is published; remove the other".into()
            );
        }
        let is_https = provider.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"));
        if provider.tls.is_some() && !is_https {
            return Err(
                "provider.tls is given, so provider.endpoint must be the https:// URL of its certificate".into()
            );
        }
        if self.chain.preset != Preset::Demo && !is_https && !provider.allow_plain_http && provider.bucket.is_none() {
            return Err("provider.endpoint is not https://, so everybody on the way could read inputs and results; \
                        set provider.tls, or endpoint to an https:// proxy, or allow_plain_http = true"
                .into());
        }
        if provider.reserve_per_hour.0 == Amount::ZERO {
            return Err("provider.reserve_per_hour = 0; state the lowest price you sell at".into());
        }
        Ok(())
    }
}

impl ChainConfig {
    /// Puts the values of environment variables in place of `env:NAME`.
    fn resolve_secrets(&mut self) -> Result<(), String> {
        for url in &mut self.rpc_urls {
            let Some(name) = url.strip_prefix("env:") else { continue };
            *url = std::env::var(name).map_err(|_| {
                format!("chain.rpc_urls: the environment variable {name} is not set; set it, or write the URL")
            })?;
        }
        Ok(())
    }
}

/// `vendor/class=name`, as of the Container Device Interface.
fn is_cdi_id(id: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
    };
    id.split_once('=')
        .and_then(|(kind, name)| Some((kind.split_once('/')?, name)))
        .is_some_and(|((vendor, class), name)| plain(vendor) && plain(class) && plain(name))
}

#[cfg(test)]
mod tests {
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
    fn a_missing_file_is_named() {
        let error = Config::load(Path::new("/nowhere/keeper.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/keeper.toml") && error.contains("--config"), "{error}");
    }
}
