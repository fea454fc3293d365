//! Measures the keeper against a chain of its own: progress on stderr, one JSON object on stdout. See `script/bench`.

mod chain;
mod react;
mod relay;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Measures the keeper.
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
        #[arg(long, default_value_t = 2_000)]
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
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args = Args::parse();
    let line = match args.what {
        What::Relay { requests } => relay::measure(&args.anvil, requests).await?,
        What::React { bids, worker } => react::measure(&args.anvil, &worker, bids).await?,
    };
    anstream::println!("{line}");
    Ok(())
}
