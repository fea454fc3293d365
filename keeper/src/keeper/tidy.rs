//! Drops what nobody needs any more, so that a keeper can run for years.

use std::collections::HashSet;

use tracing::{info, warn};

use super::{GRACE_S, Keeper, KeeperError};
use crate::{intake, job::JobState, market::MarketView};

/// Ended jobs that stay listed.
const KEPT_JOBS: usize = 1_000;

impl Keeper {
    /// Removes blobs of rentals that are long over, inputs of jobs that are over, and the oldest records.
    pub(super) async fn tidy(&mut self, view: &MarketView) -> Result<(), KeeperError> {
        let dropped = self.journal.prune()?;
        if !dropped.is_empty() {
            info!(dropped = dropped.len(), "old journal records dropped");
            self.ledger.forget(&dropped);
        }
        self.release_blobs(view).await?;
        self.remove_inputs(view);
        for id in self.journal.prune_jobs(KEPT_JOBS)? {
            self.jobs.remove(&id);
        }
        Ok(())
    }

    async fn release_blobs(&mut self, view: &MarketView) -> Result<(), KeeperError> {
        let Some(own) = &self.provider else { return Ok(()) };
        let store = own.workshop.store.clone();
        let mut over = Vec::new();
        for rental in store.rentals().await {
            let row = self.index.snapshot()?.agreement(rental)?;
            let ended_s = row.as_ref().and_then(|row| row.ended.as_ref()).map(|ended| ended.time_s);
            // A rental that a reorganisation took back is unknown; its data is kept for the same grace.
            if ended_s.is_some_and(|ended_s| view.head.timestamp > ended_s + GRACE_S) {
                over.push(rental);
            }
        }
        for rental in &over {
            if let Err(error) = store.release(*rental).await {
                warn!(%rental, %error, "blobs of a rental stay behind");
            }
        }
        self.journal.drop_work(&over)?;
        self.forget(&over);
        Ok(())
    }

    fn remove_inputs(&self, view: &MarketView) {
        let Some(seen) = &view.agent else { return };
        let Some(agent) = &self.agent else { return };
        let live: HashSet<_> = seen.agreements.iter().filter(|row| row.is_live()).map(|row| row.spec_hash).collect();
        let ended = self.jobs.values().filter(|job| job.state != JobState::Active && !live.contains(&job.spec_hash));
        for job in ended {
            let dir = intake::inputs_dir(&agent.courier.jobs_dir, job.spec_hash);
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    warn!(job = %job.id, dir = %dir.display(), %error, "inputs stay behind");
                }
                _ => {}
            }
        }
    }
}
