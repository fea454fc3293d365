//! The configuration of the program `indexer`: a TOML file, then flags and environment over it, checked once.
//!
//! A value `env:NAME` in `rpc_urls` stands for the environment variable NAME, so that a file need not hold secrets.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use alloy::primitives::Address;
use clap::Args;
use contracts::params::Preset;
use serde::Deserialize;

use crate::IndexConfig;

/// Where the API listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8680";
const DEFAULT_POLL_MS: u64 = 500;

/// Where everything comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// TOML file with the names below; flags win over it
    #[arg(long, env = "INDEXER_CONFIG")]
    pub config: Option<PathBuf>,
    /// HTTP endpoint; repeat it to give others to fall back to
    #[arg(long = "rpc-url", env = "INDEXER_RPC_URLS", value_delimiter = ',')]
    pub rpc_urls: Vec<String>,
    /// Chain that the endpoints must serve
    #[arg(long, env = "INDEXER_CHAIN_ID")]
    pub chain_id: Option<u64>,
    /// Address of AIPowerRental
    #[arg(long, env = "INDEXER_MARKET")]
    pub market: Option<Address>,
    /// Address of AgentWalletFactory
    #[arg(long, env = "INDEXER_FACTORY")]
    pub factory: Option<Address>,
    /// Block in which they were deployed
    #[arg(long, env = "INDEXER_START_BLOCK")]
    pub start_block: Option<u64>,
    /// Folder of the index
    #[arg(long, env = "INDEXER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// demo or l2: gives the undo horizon
    #[arg(long, env = "INDEXER_PRESET")]
    pub preset: Option<Preset>,
    /// Blocks that a reorganisation may take away
    #[arg(long, env = "INDEXER_UNDO_HORIZON")]
    pub undo_horizon_blocks: Option<u64>,
    /// Milliseconds between looks at the chain's head
    #[arg(long, env = "INDEXER_POLL_MS")]
    pub poll_interval_ms: Option<u64>,
    /// Where the API listens
    #[arg(long, env = "INDEXER_LISTEN")]
    pub listen: Option<SocketAddr>,
}

/// The file; unknown names are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    rpc_urls: Vec<String>,
    chain_id: Option<u64>,
    market: Option<Address>,
    factory: Option<Address>,
    start_block: Option<u64>,
    data_dir: Option<PathBuf>,
    preset: Option<String>,
    undo_horizon_blocks: Option<u64>,
    poll_interval_ms: Option<u64>,
    listen: Option<SocketAddr>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of the index.
    pub index: IndexConfig,
    /// Where the API listens.
    pub listen: SocketAddr,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {error}; correct --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no such TOML.
    #[error("the configuration {path} is not valid: {error}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// Something is not given anywhere.
    #[error("{name} is missing: give --{flag}, or {name} in the file named by --config")]
    Missing {
        /// Name in the file.
        name: &'static str,
        /// Name of the flag.
        flag: &'static str,
    },
    /// A value is out of range.
    #[error("{name}: {reason}")]
    BadValue {
        /// Name in the file.
        name: &'static str,
        /// Why and what to do.
        reason: String,
    },
}

impl Options {
    /// Reads the file if there is one, lays the flags over it, and checks the whole.
    ///
    /// # Errors
    /// Each names the value and the remedy.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            None => File::default(),
            Some(path) => {
                let text =
                    fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
                toml::from_str(&text)
                    .map_err(|error| ConfigError::Invalid { path: path.clone(), error: Box::new(error) })?
            }
        };
        let missing = |name, flag| move || ConfigError::Missing { name, flag };
        let bad = |name, reason: String| ConfigError::BadValue { name, reason };
        let urls = if self.rpc_urls.is_empty() { file.rpc_urls } else { self.rpc_urls };
        if urls.is_empty() {
            return Err(missing("rpc_urls", "rpc-url")());
        }
        let preset = match (self.preset, file.preset) {
            (Some(preset), _) => preset,
            (None, Some(name)) => name.parse().map_err(|reason| bad("preset", reason))?,
            (None, None) => Preset::L2,
        };
        let undo_horizon_blocks =
            self.undo_horizon_blocks.or(file.undo_horizon_blocks).unwrap_or(preset.params().undo_horizon_blocks);
        if undo_horizon_blocks == 0 {
            return Err(bad("undo_horizon_blocks", "must be at least 1".into()));
        }
        let poll_interval_ms = self.poll_interval_ms.or(file.poll_interval_ms).unwrap_or(DEFAULT_POLL_MS);
        if !(50..=60_000).contains(&poll_interval_ms) {
            return Err(bad("poll_interval_ms", format!("{poll_interval_ms} is not between 50 and 60000")));
        }
        let listen = match self.listen.or(file.listen) {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse().map_err(|error| bad("listen", format!("{error}")))?,
        };
        Ok(Config {
            index: IndexConfig {
                rpc_urls: urls.into_iter().map(secret).collect::<Result<_, _>>()?,
                chain_id: self.chain_id.or(file.chain_id).ok_or_else(missing("chain_id", "chain-id"))?,
                market: self.market.or(file.market).ok_or_else(missing("market", "market"))?,
                factory: self.factory.or(file.factory).ok_or_else(missing("factory", "factory"))?,
                start_block: self.start_block.or(file.start_block).ok_or_else(missing("start_block", "start-block"))?,
                data_dir: self.data_dir.or(file.data_dir).ok_or_else(missing("data_dir", "data-dir"))?,
                undo_horizon_blocks,
                poll_interval: Duration::from_millis(poll_interval_ms),
            },
            listen,
        })
    }
}

/// The value itself, or that of the environment variable it names.
fn secret(text: String) -> Result<String, ConfigError> {
    let Some(name) = text.strip_prefix("env:") else { return Ok(text) };
    std::env::var(name).map_err(|_| ConfigError::BadValue {
        name: "rpc_urls",
        reason: format!("the environment variable {name} is not set; set it, or write the URL itself"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    const FILE: &str = r#"
        rpc_urls = ["http://127.0.0.1:8545"]
        chain_id = 31337
        market = "0x0000000000000000000000000000000000000001"
        factory = "0x0000000000000000000000000000000000000002"
        start_block = 3
        data_dir = "index"
        preset = "demo"
    "#;

    fn with_file(text: &str) -> (tempfile::NamedTempFile, Options) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let options = Options { config: Some(file.path().to_owned()), ..Options::default() };
        (file, options)
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_file, options) = with_file(FILE);
        let options = Options { chain_id: Some(1), undo_horizon_blocks: None, ..options };
        let config = options.resolve().unwrap();
        assert_eq!((config.index.chain_id, config.index.start_block), (1, 3));
        assert_eq!(config.index.undo_horizon_blocks, 256, "the demo preset's");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_file, options) = with_file(&FILE.replace("chain_id", "chainid"));
        assert!(options.resolve().unwrap_err().to_string().contains("chainid"));
        let (_file, options) = with_file(&FILE.replace("start_block = 3", ""));
        assert!(options.resolve().unwrap_err().to_string().contains("--start-block"));
        let (_file, options) = with_file(&FILE.replace("http://127.0.0.1:8545", "env:NO_SUCH_VARIABLE_HERE"));
        assert!(options.resolve().unwrap_err().to_string().contains("NO_SUCH_VARIABLE_HERE"));
        let options = Options { config: Some("no/such/file".into()), ..Options::default() };
        assert!(options.resolve().unwrap_err().to_string().contains("no/such/file"));
        let (_file, options) = with_file(FILE);
        let options = Options { undo_horizon_blocks: Some(0), ..options };
        assert!(options.resolve().unwrap_err().to_string().contains("undo_horizon_blocks"));
    }
}
