//! The program `indexer`: mirrors one market and serves its query API.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use eyre::WrapErr;
use indexer::{
    Index,
    api::{self, ApiState},
    config::{Config, Options},
};
use tokio::{net::TcpListener, signal::unix, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Mirrors the compute market from the chain and answers questions about it.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Follow the chain and serve the API until Ctrl-C
    Run(Options),
    /// Compare the index with the chain by calls; exit code 1 when they differ
    Verify(Options),
    /// Print every row, the same bytes for the same chain
    Dump(Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let logs = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(logs)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let result = match Cli::parse().command {
        Command::Run(options) => run(options).await,
        Command::Verify(options) => verify(options).await,
        Command::Dump(options) => dump(options).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> eyre::Result<ExitCode> {
    let Config { index: config, listen } = options.resolve()?;
    // The port first: a busy one should be told before anything is written.
    let listener = TcpListener::bind(listen).await.wrap_err_with(|| {
        format!("the API cannot listen on {listen}; stop what uses it, or choose another --listen")
    })?;
    let index = Index::open(config).await?;
    info!(api = %format_args!("http://{}", listener.local_addr()?), market = %index.config().market, "indexing");
    let shutdown = CancellationToken::new();
    let mut parts: JoinSet<eyre::Result<()>> = JoinSet::new();
    let api = api::run(listener, ApiState::new(index.clone()), shutdown.clone());
    parts.spawn(async move { api.await.wrap_err("the API stopped") });
    let follow = shutdown.clone();
    parts.spawn(async move { Ok(index.run(follow).await?) });
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let ended = tokio::select! {
        signal = tokio::signal::ctrl_c() => signal.map_err(Into::into),
        _ = terminate.recv() => Ok(()),
        Some(part) = parts.join_next() => part?,
    };
    shutdown.cancel();
    while let Some(part) = parts.join_next().await {
        part??;
    }
    ended.map(|()| ExitCode::SUCCESS)
}

async fn verify(options: Options) -> eyre::Result<ExitCode> {
    let index = Index::open_read_only(options.resolve()?.index)?;
    let report = index.verify().await?;
    print(&serde_json::to_string_pretty(&report)?)?;
    Ok(if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn dump(options: Options) -> eyre::Result<ExitCode> {
    let index = Index::open_read_only(options.resolve()?.index)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    index.snapshot()?.dump(&mut out)?.wrap_err("the dump cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> io::Result<()> {
    use io::Write;
    writeln!(io::stdout().lock(), "{text}")
}
