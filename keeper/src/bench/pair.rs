//! A provider's and an agent's keeper, each a process of its own with all that is real, on a chain of their own.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use eyre::{Context as _, OptionExt as _, bail, ensure};
use keeper::{
    config::chain_table,
    job::Priority,
    keys, metrics,
    socket::{self, RentRequest, Reply, Request, TaskRequest},
    spec::TaskType,
};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::chain::{Chain, PASSWORD, SLOTS};

/// Longest wait for a keeper's start, and for the last rentals' bills.
const PATIENCE: Duration = Duration::from_secs(120);

/// Both and their chain; they end with the value.
pub(crate) struct Pair {
    /// Sells slots of a CPU, run by the process engine.
    pub(crate) provider: Runs,
    /// Rents them.
    pub(crate) agent: Runs,
    /// Where the market is.
    pub(crate) chain: Chain,
}

impl Pair {
    /// Starts them in `folder`, where their logs are, too; they look at the chain every `poll_ms`. Ends when both are at work.
    async fn start(anvil: &Path, options: &[&str], poll_ms: u64, worker: &Path, folder: &Path) -> eyre::Result<Self> {
        let key = |name: &str| keys::create(&folder.join(name), PASSWORD);
        let (session, relayer) = (key("session.json")?, key("relayer.json")?);
        let chain = Chain::start(anvil, session, options).await?;
        chain.fund(relayer.address()).await?;
        let (_, provider) = chain.provider(folder, &chain.url, poll_ms, worker).await?;
        let agent = agent_config(&chain, poll_ms, folder)?;
        let pair = Self {
            provider: Runs::start(&provider, folder.join("provider"))?,
            agent: Runs::start(&agent, folder.join("agent"))?,
            chain,
        };
        until("the provider lists its slots", async || {
            let ready = pair.provider.status().await.is_ok_and(|status| status["provider"]["slots"] == SLOTS);
            Ok(ready && pair.agent.status().await.is_ok())
        })
        .await?;
        Ok(pair)
    }

    /// What `work` gives with a pair in a folder of its own. It ends when a keeper does; a folder in which something went wrong
    /// stays.
    pub(crate) async fn with(
        anvil: &Path,
        options: &[&str],
        poll_ms: u64,
        worker: &Path,
        work: impl AsyncFnOnce(&Self, &Path) -> eyre::Result<Value>,
    ) -> eyre::Result<Value> {
        let temporary = tempfile::Builder::new().prefix("openclaw-bench-").tempdir()?;
        let folder = temporary.path();
        let pair = Self::start(anvil, options, poll_ms, worker, folder).await?;
        let worked = tokio::select! {
            worked = work(&pair, folder) => worked,
            fault = pair.watch() => Err(fault),
        };
        if worked.is_err() {
            anstream::eprintln!("the keepers' folders and logs are in {}", temporary.keep().display());
        }
        worked
    }

    /// Hands a job in and follows it to its result.
    pub(crate) async fn rent(&self, request: &Request) -> eyre::Result<()> {
        match socket::ask(&self.agent.data_dir, request, |_| ControlFlow::Continue(())).await? {
            Reply::Finished { folder, .. } => Ok(tokio::fs::remove_dir_all(folder).await?),
            other => bail!("a job ended otherwise: {other:?}"),
        }
    }

    /// Waits until so many rentals are paid and nothing is under way.
    pub(crate) async fn settled(&self, rentals: u64) -> eyre::Result<()> {
        until("the last rentals are paid", async || {
            let status = self.provider.status().await?;
            let settled = status["provider"]["settled"].as_u64().unwrap_or_default();
            Ok(settled >= rentals && status["rentals"].as_array().is_some_and(Vec::is_empty))
        })
        .await
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

/// A job that is little work: a page of text, with as much patience as there is.
pub(crate) fn page_of_text(folder: &Path) -> eyre::Result<Request> {
    let input = folder.join("page.md");
    std::fs::write(&input, "A page of text.\n")?;
    Ok(Request::Rent(RentRequest {
        tasks: vec![TaskRequest {
            task_type: TaskType::TextProcessing,
            inputs: vec![input],
            parameters: Default::default(),
        }],
        keep_warm_s: 0,
        class: None,
        max_price_per_hour: None,
        priority: Priority::Low,
        max_duration_s: 60,
        out_dir: folder.join("results"),
    }))
}

async fn until(what: &str, holds: impl AsyncFn() -> eyre::Result<bool>) -> eyre::Result<()> {
    let since = Instant::now();
    while !holds().await? {
        ensure!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// The configuration of the agent's keeper.
fn agent_config(chain: &Chain, poll_ms: u64, folder: &Path) -> eyre::Result<PathBuf> {
    let key = |name: &str| format!("{{ keystore = \"{name}.json\", password = \"file:password\" }}");
    let config = format!(
        "data_dir = \"agent\"\n{}poll_ms = {poll_ms}\n[agent]\nwallet = \"{}\"\nsession_key = {}\nrelayer_key = {}\n\
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
pub(crate) struct Runs {
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

    /// What it says of itself.
    pub(crate) async fn status(&self) -> eyre::Result<Value> {
        match socket::ask(&self.data_dir, &Request::Status, |_| ControlFlow::Continue(())).await? {
            Reply::Document { body } => Ok(body),
            other => bail!("unexpected reply {other:?}"),
        }
    }

    /// Memory of the process, bytes.
    pub(crate) fn resident(&self) -> eyre::Result<u64> {
        self.child.id().and_then(metrics::resident_bytes).ok_or_eyre("the keeper's process is gone")
    }
}
