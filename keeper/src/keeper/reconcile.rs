//! Compares the containers of this keeper with the rentals on chain, and takes away what no rental wants.
//!
//! What is wanted, running or ended, is the business of the rental's errand, which the provider's role wishes for as long as
//! the rental runs: it re-attaches and collects. Here only the other direction is seen to, and it fails closed: without an
//! engine that answers, or while the index does not stand at the head of a chain that answers, nothing is touched.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use alloy::primitives::Address;
use indexer::{
    Index,
    rows::{AgreementRow, Status},
};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::Keeper;
use crate::{
    act::{
        containers::{AttemptId, Found},
        errands::Workshop,
    },
    benchmark::is_run,
    clock::now_s,
    journal::{Attempt, AttemptState, Journal},
};

/// Containers are compared with the chain at most this often, seconds.
const EVERY_S: u64 = 3;
/// An answer of the chain that is older than this and two looks at it is no ground to end work, seconds. Shorter than the
/// grace, so that whatever is ended was unwanted before the chain fell silent.
const FRESH_S: u64 = 8;
/// Blocks that the index may be behind the chain's head.
const FRESH_BLOCKS: u64 = 2;
/// A container that nothing explains runs on for so long: a reorganisation may bring its rental back, seconds.
const GRACE_S: u64 = 15;

/// Since when each container is unwanted, Unix seconds.
type Unwanted = HashMap<AttemptId, u64>;

/// What the comparison remembers between two rounds.
#[derive(Debug, Default)]
pub(super) struct Reconciler {
    looked_s: u64,
    /// Held by the round under way.
    unwanted: Arc<Mutex<Unwanted>>,
}

impl Keeper {
    /// Compares containers with rentals, unless that was done a moment ago or is being done. The engine is asked off the
    /// loop, so that a slow one does not hold it up; faults are logged, and all is looked at again.
    pub(super) fn reconcile(&mut self) {
        let Some(own) = &self.provider else { return };
        let now = now_s();
        if now < self.reconciler.looked_s + EVERY_S {
            return;
        }
        self.reconciler.looked_s = now;
        let Ok(mut unwanted) = self.reconciler.unwanted.clone().try_lock_owned() else { return };
        let round = Round {
            workshop: own.workshop.clone(),
            measuring: own.gauge.at_work.clone(),
            provider: own.seller.provider,
            index: self.index.clone(),
            journal: self.journal.clone(),
            confirmations: self.params.confirmations,
            fresh_s: FRESH_S + 2 * self.config.chain.poll_ms.div_ceil(1_000),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled(round.run(&mut unwanted)).await {
                warn!(%error, "containers could not be compared with the chain; nothing is touched, and they are looked at again");
            }
        });
    }
}

/// One comparison.
struct Round {
    workshop: Workshop,
    /// Held while the node is being measured.
    measuring: Arc<Mutex<()>>,
    provider: Address,
    index: Index,
    journal: Journal,
    confirmations: u64,
    fresh_s: u64,
}

impl Round {
    async fn run(&self, unwanted: &mut Unwanted) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let workshop = &self.workshop;
        let (runs, held): (Vec<_>, Vec<_>) =
            workshop.engine.list(workshop.chain_id).await?.into_iter().partition(|found| is_run(found.id.rental));
        // Whoever measures takes away what it made; what is there without it is from a keeper that was killed.
        if !runs.is_empty()
            && let Ok(_nobody) = self.measuring.try_lock()
        {
            for found in runs {
                workshop.engine.remove(found.id).await?;
                info!(container = %found.name, "container of a benchmark that was cut off removed");
            }
        }
        let here: HashSet<_> = held.iter().map(|found| found.id).collect();
        unwanted.retain(|id, _| here.contains(id));
        let Some(head) = self.head()? else {
            // A grace that nobody watched is none.
            unwanted.clear();
            return Ok(());
        };
        for found in held {
            let rental = found.id.rental;
            let row = self.index.snapshot()?.agreement(rental)?;
            let attempts = self.journal.attempts(rental)?;
            let Some(unneeded) = judge(&found, row.as_ref(), self.provider, &attempts) else {
                unwanted.remove(&found.id);
                continue;
            };
            let since_s = *unwanted.entry(found.id).or_insert_with(now_s);
            if now_s() < since_s + GRACE_S && !unneeded.is_final(head, self.confirmations) {
                continue;
            }
            match workshop.engine.remove(found.id).await {
                Ok(()) => info!(%rental, container = %found.name, why = unneeded.why, "container removed"),
                Err(error) => warn!(%rental, container = %found.name, %error, "a container stays behind for now"),
            }
        }
        Ok(())
    }

    /// Number of the newest block, if the index stands at the head of a chain that answers.
    fn head(&self) -> Result<Option<u64>, indexer::IndexError> {
        let (chain_head, answered_s) = self.index.chain_head();
        let head = self.index.snapshot()?.head().map(|head| head.number);
        Ok(head.filter(|head| is_fresh(*head, chain_head, answered_s + self.fresh_s, now_s())))
    }
}

fn is_fresh(head: u64, chain_head: u64, until_s: u64, now_s: u64) -> bool {
    until_s >= now_s && head + FRESH_BLOCKS >= chain_head && chain_head > 0
}

/// Why a container is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unneeded {
    why: &'static str,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The journal's word, which no block changes.
    Journal,
    /// An event of this block.
    Block(u64),
    /// Something that is not there.
    Absence,
}

impl Unneeded {
    /// Whether no grace is due.
    fn is_final(self, head: u64, confirmations: u64) -> bool {
        match self.cause {
            Cause::Journal => true,
            Cause::Block(block) => head >= block + confirmations,
            Cause::Absence => false,
        }
    }
}

/// Why `found` is not needed; `None` while its rental wants it.
fn judge(found: &Found, row: Option<&AgreementRow>, provider: Address, attempts: &[Attempt]) -> Option<Unneeded> {
    let because = |why, cause| Some(Unneeded { why, cause });
    let mut ours = attempts.iter().filter(|attempt| attempt.spec_hash == found.spec_hash);
    match ours.clone().find(|attempt| attempt.number == found.id.attempt).map(|attempt| &attempt.state) {
        Some(AttemptState::Accepted) => return because("its result is kept", Cause::Journal),
        Some(AttemptState::Lost { .. }) => return because("the attempt was given up", Cause::Journal),
        Some(AttemptState::Planned | AttemptState::Started) => {}
        None if ours.any(|attempt| attempt.state.is_live()) => {
            return because("another attempt is at work", Cause::Absence);
        }
        None => {}
    }
    let Some(row) = row else { return because("no rental of this id is known", Cause::Absence) };
    if row.spec_hash != found.spec_hash {
        return because("its rental stands for other work", Cause::Absence);
    }
    if row.provider() != Some(provider) {
        return because("its rental is not this provider's", Cause::Absence);
    }
    if matches!(row.status, Status::Confirmed | Status::Running) {
        return None;
    }
    let ended = row.ended.as_ref().map(|ended| ended.block);
    let submitted = row.submitted.as_ref().map(|submitted| submitted.block);
    because("its rental is over", submitted.or(ended).map_or(Cause::Absence, Cause::Block))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::roles::fixtures::{PROVIDER, row};

    const SPEC: B256 = B256::repeat_byte(1);

    fn found(attempt: u32) -> Found {
        let rental = row(Status::Running).id;
        Found {
            id: AttemptId { chain_id: 1, rental, attempt },
            spec_hash: SPEC,
            deadline_unix_s: 0,
            owner: "us".into(),
            name: "openclaw".into(),
            running: true,
        }
    }

    fn attempt(number: u32, state: AttemptState) -> Attempt {
        Attempt { number, spec_hash: SPEC, task: None, at_s: 0, state }
    }

    #[track_caller]
    fn check(found: &Found, row: Option<&AgreementRow>, attempts: &[Attempt], expect: Option<(&str, Cause)>) {
        let judged = judge(found, row, PROVIDER, attempts);
        assert_eq!(judged.map(|unneeded| (unneeded.why, unneeded.cause)), expect);
    }

    #[test]
    fn what_a_rental_wants_is_left_alone() {
        let started = [attempt(1, AttemptState::Started)];
        for status in [Status::Confirmed, Status::Running] {
            check(&found(1), Some(&row(status)), &started, None);
            check(&found(1), Some(&row(status)), &[], None);
        }
        // One of which a journal that was lost knows nothing is adopted, whatever its number.
        let lost = AttemptState::Lost { why: "gone".into() };
        check(&found(3), Some(&row(Status::Running)), &[attempt(1, lost)], None);
    }

    #[test]
    fn what_no_rental_wants_is_named_with_its_cause() {
        let running = row(Status::Running);
        let over = |why, block| Some((why, Cause::Block(block)));
        let absent = |why| Some((why, Cause::Absence));
        for status in [Status::Submitted, Status::Disputed, Status::Settled, Status::Failed, Status::Cancelled] {
            check(&found(1), Some(&row(status)), &[], over("its rental is over", 104));
        }
        let mut failed = row(Status::Failed);
        failed.submitted = None;
        failed.ended = Some(indexer::rows::Ended { block: 9, time_s: 0 });
        check(&found(1), Some(&failed), &[], over("its rental is over", 9));
        check(&found(1), None, &[], absent("no rental of this id is known"));
        check(
            &Found { spec_hash: B256::ZERO, ..found(1) },
            Some(&running),
            &[],
            absent("its rental stands for other work"),
        );
        let mut stolen = running.clone();
        stolen.matched = None;
        check(&found(1), Some(&stolen), &[], absent("its rental is not this provider's"));
        let live = [attempt(2, AttemptState::Started)];
        check(&found(1), Some(&running), &live, absent("another attempt is at work"));
        let kept = [attempt(1, AttemptState::Accepted)];
        check(&found(1), Some(&running), &kept, Some(("its result is kept", Cause::Journal)));
        let lost = [attempt(1, AttemptState::Lost { why: "gone".into() }), attempt(2, AttemptState::Started)];
        check(&found(1), Some(&running), &lost, Some(("the attempt was given up", Cause::Journal)));
        check(&found(2), Some(&running), &lost, None);
        // After a reorganisation an attempt at other work says nothing of this one.
        let other = [Attempt { spec_hash: B256::ZERO, ..attempt(1, AttemptState::Accepted) }];
        check(&found(1), Some(&running), &other, None);
    }

    #[test]
    fn only_what_cannot_come_back_gets_no_grace() {
        let unneeded = |cause| Unneeded { why: "", cause };
        assert!(unneeded(Cause::Journal).is_final(0, 5));
        assert!(!unneeded(Cause::Block(10)).is_final(14, 5));
        assert!(unneeded(Cause::Block(10)).is_final(15, 5));
        assert!(!unneeded(Cause::Absence).is_final(u64::MAX, 5));
    }

    #[test]
    fn a_view_is_fresh_only_at_the_head_of_a_chain_that_answers() {
        assert!(is_fresh(98, 100, 1_000, 1_000));
        assert!(!is_fresh(97, 100, 1_000, 1_000), "the index lags");
        assert!(!is_fresh(100, 100, 1_000, 1_001), "the chain is silent");
        assert!(!is_fresh(0, 0, 1_000, 1_000), "nothing was read yet");
    }
}
