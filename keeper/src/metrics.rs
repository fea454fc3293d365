//! Metrics for Prometheus, in the OpenMetrics text form, at `/metrics`.
//!
//! What the index and the journal know is read from them at each scrape; only what nobody else remembers is counted here.
//! Every name ends with its unit, and every label has few values.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::{Address, U256};
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use contracts::units::Amount;
use indexer::{Index, rows::status_name};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::CancellationToken;

use crate::{act::containers::Engine, clock::now_s, job::JobState, journal::Journal, seller::Seller};

/// Form of the answer.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// An answer is given again for so long: many scrapers cost no more than one.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// The engine is asked for so long.
const ENGINE_WITHIN: Duration = Duration::from_secs(2);
/// Live rentals counted on each side.
const RENTALS_COUNTED: usize = 10_000;
/// Files summed in one folder.
const FILES_SUMMED: usize = 200_000;
/// Wei of one coin and token units of one AIT.
const SCALE: f64 = 1e18;

/// What only the running keeper knows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    transactions: Family<Ending, Counter>,
    errands: Family<Ending, Counter>,
    gas_coins: Counter<f64, AtomicU64>,
    paused: AtomicBool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ending {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySide {
    side: &'static str,
    state: &'static str,
}

impl Counters {
    /// An intent ended: a transaction, or an errand off the chain.
    pub fn ended(&self, on_chain: bool, well: bool) {
        let family = if on_chain { &self.0.transactions } else { &self.0.errands };
        family.get_or_create(&Ending { outcome: if well { "done" } else { "failed" } }).inc();
    }

    /// A transaction cost so many wei of gas.
    pub fn paid(&self, gas_wei: U256) {
        self.0.gas_coins.inc_by(f64::from(gas_wei) / SCALE);
    }

    /// Whether the keeper takes nothing new.
    pub fn set_paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
    }
}

/// Where the numbers come from.
#[derive(Clone)]
pub struct Source {
    /// The index.
    pub index: Index,
    /// The journal.
    pub journal: Journal,
    /// What is counted as it happens.
    pub counters: Counters,
    /// Folder of journal and blobs.
    pub data_dir: PathBuf,
    /// Wallet and session key.
    pub agent: Option<(Address, Address)>,
    /// Node of a provider, and its engine.
    pub provider: Option<(Seller, Engine)>,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Unix seconds of the start.
    pub started_s: u64,
}

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, source: Source, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router(source)).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The route. Needs no socket: tests call it as a service.
pub fn router(source: Source) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Scrape { source, last: Arc::default() })
}

#[derive(Clone)]
struct Scrape {
    source: Source,
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

async fn metrics(State(scrape): State<Scrape>) -> impl IntoResponse {
    let mut last = scrape.last.lock().await;
    let text = match &*last {
        Some((at, text)) if at.elapsed() < FRESH_FOR => text.clone(),
        _ => {
            let text = read(scrape.source.clone()).await;
            *last = Some((Instant::now(), text.clone()));
            text
        }
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

async fn read(source: Source) -> String {
    let containers = match &source.provider {
        None => None,
        Some((_, engine)) => match tokio::time::timeout(ENGINE_WITHIN, engine.list(source.chain_id)).await {
            Ok(Ok(found)) => Some(found.len() as i64),
            // Absent is honest: zero would say that none is left.
            _ => None,
        },
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut registry = Registry::with_prefix("keeper");
        let gauges = Gauges(&mut registry);
        gauges.fill(&source, containers);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &registry);
        text
    });
    reading.await.unwrap_or_default()
}

struct Gauges<'a>(&'a mut Registry);

impl Gauges<'_> {
    fn fill(mut self, source: &Source, containers: Option<i64>) {
        let counted = &source.counters.0;
        self.0.register("transactions", "Transactions whose fate is known, by outcome", counted.transactions.clone());
        self.0.register("errands", "Errands off the chain that ended, by outcome", counted.errands.clone());
        self.0.register("gas_paid_coins", "Gas paid, in the chain's own coin", counted.gas_coins.clone());
        self.whole("paused", "1 while nothing new is taken", i64::from(counted.paused.load(Ordering::Relaxed)));
        self.whole("uptime_seconds", "Time since the start", now_s().saturating_sub(source.started_s) as i64);
        self.journal(source);
        // An index that cannot be read ends the keeper anyway; until then its numbers are absent.
        let _ = self.index(source);
        if let Some(containers) = containers {
            self.whole("containers", "Workers that the engine has of this keeper", containers);
        }
        let folder = |name: &str| size_of(&source.data_dir.join(name)) as i64;
        self.whole("journal_size_bytes", "Size of the journal's folder", folder("journal"));
        self.whole("index_size_bytes", "Size of the index's folder", folder("index"));
        self.whole("blobs_size_bytes", "Size of the specs, inputs and results kept", folder("blobs"));
        if let Some(bytes) = resident_bytes(std::process::id()) {
            self.whole("memory_resident_bytes", "Memory that the process has resident", bytes as i64);
        }
    }

    fn journal(&mut self, source: &Source) {
        if let Ok(records) = source.journal.records() {
            let family = Family::<ByState, Gauge>::default();
            for (_, record) in &records {
                family.get_or_create(&ByState { state: record.state.name() }).inc();
            }
            self.0.register("journal_records", "Intents that the journal holds, by state", family);
        }
        if let Ok(jobs) = source.journal.jobs() {
            let family = Family::<ByState, Gauge>::default();
            for job in &jobs {
                let state = match job.state {
                    JobState::Active => "active",
                    JobState::Finished { .. } => "finished",
                    JobState::Failed { .. } => "failed",
                    JobState::Cancelled => "cancelled",
                };
                family.get_or_create(&ByState { state }).inc();
            }
            self.0.register("jobs", "Jobs that the journal holds, by state", family);
        }
    }

    fn index(&mut self, source: &Source) -> indexer::Result<()> {
        let snapshot = source.index.snapshot()?;
        let (chain_head, _) = source.index.chain_head();
        if let Some(head) = snapshot.head() {
            self.whole("index_block_number", "Newest block that the index has", head.number as i64);
            self.whole(
                "index_lag_blocks",
                "Blocks that the index is behind the chain",
                chain_head.saturating_sub(head.number) as i64,
            );
            self.whole("block_age_seconds", "Age of the newest block", now_s().saturating_sub(head.timestamp) as i64);
        }
        let rentals = Family::<BySide, Gauge>::default();
        if let Some((wallet, key)) = source.agent {
            for row in snapshot.agreements_by_wallet(wallet, true, RENTALS_COUNTED)? {
                rentals.get_or_create(&BySide { side: "agent", state: status_name(row.status) }).inc();
            }
            let account = snapshot.key_account(key)?;
            if let Some(row) = snapshot.wallet(wallet)? {
                let uncounted = account.as_ref().map_or(Amount::ZERO, |account| account.spent);
                self.ait("spent_ait", "Spent by the wallet since its creation", row.spent + uncounted);
                self.ait("reserved_ait", "Reserved by the wallet", row.reserved);
                self.ait("daily_limit_ait", "Most that the wallet may spend plus reserve in 24 hours", row.daily);
            }
            self.ait(
                "key_credit_ait",
                "The session key's credit at the market",
                account.map_or(Amount::ZERO, |account| account.credit),
            );
        }
        if let Some((seller, _)) = &source.provider {
            let address = &seller.provider;
            let mut rows = snapshot.agreements_by_provider(*address, true, RENTALS_COUNTED)?;
            rows.retain(|row| seller.works_on(row));
            for row in rows {
                rentals.get_or_create(&BySide { side: "provider", state: status_name(row.status) }).inc();
            }
            if let Some(provider) = snapshot.provider(*address)? {
                self.ait("earned_ait", "Earned by the provider, net of fees", provider.row.earned);
                self.ait("slashed_ait", "Bonds that the provider lost", provider.row.slashed);
                self.whole(
                    "settled_rentals",
                    "Rentals of the provider that ended with payment",
                    provider.row.settled as i64,
                );
                self.whole(
                    "failed_rentals",
                    "Rentals of the provider that failed after their start",
                    provider.row.failed as i64,
                );
            }
            self.ait("provider_credit_ait", "Earnings and bonds that wait to be pulled", snapshot.credit(*address)?);
        }
        self.0.register("live_rentals", "Bids and rentals that can still change, by side and state", rentals);
        Ok(())
    }

    fn whole(&mut self, name: &str, help: &str, value: i64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn ait(&mut self, name: &str, help: &str, value: Amount) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value.0 as f64 / SCALE);
        self.0.register(name, help, gauge);
    }
}

/// Bytes of all files under `folder`.
fn size_of(folder: &Path) -> u64 {
    let (mut folders, mut bytes, mut files) = (vec![folder.to_owned()], 0, 0);
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(next) else { continue };
        for entry in entries.flatten() {
            files += 1;
            if files > FILES_SUMMED {
                return bytes;
            }
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => bytes += about.len(),
                // Gone meanwhile.
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Resident memory of a process; `None` when there is none of this number.
pub fn resident_bytes(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    // The kernel's kB are KiB.
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
