//! The keeper's configuration: raw TOML → validated values. Unknown fields are refused; secrets are `env:NAME` or
//! `file:PATH`, never literals.
//!
//! - `lines`: where in the file a field stands.
//! - [`check`]: whether the world is as the file says.
//! - [`show`]: the file as it is understood, without secrets.

pub mod check;
mod lines;
mod provider;
mod relay;
pub mod show;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use alloy::primitives::Address;
use contracts::{deploy::Deployment, params::Preset, units::Amount};
use serde::Deserialize;

pub use self::{
    provider::{EngineKind, LONGEST_S, ProviderConfig, SLOTS, TlsConfig},
    relay::{Allowed, DEFAULT_BATCH, RelayConfig},
};

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
    /// Share of its class's speed below which a provider is avoided; 0 avoids none.
    #[serde(default = "default_min_speed")]
    pub min_speed: f64,
}

fn default_min_speed() -> f64 {
    0.5
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

/// An amount of AIT written as people do: `"0.01"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price(pub Amount);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Read as people write it (`10m`), shown in seconds.
mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_secs())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
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
        let anchor_secret = |reference: &mut String| {
            if let Some(file) = reference.strip_prefix("file:") {
                *reference = format!("file:{}", folder.join(file).display());
            }
        };
        let anchor_key = |key: &mut KeyConfig| {
            anchor(&mut key.keystore);
            anchor_secret(&mut key.password);
        };
        let anchor_bucket = |bucket: &mut BucketConfig| {
            anchor_secret(&mut bucket.access_key);
            anchor_secret(&mut bucket.secret_key);
        };
        anchor(&mut self.data_dir);
        if let Some(agent) = &mut self.agent {
            anchor_key(&mut agent.session_key);
            anchor_key(&mut agent.relayer_key);
            agent.more_relayer_keys.iter_mut().for_each(anchor_key);
            agent.extra_ca.iter_mut().for_each(anchor);
            agent.buckets.iter_mut().for_each(anchor_bucket);
        }
        if let Some(provider) = &mut self.provider {
            anchor_key(&mut provider.key);
            anchor(&mut provider.worker);
            provider.bucket.iter_mut().for_each(anchor_bucket);
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
        if let Some(agent) = &self.agent
            && !(0.0..=1.0).contains(&agent.min_speed)
        {
            return Err(format!("agent.min_speed = {}; use 0 to 1", agent.min_speed));
        }
        self.relay.check()?;
        self.provider.as_ref().map_or(Ok(()), |provider| provider.check(self.chain.preset))
    }
}

/// The `[chain]` table of a market, as TOML; further lines of the table may follow it.
pub fn chain_table(rpc_url: &str, at: &Deployment) -> String {
    let Deployment { chain_id, preset, forwarder, market, factory, start_block, token: _ } = at;
    format!(
        "[chain]\nrpc_urls = [\"{rpc_url}\"]\nchain_id = {chain_id}\nmarket = \"{market}\"\nfactory = \"{factory}\"\n\
         forwarder = \"{forwarder}\"\nstart_block = {start_block}\npreset = \"{preset}\"\n"
    )
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
mod tests;
