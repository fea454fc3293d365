//! A provider's and an agent's keeper, each a process of its own with all that is real, through thousands of rentals between
//! them; and what they hold in memory then.
//!
//! Blocks come ten times as often as on the demo's chain, since an agent bids once a block. A provider remembers what it made
//! for an hour after each rental, and takes so many of one agent meanwhile: so the rentals come in waves, and the chain's
//! clock is set forward between them.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use alloy::providers::Provider;
use eyre::{Context as _, OptionExt as _, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use keeper::{
    config::chain_table,
    job::Priority,
    keeper::GRACE_S,
    keys, metrics,
    socket::{self, RentRequest, Reply, Request, TaskRequest},
    spec::TaskType,
};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::chain::{Chain, PASSWORD, SLOTS};

/// Blocks ten times a second; a keeper asks for the newest alone, and the past would take gigabytes.
const ANVIL: [&str; 6] = ["--block-time", "0.1", "--prune-history", "64", "--transaction-block-keeper", "1024"];
/// Milliseconds between a keeper's looks at the chain.
const POLL_MS: u64 = 25;
/// Jobs at once: a keeper serves 64 clients, and each job is followed by one.
const AT_ONCE: usize = 56;
/// Rentals between which the chain's clock stands.
const WAVE: u64 = 2_000;
/// Time between two looks at the keepers.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for a keeper's start, and for the last rentals' bills.
const PATIENCE: Duration = Duration::from_secs(120);

/// Gives the line of numbers.
pub(crate) async fn measure(anvil: &Path, worker: &Path, rentals: u64) -> eyre::Result<Value> {
    ensure!((10..=10_000).contains(&rentals), "--rentals {rentals}: from 10 to 10000");
    let temporary = tempfile::Builder::new().prefix("openclaw-bench-").tempdir()?;
    let folder = temporary.path();
    let (session, relayer) =
        (keys::create(&folder.join("session.json"), PASSWORD)?, keys::create(&folder.join("relayer.json"), PASSWORD)?);
    let chain = Chain::start(anvil, session, &ANVIL).await?;
    chain.fund(relayer.address()).await?;
    let (_, provider) = chain.provider(folder, &chain.url, POLL_MS, worker).await?;
    let agent = agent_config(&chain, folder)?;
    let stage = Stage {
        provider: Runs::start(&provider, folder.join("provider"))?,
        agent: Runs::start(&agent, folder.join("agent"))?,
        done: AtomicU64::new(0),
        began: Instant::now(),
        chain,
    };
    let gone_through = tokio::select! {
        gone_through = stage.go_through(rentals, folder) => gone_through,
        fault = stage.watch() => Err(fault),
    };
    if gone_through.is_err() {
        anstream::eprintln!("the keepers' folders and logs are in {}", temporary.keep().display());
    }
    gone_through
}

/// The configuration of the agent's keeper.
fn agent_config(chain: &Chain, folder: &Path) -> eyre::Result<PathBuf> {
    let key = |name: &str| format!("{{ keystore = \"{name}.json\", password = \"file:password\" }}");
    let config = format!(
        "data_dir = \"agent\"\n{}poll_ms = {POLL_MS}\n[agent]\nwallet = \"{}\"\nsession_key = {}\nrelayer_key = {}\n\
         [relay]\ngas_budget_per_day = 1000.0\n",
        chain_table(&chain.url, &chain.market),
        chain.wallet,
        key("session"),
        key("relayer"),
    );
    let path = folder.join("agent.toml");
    std::fs::write(&path, config)?;
    Ok(path)
}

/// A keeper's process; it ends with the value.
struct Runs {
    child: Child,
    data_dir: PathBuf,
}

impl Runs {
    fn start(config: &Path, data_dir: PathBuf) -> eyre::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("keeper");
        let child = Command::new(&program)
            .args(["run", "--config"])
            .arg(config)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(config.with_extension("log"))?)
            .kill_on_drop(true)
            .spawn()
            .wrap_err_with(|| format!("{} does not start; build the workspace", program.display()))?;
        Ok(Self { child, data_dir })
    }

    async fn status(&self) -> eyre::Result<Value> {
        match socket::ask(&self.data_dir, &Request::Status, |_| ControlFlow::Continue(())).await? {
            Reply::Document { body } => Ok(body),
            other => bail!("unexpected reply {other:?}"),
        }
    }

    /// Memory of the process, bytes.
    fn resident(&self) -> eyre::Result<u64> {
        self.child.id().and_then(metrics::resident_bytes).ok_or_eyre("the keeper's process is gone")
    }
}

/// Everybody.
struct Stage {
    provider: Runs,
    agent: Runs,
    chain: Chain,
    /// Jobs whose results the agent holds.
    done: AtomicU64,
    began: Instant,
}

impl Stage {
    async fn go_through(&self, rentals: u64, folder: &Path) -> eyre::Result<Value> {
        self.until("the provider lists its slots", async || {
            let ready = self.provider.status().await.is_ok_and(|status| status["provider"]["slots"] == SLOTS);
            Ok(ready && self.agent.status().await.is_ok())
        })
        .await?;
        let input = folder.join("page.md");
        std::fs::write(&input, "A page of text.\n")?;
        let request = Request::Rent(RentRequest {
            tasks: vec![TaskRequest {
                task_type: TaskType::TextProcessing,
                inputs: vec![input],
                parameters: Default::default(),
            }],
            keep_warm_s: 0,
            class: None,
            max_price_per_hour: None,
            // The most patient, as the chain's clock is set forward.
            priority: Priority::Low,
            max_duration_s: 60,
            out_dir: folder.join("results"),
        });
        let mut at_tenth = None;
        let (mut looks, mut before) = (tokio::time::interval(LOOK_EVERY), (Instant::now(), 0));
        let mut wave = 0..0;
        while wave.end < rentals {
            if wave.end > 0 {
                self.settled(wave.end).await?;
                let an_hour = GRACE_S + 60;
                let _ = self.chain.rpc.raw_request::<_, i64>("evm_increaseTime".into(), (an_hour,)).await?;
            }
            wave = wave.end..(wave.end + WAVE).min(rentals);
            let mut work = std::pin::pin!(self.work(&request, wave.end - wave.start));
            loop {
                tokio::select! {
                    ended = &mut work => break ended?,
                    _ = looks.tick() => {}
                }
                let done = self.done.load(Ordering::Relaxed);
                if done >= rentals / 10 && at_tenth.is_none() {
                    at_tenth = Some(self.provider.resident()?);
                }
                let (since, was) = std::mem::replace(&mut before, (Instant::now(), done));
                let per_minute = (done - was) as f64 * 60.0 / since.elapsed().as_secs_f64();
                let (provider, agent) = (mib(self.provider.resident()?), mib(self.agent.resident()?));
                let seconds = self.began.elapsed().as_secs();
                anstream::eprintln!(
                    "{seconds} s: {done} rentals, {per_minute:.0} a minute; provider {provider} MiB, agent {agent} MiB"
                );
            }
        }
        self.settled(rentals).await?;
        let (provider, agent) = (self.provider.resident()?, self.agent.resident()?);
        Ok(json!({
            "bench": "memory",
            "rentals": rentals,
            "provider_rss_mib": mib(provider),
            "agent_rss_mib": mib(agent),
            "rss_at_tenth_mib": mib(at_tenth.unwrap_or(provider)),
        }))
    }

    /// Hands jobs in and follows each to its result.
    async fn work(&self, request: &Request, jobs: u64) -> eyre::Result<()> {
        let job = async |_| match socket::ask(&self.agent.data_dir, request, |_| ControlFlow::Continue(())).await? {
            Reply::Finished { folder, .. } => {
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(tokio::fs::remove_dir_all(folder).await?)
            }
            other => bail!("a job ended otherwise: {other:?}"),
        };
        stream::iter(0..jobs).map(job).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits until so many rentals are paid and nothing is under way.
    async fn settled(&self, rentals: u64) -> eyre::Result<()> {
        self.until("the last rentals are paid", async || {
            let status = self.provider.status().await?;
            let settled = status["provider"]["settled"].as_u64().unwrap_or_default();
            Ok(settled >= rentals && status["rentals"].as_array().is_some_and(Vec::is_empty))
        })
        .await
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> eyre::Result<bool>) -> eyre::Result<()> {
        let since = Instant::now();
        while !holds().await? {
            ensure!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Ends when a keeper has ended by itself.
    async fn watch(&self) -> eyre::Report {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for (name, runs) in [("provider", &self.provider), ("agent", &self.agent)] {
                if runs.resident().is_err() {
                    return eyre::eyre!("the {name}'s keeper has ended");
                }
            }
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
