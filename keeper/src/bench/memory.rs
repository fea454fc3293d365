//! A provider's and an agent's keeper through thousands of rentals between them, and what they hold in memory then.
//!
//! Blocks come ten times as often as on the demo's chain, since a rental takes some of them. A provider remembers what it made
//! for an hour after each rental, and takes so many of one agent meanwhile: so the rentals come in waves, and the chain's
//! clock is set forward between them.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use alloy::providers::Provider;
use eyre::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use keeper::{keeper::GRACE_S, socket::Request};
use serde_json::{Value, json};

use crate::pair::{Pair, page_of_text};

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

/// Gives the line of numbers.
pub(crate) async fn measure(anvil: &Path, worker: &Path, rentals: u64) -> eyre::Result<Value> {
    ensure!((10..=10_000).contains(&rentals), "--rentals {rentals}: from 10 to 10000");
    Pair::with(anvil, &ANVIL, POLL_MS, worker, async |pair, folder| {
        let stage = Stage { pair, done: AtomicU64::new(0), began: Instant::now() };
        stage.go_through(rentals, folder).await
    })
    .await
}

/// Both keepers at work.
struct Stage<'a> {
    pair: &'a Pair,
    /// Jobs whose results the agent holds.
    done: AtomicU64,
    began: Instant,
}

impl Stage<'_> {
    async fn go_through(&self, rentals: u64, folder: &Path) -> eyre::Result<Value> {
        let Pair { provider, agent, chain } = self.pair;
        let request = page_of_text(folder)?;
        let mut at_tenth = None;
        let (mut looks, mut before) = (tokio::time::interval(LOOK_EVERY), (Instant::now(), 0));
        let mut wave = 0..0;
        while wave.end < rentals {
            if wave.end > 0 {
                self.pair.settled(wave.end).await?;
                let an_hour = GRACE_S + 60;
                let _ = chain.rpc.raw_request::<_, i64>("evm_increaseTime".into(), (an_hour,)).await?;
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
                    at_tenth = Some(provider.resident()?);
                }
                let (since, was) = std::mem::replace(&mut before, (Instant::now(), done));
                let per_minute = (done - was) as f64 * 60.0 / since.elapsed().as_secs_f64();
                let (provider, agent) = (mib(provider.resident()?), mib(agent.resident()?));
                let seconds = self.began.elapsed().as_secs();
                anstream::eprintln!(
                    "{seconds} s: {done} rentals, {per_minute:.0} a minute; provider {provider} MiB, agent {agent} MiB"
                );
            }
        }
        self.pair.settled(rentals).await?;
        let (provider, agent) = (provider.resident()?, agent.resident()?);
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
        let job = async |_| {
            self.pair.rent(request).await?;
            self.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        stream::iter(0..jobs).map(job).buffer_unordered(AT_ONCE).try_collect().await
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
