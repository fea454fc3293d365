//! Measures the keeper against a chain or an engine of its own: progress on stderr, one JSON object on stdout. See `script/bench`.

mod chain;
mod dispatch;
mod memory;
mod numbers;
mod pair;
mod react;
mod relay;
mod rush;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Measures the keeper; the exit code is 1 when a number misses its bar.
#[derive(Parser)]
struct Args {
    /// anvil.
    #[arg(long, default_value = "node_modules/.bin/anvil")]
    anvil: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Forwarded requests a second through one account, against direct calls of the same function.
    Relay {
        /// Requests of each kind.
        #[arg(long, default_value_t = 20_000)]
        requests: usize,
    },
    /// From a block with a bid to the transaction that takes it.
    React {
        /// Bids.
        #[arg(long, default_value_t = 60)]
        bids: usize,
        /// Static worker binary; it is not run.
        #[arg(long)]
        worker: PathBuf,
    },
    /// From a confirmed rental at the provider's hands to its running container, one at a time and fifty at once.
    Dispatch {
        /// The engine's socket; the usual ones are looked for if absent.
        #[arg(long)]
        docker_socket: Option<String>,
        /// Static worker binary.
        #[arg(long)]
        worker: PathBuf,
    },
    /// How much later the last of many jobs at once has its result than one alone.
    Rush {
        /// Worker binary.
        #[arg(long)]
        worker: PathBuf,
    },
    /// What a provider's and an agent's keeper hold in memory after many rentals between them.
    Memory {
        /// Rentals.
        #[arg(long, default_value_t = 10_000)]
        rentals: u64,
        /// Worker binary.
        #[arg(long)]
        worker: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let line = match measure(Args::parse()).await {
        Ok(line) => line,
        Err(error) => {
            anstream::eprintln!("bench: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    anstream::println!("{line}");
    let missed = numbers::missed(&line);
    missed.iter().for_each(|bar| anstream::eprintln!("bench: {bar}"));
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(args: Args) -> eyre::Result<serde_json::Value> {
    match args.what {
        What::Relay { requests } => relay::measure(&args.anvil, requests).await,
        What::React { bids, worker } => react::measure(&args.anvil, &worker, bids).await,
        What::Dispatch { docker_socket, worker } => dispatch::measure(docker_socket, &worker).await,
        What::Rush { worker } => rush::measure(&args.anvil, &worker).await,
        What::Memory { rentals, worker } => memory::measure(&args.anvil, &worker, rentals).await,
    }
}
