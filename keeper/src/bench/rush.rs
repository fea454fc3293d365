//! Many jobs handed in at once against one alone: how much later the last has its result.
//!
//! An agent's bids share a block, and so do the matches that take them; were each to wait for the one before it, the last of
//! twenty jobs would be forty blocks behind.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::{
    numbers::{percentile_ms, rounded},
    pair::{Pair, page_of_text},
};

/// The demo's chain.
const ANVIL: [&str; 2] = ["--block-time", "1"];
/// Milliseconds between a keeper's looks at the chain.
const POLL_MS: u64 = 100;
/// Jobs alone, one after the other.
const ALONE: u64 = 7;
/// Jobs at once: as many as there are bids in a transaction.
const AT_ONCE: u64 = 20;

/// Gives the line of numbers.
pub(crate) async fn measure(anvil: &Path, worker: &Path) -> eyre::Result<Value> {
    Pair::with(anvil, &ANVIL, POLL_MS, worker, jobs).await
}

async fn jobs(pair: &Pair, folder: &Path) -> eyre::Result<Value> {
    let request = page_of_text(folder)?;
    let timed = async || {
        let since = Instant::now();
        pair.rent(&request).await?;
        eyre::Ok(since.elapsed())
    };
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        alone.push(timed().await?);
        anstream::eprint!(".");
    }
    anstream::eprintln!(" one at a time");
    pair.settled(ALONE).await?;
    let mut together: Vec<Duration> = try_join_all((0..AT_ONCE).map(|_| timed())).await?;
    pair.settled(ALONE + AT_ONCE).await?;
    let (one, last) = (percentile_ms(&mut alone, 50), percentile_ms(&mut together, 100));
    Ok(json!({
        "bench": "rush",
        "jobs": AT_ONCE,
        "alone_p50_ms": one,
        "first_ms": percentile_ms(&mut together, 0),
        "last_ms": last,
        "ratio": rounded(last / one),
    }))
}
