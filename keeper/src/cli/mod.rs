//! The commands, a file each; what several share is here.

mod cancel;
mod config;
mod dispute;
mod journal;
mod key;
mod market;
mod mcp;
mod offer;
mod operator;
mod owner;
mod provider;
mod rent;
mod run;
mod status;
mod table;
mod wallet;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use alloy::primitives::Address;
use clap::{Args, Parser, Subcommand};
use contracts::units::Amount;
use eyre::{Context as _, bail};
use keeper::socket::{self, Order, Question, Reply, Request};
use serde_json::Value;

/// Rents compute for agents, sells it for node operators.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Run(run::Run),
    /// Rent for one task and bring its result.
    Rent(rent::Rent),
    /// Call a job off: its bid or rental is cancelled.
    Cancel(cancel::Cancel),
    /// Show what is running, earned, spent, and stuck and why.
    Status(status::Status),
    /// List, show, retry or give up what the keeper set out to do.
    Journal(journal::Journal),
    /// No new bids, offers and matches; what runs goes on. Outlives a restart.
    Pause(Client),
    /// Bids, lists and matches again.
    Resume(Client),
    /// End the daemon; containers go on and are adopted at the next start.
    Stop(Client),
    /// End workers of any keeper that are past their deadlines; works when the keepers are dead.
    Reap(keeper::reap::ReapArgs),
    /// Create, fund, limit and empty an agent's wallet, and say which keys may spend from it.
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Post an offer; list, change or close what a keeper sells.
    #[command(subcommand)]
    Offer(offer::Offer),
    /// Say which keys may act for a provider: those of its fleet's nodes.
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Register a provider and its endpoints; pull its earnings.
    #[command(subcommand)]
    Provider(provider::Provider),
    /// List, show and rule on disputes.
    #[command(subcommand)]
    Dispute(dispute::Dispute),
    /// Deploy a market of your own, for trials and new chains.
    #[command(subcommand)]
    Market(market::Market),
    /// Serve an agent's tools on stdin and stdout: the Model Context Protocol.
    Mcp(mcp::Mcp),
    /// Make a new key in an encrypted keystore.
    NewKey(key::NewKey),
    /// Show or check what the keeper works with.
    #[command(subcommand)]
    Config(config::Config),
}

/// Runs a command.
///
/// # Errors
/// One message for the user: what happened, and what to do next.
pub(crate) fn run(cli: Cli) -> eyre::Result<ExitCode> {
    match cli.command {
        Command::Run(run) => run.run(),
        Command::Rent(rent) => runtime()?.block_on(rent.run()),
        Command::Cancel(cancel) => runtime()?.block_on(cancel.run()),
        Command::Status(status) => runtime()?.block_on(status.run()),
        Command::Journal(journal) => runtime()?.block_on(journal.run()),
        Command::Pause(client) => runtime()?.block_on(client.tell(Request::Pause)),
        Command::Resume(client) => runtime()?.block_on(client.tell(Request::Resume)),
        Command::Stop(client) => runtime()?.block_on(client.tell(Request::Stop)),
        Command::Reap(reap) => {
            run::log(false);
            runtime()?.block_on(keeper::reap::run(reap))
        }
        Command::Wallet(wallet) => runtime()?.block_on(wallet.run()),
        Command::Offer(offer) => runtime()?.block_on(offer.run()),
        Command::Operator(operator) => runtime()?.block_on(operator.run()),
        Command::Provider(provider) => runtime()?.block_on(provider.run()),
        Command::Dispute(dispute) => runtime()?.block_on(dispute.run()),
        Command::Market(market) => runtime()?.block_on(market.run()),
        Command::Mcp(mcp) => runtime()?.block_on(mcp.run()),
        Command::NewKey(key) => key.run(),
        Command::Config(config) => config.run(),
    }
}

/// How a command finds the running keeper.
#[derive(Args)]
struct Client {
    /// Data folder of the running keeper.
    #[arg(long, env = "KEEPER_DATA_DIR")]
    data_dir: PathBuf,
}

impl Client {
    /// Asks for a document.
    async fn document(&self, request: Request) -> eyre::Result<Value> {
        document(&self.data_dir, request).await
    }

    /// Asks for a document about something.
    async fn show(&self, question: Question) -> eyre::Result<Value> {
        self.document(Request::Show(question)).await
    }

    /// Has something done and prints what the keeper says.
    async fn tell(&self, request: Request) -> eyre::Result<ExitCode> {
        match ask(&self.data_dir, request).await? {
            Reply::Ok { text } => anstream::println!("{text}"),
            other => bail!("unexpected reply {other:?}"),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn order(&self, order: Order) -> eyre::Result<ExitCode> {
        self.tell(Request::Order(order)).await
    }
}

/// A document of the keeper of `data_dir`.
async fn document(data_dir: &Path, request: Request) -> eyre::Result<Value> {
    match ask(data_dir, request).await? {
        Reply::Document { body } => Ok(body),
        other => bail!("unexpected reply {other:?}"),
    }
}

async fn ask(data_dir: &Path, request: Request) -> eyre::Result<Reply> {
    match socket::ask(data_dir, &request, |_| ControlFlow::Continue(())).await? {
        Reply::Error { text } => bail!(text),
        reply => Ok(reply),
    }
}

fn print_json(body: &Value) -> eyre::Result<ExitCode> {
    anstream::println!("{}", serde_json::to_string_pretty(body)?);
    Ok(ExitCode::SUCCESS)
}

/// An amount of a document, which has token units as a decimal string.
fn amount(body: &Value) -> Amount {
    serde_json::from_value(body.clone()).unwrap_or_default()
}

/// A text of a document, addresses with their checksum; `-` for what is absent.
fn text(body: &Value) -> String {
    match body {
        Value::Null => "-".into(),
        Value::String(text) if text.len() == 42 => {
            text.parse::<Address>().map_or_else(|_| text.clone(), |address| address.to_string())
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A provider's score as people read it.
fn speed(score: &Value) -> String {
    let Some(milli) = score["score_milli"].as_u64() else {
        return "not measured; `keeper offer measure` does it, and agents see the score".into();
    };
    format!(
        "{:.2} of the reference{}: {} ms with {:.2} cpus, measured {}",
        milli as f64 / 1_000.0,
        if score["accelerated"] == true { "" } else { ", by the processor alone" },
        text(&score["took_ms"]),
        score["cpus_milli"].as_f64().unwrap_or_default() / 1_000.0,
        date(score["measured_s"].as_u64().unwrap_or_default()),
    )
}

/// Whole seconds as people write them.
fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Unix seconds as a date in UTC.
fn date(unix_s: u64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(unix_s.min(MAX_DATE_S));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The year 9999, the last that the format knows.
const MAX_DATE_S: u64 = 253_402_300_799;

fn runtime() -> eyre::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().wrap_err("starting the runtime")
}
