//! The `[provider]` table: what is sold, how it is reached, and what runs the workers.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, params::Preset, units::Amount};
use serde::{Deserialize, Serialize};

use super::{BucketConfig, KeyConfig, Price, duration_text};

/// Rentals that a node can sell at once.
pub const SLOTS: RangeInclusive<u16> = 1..=256;
/// Seconds that the longest rental of an offer can have: from the shortest book's to the market's longest.
pub const LONGEST_S: RangeInclusive<u64> = 600..=86_400;

/// The provider's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Key that sells, and pays for gas: the provider's own, or with `owner` that of one of its operators.
    pub key: KeyConfig,
    /// The provider, which owns offers, bonds and earnings; the key's own address if absent.
    pub owner: Option<Address>,
    /// Offers that this node works for, and no others: each is named by one node. If absent, the keeper is its provider's
    /// only one, and posts its own.
    pub offers: Option<Vec<u64>>,
    /// Hardware class sold.
    pub class: HardwareClass,
    /// Rentals at once, whatever the offers' slots.
    pub slots: u16,
    /// Lowest price per hour of an offer that it posts.
    #[serde(default)]
    pub reserve_per_hour: Price,
    /// Longest rental of an offer that it posts.
    #[serde(default = "default_max_duration", with = "duration_text")]
    pub max_duration: Duration,
    /// Whether an offer that it posts takes pre-emptible work too.
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

/// Offers that a node names at most.
const MAX_OFFERS: usize = 64;

/// PEM files, read again when they change.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Container engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Docker or Podman's socket. The default: anything else does not isolate.
    #[default]
    Docker,
    /// Plain processes, for development only.
    Process,
}

fn default_max_duration() -> Duration {
    Duration::from_secs(600)
}

fn default_disk_mib() -> u32 {
    128
}

impl ProviderConfig {
    /// What the market shows as the way to this node, which listens at `listening`: its bucket, its `endpoint`, or that
    /// address.
    pub fn published(&self, listening: SocketAddr) -> String {
        match (&self.bucket, &self.endpoint) {
            (Some(bucket), _) => bucket.url.clone(),
            (None, Some(endpoint)) => endpoint.clone(),
            (None, None) => format!("http://{listening}"),
        }
    }

    /// Bounds of every field.
    pub(super) fn check(&self, preset: Preset) -> Result<(), String> {
        if !SLOTS.contains(&self.slots) {
            return Err(format!("provider.slots = {}; use {} to {}", self.slots, SLOTS.start(), SLOTS.end()));
        }
        if !(0.01..=1_024.0).contains(&self.cpus) {
            return Err(format!("provider.cpus = {}; use 0.01 to 1024", self.cpus));
        }
        if self.memory_mib < 32 {
            return Err(format!("provider.memory_mib = {}; a worker needs at least 32", self.memory_mib));
        }
        if !self.gpus.is_empty() && self.gpus.len() < usize::from(self.slots) {
            let (slots, gpus) = (self.slots, self.gpus.len());
            return Err(format!("provider.gpus has {gpus} devices for {slots} slots; sell a slot for each, or fewer"));
        }
        if let Some(odd) = self.gpus.iter().find(|id| !is_cdi_id(id)) {
            return Err(format!("provider.gpus: '{odd}' is no CDI id; write them as nvidia.com/gpu=0"));
        }
        // What a worker writes to its output folder counts against its memory.
        if !(1..=self.memory_mib / 2).contains(&self.disk_mib) {
            return Err(format!("provider.disk_mib = {}; use 1 to half of memory_mib", self.disk_mib));
        }
        let longest_s = self.max_duration.as_secs();
        if !LONGEST_S.contains(&longest_s) {
            return Err(format!("provider.max_duration = {longest_s} s; use 10 min (the shortest book) to 24 h"));
        }
        if self.bucket.is_some() && self.endpoint.is_some() {
            return Err(
                "provider.bucket and provider.endpoint are both given, but one is published; remove the other".into()
            );
        }
        let is_https = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"));
        if self.tls.is_some() && !is_https {
            return Err(
                "provider.tls is given, so provider.endpoint must be the https:// URL of its certificate".into()
            );
        }
        if preset != Preset::Demo && !is_https && !self.allow_plain_http && self.bucket.is_none() {
            return Err("provider.endpoint is not https://, so everybody on the way could read inputs and results; \
                        set provider.tls, or endpoint to an https:// proxy, or allow_plain_http = true"
                .into());
        }
        self.check_offers()?;
        if self.offers.is_none() && self.reserve_per_hour.0 == Amount::ZERO {
            return Err("provider.reserve_per_hour = 0; state the lowest price you sell at".into());
        }
        Ok(())
    }

    fn check_offers(&self) -> Result<(), String> {
        let Some(offers) = &self.offers else {
            return match self.owner {
                Some(owner) => Err(format!(
                    "provider.offers is missing: name those of {owner} that this node works for (`keeper offer post` \
                     makes one)"
                )),
                None => Ok(()),
            };
        };
        if !(1..=MAX_OFFERS).contains(&offers.len()) {
            return Err(format!("provider.offers names {}; name 1 to {MAX_OFFERS}, or leave it out", offers.len()));
        }
        let twice = offers.iter().enumerate().find(|(at, offer)| offers[..*at].contains(offer));
        if let Some((_, offer)) = twice {
            return Err(format!("provider.offers names offer {offer} twice; remove one"));
        }
        if self.reserve_per_hour.0 != Amount::ZERO {
            return Err(
                "provider.reserve_per_hour is for a keeper that posts its own offer, but provider.offers names \
                        posted ones, which have theirs (`keeper offer update`); remove it"
                    .into(),
            );
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
