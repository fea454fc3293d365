//! Measures this node: the class's template, run as a rental's worker would be.

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use contracts::classes::HardwareClass;
use tracing::{info, warn};

use super::{
    ErrandError, Workshop, retry,
    workshop::{SUBMIT_MARGIN_S, blocking},
};
use crate::{
    act::containers::{AttemptId, ContainerState, WorkOrder, layout},
    benchmark::{Score, Scored, Template, cpus_milli, run_id},
    clock::now_s,
};

/// Runs at most; the best one counts, since whatever else the machine does can only make one slower.
const RUNS: u32 = 3;
/// After a run of so long there is no other: its length is not by chance.
const LONG_RUN: Duration = Duration::from_secs(10);
/// A run may take so long, seconds: that is a hundredth of the reference machine's speed.
const RUN_S: u64 = 300;

impl Workshop {
    /// Runs the template of `class` under the limits of a rental's worker, and signs what came out as `provider`'s score. The
    /// containers bear the id [`run_id`]; calls must not overlap. If it is cut off, the last of them stays until the next call,
    /// or until its deadline.
    ///
    /// # Errors
    /// [`ErrandError::Retry`] when the engine fails, the worker takes too long or does the work wrongly.
    pub async fn measure(
        &self,
        market: Address,
        provider: Address,
        class: HardwareClass,
    ) -> Result<Scored, ErrandError> {
        let template = Template::of(class);
        let taken = self.best_run(&template).await;
        let removed = self.clear_runs().await;
        let (took, ()) = (taken?, removed?);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let score = Score {
            chain_id: self.chain_id,
            market,
            provider,
            class,
            template: template.spec_hash,
            image: self.image,
            cpus_milli: cpus_milli(self.limits.cpus),
            took_ms,
            score_milli: Score::milli(template.reference_ms, took_ms),
            accelerated: template.accelerated,
            measured_s: now_s(),
        };
        info!(%class, took_ms, score_milli = score.score_milli, "measured");
        Scored::sign(score, &self.key).map_err(retry)
    }

    async fn best_run(&self, template: &Template) -> Result<Duration, ErrandError> {
        self.clear_runs().await?;
        let (blobs, in_dir) = (self.work_dir.join("measure-blobs"), self.work_dir.join("measure-in"));
        let work = template.clone();
        blocking(move || {
            let blob = work.write_blobs(&blobs).map_err(retry)?;
            let task = work.spec.tasks.first().ok_or_else(|| retry("the benchmark has no task"))?;
            layout::write_inputs(&in_dir, run_id(), work.spec_hash, task, &blob).map_err(retry)
        })
        .await??;
        let mut best = self.run(template, 1).await?;
        for number in 2..=RUNS {
            if best >= LONG_RUN {
                break;
            }
            best = best.min(self.run(template, number).await?);
        }
        Ok(best)
    }

    /// One run, from asking the engine for a container to the worker's end.
    async fn run(&self, template: &Template, number: u32) -> Result<Duration, ErrandError> {
        let order = WorkOrder {
            chain_id: self.chain_id,
            rental: run_id(),
            attempt: number,
            spec_hash: template.spec_hash,
            image: self.image,
            in_dir: self.work_dir.join("measure-in"),
            out_dir: self.work_dir.join("measure-out"),
            limits: self.limits,
            // The craft uses none, and a rental may want it.
            devices: Vec::new(),
            // Past the time in which the run is given up here, so that nobody ends it before.
            deadline_unix_s: now_s() + RUN_S + SUBMIT_MARGIN_S,
        };
        let id = order.id();
        let since = Instant::now();
        self.engine.start(&order).await.map_err(retry)?;
        let state = self.engine.wait(id, Duration::from_secs(RUN_S)).await.map_err(retry)?;
        let took = since.elapsed();
        match state {
            ContainerState::Exited { code: 0, oom_killed: false, .. } => {}
            ContainerState::Running { .. } => {
                let text = format!("the benchmark is not done after {RUN_S} s; give workers more of provider.cpus");
                return Err(ErrandError::Retry(text));
            }
            ended => {
                let tail = self.engine.stderr_tail(id).await.unwrap_or_default();
                let text =
                    format!("the worker did not do the benchmark ({ended:?}): {tail}; is provider.worker right?");
                return Err(ErrandError::Retry(text));
            }
        }
        self.engine.collect(&order).await.map_err(retry)?;
        let (out_dir, disk_bytes) = (order.out_dir, u64::from(order.limits.disk_mib) << 20);
        let outputs = blocking(move || layout::read_outputs(&out_dir, disk_bytes)).await?.map_err(retry)?;
        if !template.yields(&outputs.manifest) {
            let text = "the worker's results are not what the benchmark must yield, so it has no score; set \
                        provider.worker to the worker of this keeper's version";
            return Err(ErrandError::Retry(text.into()));
        }
        self.engine.remove(id).await.map_err(retry)?;
        Ok(took)
    }

    /// Takes away what runs of now or earlier left, in the engine and on disk.
    async fn clear_runs(&self) -> Result<(), ErrandError> {
        for number in 1..=RUNS {
            let id = AttemptId { chain_id: self.chain_id, rental: run_id(), attempt: number };
            self.engine.remove(id).await.map_err(retry)?;
        }
        let folders = ["blobs", "in", "out"].map(|side| self.work_dir.join(format!("measure-{side}")));
        blocking(move || {
            for folder in folders {
                if let Err(error) = layout::clear(&folder) {
                    warn!(%error, "a folder of the benchmark stays behind");
                }
            }
        })
        .await
    }
}
