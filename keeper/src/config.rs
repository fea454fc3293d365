//! The keeper's configuration: raw TOML → validated values. Unknown fields are refused; secrets are `env:NAME` or
//! `file:PATH`, never literals.
//!
//! - `lines`: where in the file a field stands.
//! - [`check`]: whether the world is as the file says.
//! - [`show`]: the file as it is understood, without secrets.

pub mod check;
mod lines;
pub mod show;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, params::Preset, units::Amount};
use serde::Deserialize;

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
    /// How bids are priced.
    #[serde(default)]
    pub strategy: StrategyConfig,
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
    /// Earnings above this are withdrawn to the key.
    #[serde(default)]
    pub withdraw_above: Price,
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

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Container engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
        config.anchor(path.parent().unwrap_or(Path::new(".")));
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
        }
        if let Some(provider) = &mut self.provider {
            anchor_key(&mut provider.key);
            anchor(&mut provider.worker);
        }
    }

    fn check_chain(&self) -> Result<(), String> {
        if self.chain.rpc_urls.is_empty() {
            return Err("chain.rpc_urls is empty; give at least one URL".into());
        }
        if !(50..=60_000).contains(&self.chain.poll_ms) {
            return Err(format!("chain.poll_ms = {}; use 50 to 60000", self.chain.poll_ms));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.check_chain()?;
        if self.agent.is_none() && self.provider.is_none() {
            return Err("neither [agent] nor [provider] is given, so there is nothing to do; add one".into());
        }
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
        // What a worker writes to its output folder counts against its memory.
        if !(1..=provider.memory_mib / 2).contains(&provider.disk_mib) {
            return Err(format!("provider.disk_mib = {}; use 1 to half of memory_mib", provider.disk_mib));
        }
        let longest_s = provider.max_duration.as_secs();
        if !(600..=86_400).contains(&longest_s) {
            return Err(format!("provider.max_duration = {longest_s} s; use 10 min (the shortest book) to 24 h"));
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
    fn what_is_wrong_is_named() {
        for (from, to, word) in [
            ("slots = 2", "slots = 0", "provider.slots"),
            ("slots = 2", "slots = 2\ncolour = 1", "colour"),
            ("cpu_only", "quantum", "quantum"),
            ("\"0.01\"", "\"cheap\"", "cheap"),
            ("cpus = 0.5", "cpus = 0.0", "provider.cpus"),
            ("[\"http://127.0.0.1:8545\"]", "[]", "chain.rpc_urls"),
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
