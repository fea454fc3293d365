//! One attempt at a task: begun, gone on with, waited for, collected, or lost.

use std::time::Duration;

use contracts::ids::AgreementId;
use indexer::rows::AgreementRow;
use tracing::{info, warn};

use super::{ErrandError, KILLED, Workshop, retry};
use crate::{
    act::containers::{AttemptId, ContainerState, EngineError, Found, WorkOrder},
    clock::now_s,
    journal::{Attempt, AttemptState},
    spec::TaskName,
};

/// An engine that does not answer is asked for so long after a worker's time, seconds; its outputs may still count.
const PATIENCE_S: u64 = 120;

/// Exit code of a worker that was asked to end.
const TERMINATED: i32 = 143;

/// Opens the reason of an attempt that was lost this way.
const KILLED_FROM_OUTSIDE: &str = "its worker was killed, not by this keeper";

/// Longest pause between two questions to an engine that does not answer.
const MAX_PAUSE: Duration = Duration::from_secs(3);

impl Workshop {
    /// The attempt to go on with: the live one, one of this spec that the engine holds though the journal does not know it,
    /// or a new one.
    ///
    /// A container says which rental it works for, not at which task: one that the journal does not know is adopted only if
    /// the rental has no other task, and `adopts` says so.
    pub(super) async fn live_attempt(
        &self,
        row: &AgreementRow,
        task: &TaskName,
        adopts: bool,
        deadline_unix_s: u64,
    ) -> Result<Attempt, ErrandError> {
        let rental = row.id;
        if let Some(live) = self.journal.attempts(rental).map_err(retry)?.pop().filter(|last| last.state.is_live()) {
            if live.spec_hash == row.spec_hash && live.is_at(task) {
                return Ok(live);
            }
            let why = "the rental's id stands for other work since a reorganisation, or what it was at was never kept";
            self.lose(rental, live.number, why).await?;
        }
        let last = self.journal.attempts(rental).map_err(retry)?.last().map_or(0, |last| last.number);
        let held = self.patiently(deadline_unix_s, || self.engine.list(self.chain_id)).await.map_err(retry)?;
        let held: Vec<_> = held.into_iter().filter(|found| found.id.rental == rental).collect();
        let is_this = |found: &&Found| found.id.attempt > last && found.spec_hash == row.spec_hash;
        let known = held.iter().filter(|_| adopts).rfind(is_this);
        let number = match known {
            Some(found) => {
                warn!(%rental, container = %found.name, "the journal does not know this attempt; it is adopted");
                found.id.attempt
            }
            None if now_s() >= deadline_unix_s => {
                return Err(retry("no attempt is left, and no time for another one"));
            }
            None => held.iter().map(|found| found.id.attempt).fold(last, u32::max) + 1,
        };
        for other in held.iter().filter(|found| found.id.attempt != number) {
            self.patiently(deadline_unix_s, || self.engine.remove(other.id)).await.map_err(retry)?;
        }
        self.journal.plan_attempt(rental, row.spec_hash, task.clone(), number, now_s()).map_err(retry)
    }

    /// A planned attempt may have been started before a crash, and is then collected; but none starts after its time.
    pub(super) async fn refuse_late_start(&self, order: &WorkOrder) -> Result<(), ErrandError> {
        if now_s() < order.deadline_unix_s {
            return Ok(());
        }
        let until_s = order.deadline_unix_s + PATIENCE_S;
        match self.patiently(until_s, || self.engine.state(order.id())).await.map_err(retry)? {
            ContainerState::Missing => {
                let why = "its time was over before it began";
                self.lose(order.rental, order.attempt, why).await?;
                Err(retry(format!("attempt {}: {why}", order.attempt)))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn start(&self, order: &WorkOrder) -> Result<(), ErrandError> {
        let until_s = order.deadline_unix_s;
        match self.patiently(until_s, || self.engine.start(order)).await {
            Ok(began) => {
                info!(rental = %order.rental, container = %began.name, adopted = began.adopted, "worker runs");
                let state = AttemptState::Started;
                self.journal.move_attempt(order.rental, order.attempt, state, now_s()).map_err(retry)
            }
            Err(error @ EngineError::OtherWork { .. }) => {
                let why = error.to_string();
                self.lose(order.rental, order.attempt, &why).await?;
                Err(retry(why))
            }
            Err(error) => Err(retry(error)),
        }
    }

    /// Waits for the worker, and ends it at its deadline. Gives its exit code and the seconds it ran, rounded up.
    pub(super) async fn finish(&self, order: &WorkOrder) -> Result<(i32, u64), ErrandError> {
        let until_s = order.deadline_unix_s + PATIENCE_S;
        let wait = || {
            let left_s = order.deadline_unix_s.saturating_sub(now_s());
            self.engine.wait(order.id(), Duration::from_secs(left_s))
        };
        let mut state = self.patiently(until_s, wait).await.map_err(retry)?;
        let ended = matches!(state, ContainerState::Running { .. });
        if ended {
            warn!(rental = %order.rental, "the worker's time is over; it is ended");
            self.patiently(until_s, || self.engine.stop(order.id())).await.map_err(retry)?;
            state = self.patiently(until_s, || self.engine.state(order.id())).await.map_err(retry)?;
        }
        match state {
            ContainerState::Exited { code, oom_killed, started_unix_s, finished_unix_s } => {
                let code = if oom_killed { KILLED } else { code };
                if !ended && !oom_killed && self.may_be_the_engines(order, code)? {
                    let why = format!("{KILLED_FROM_OUTSIDE}: exit code {code}");
                    self.lose(order.rental, order.attempt, &why).await?;
                    return Err(retry(format!("attempt {}: {why}", order.attempt)));
                }
                Ok((code, finished_unix_s.saturating_sub(started_unix_s).max(1)))
            }
            ContainerState::Running { .. } => Err(retry("the worker could not be ended; the engine is asked again")),
            ContainerState::Missing => {
                let why = "its container is gone";
                self.lose(order.rental, order.attempt, why).await?;
                Err(retry(format!("attempt {}: {why}", order.attempt)))
            }
        }
    }

    /// Whether a worker's end may be the engine's doing: one that is shut down kills what it runs, and for a moment that looks
    /// like the worker's own end. The first such end is not held against the worker while time allows another attempt; a
    /// second one is its result, since a worker can also kill itself.
    fn may_be_the_engines(&self, order: &WorkOrder, code: i32) -> Result<bool, ErrandError> {
        if !matches!(code, KILLED | TERMINATED) || now_s() >= order.deadline_unix_s {
            return Ok(false);
        }
        let attempts = self.journal.attempts(order.rental).map_err(retry)?;
        let task = attempts.iter().find(|attempt| attempt.number == order.attempt).and_then(|it| it.task.clone());
        let before = attempts.iter().any(|attempt| {
            attempt.spec_hash == order.spec_hash
                && attempt.task == task
                && matches!(&attempt.state, AttemptState::Lost { why } if why.starts_with(KILLED_FROM_OUTSIDE))
        });
        Ok(!before)
    }

    /// Brings the outputs into the order's folder. What a worker may not write is its own failure, given as text.
    pub(super) async fn collect(&self, order: &WorkOrder) -> Result<Result<(), String>, ErrandError> {
        let until_s = order.deadline_unix_s + PATIENCE_S;
        match self.patiently(until_s, || self.engine.collect(order)).await {
            Ok(()) => Ok(Ok(())),
            Err(EngineError::Outputs { source, .. }) if source.is_by_worker() => Ok(Err(source.to_string())),
            Err(error @ (EngineError::OutputsLost { .. } | EngineError::NotFound { .. })) => {
                let why = error.to_string();
                self.lose(order.rental, order.attempt, &why).await?;
                Err(retry(why))
            }
            Err(error) => Err(retry(error)),
        }
    }

    /// Journals that an attempt came to nothing, then takes its rest away: in this order, since what is gone from the engine
    /// must not count as live.
    async fn lose(&self, rental: AgreementId, number: u32, why: &str) -> Result<(), ErrandError> {
        warn!(%rental, attempt = number, why, "an attempt is lost");
        let state = AttemptState::Lost { why: why.to_owned() };
        self.journal.move_attempt(rental, number, state, now_s()).map_err(retry)?;
        self.patiently(now_s() + PATIENCE_S, || self.engine.remove(self.attempt(rental, number)))
            .await
            .map_err(retry)?;
        Ok(())
    }

    /// Asks an engine that does not answer, or is busy, again and again until `until_s`.
    async fn patiently<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        until_s: u64,
        ask: impl Fn() -> F,
    ) -> Result<T, EngineError> {
        let mut pause = Duration::from_millis(100);
        loop {
            match ask().await {
                Err(error) if error.is_retryable() && now_s() < until_s => {
                    warn!(%error, "the engine is asked again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    pub(super) fn attempt(&self, rental: AgreementId, attempt: u32) -> AttemptId {
        AttemptId { chain_id: self.chain_id, rental, attempt }
    }
}
