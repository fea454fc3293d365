//! Jobs that ride along: a rental of the agent that is kept warm takes the tasks of further jobs, so that requests of seconds
//! share one rental, and begin at once.

use contracts::price;
use indexer::rows::{AgreementRow, Status};

use super::{Desk, Wish, act, runs_own_spec};
use crate::{
    event::Intent,
    job::{Job, JobState},
    ledger::{ABANDONED, LEFT_OUT, REFUTED},
    market::AgentView,
};

/// Jobs that wait for results of one rental at a time; they are done one after the other.
const MAX_RIDERS: usize = 8;
/// A provider needs the end of a rental's time to submit it, seconds.
const MARGIN_S: u64 = 10;

/// Hands `job` to a rental that runs and has room for it, or goes on with the one that it was handed to.
pub(super) fn ride(view: &AgentView, desk: &Desk<'_>, job: &Job) -> Option<Wish> {
    let open = || view.agreements.iter().filter(|row| !is_refused(desk, row, job));
    let taken = open().find(|row| is_under_way(desk, row, job));
    let chosen = taken.or_else(|| open().filter(|row| fits(view, desk, row, job)).max_by_key(|row| end_s(row)))?;
    Some(act(attend(chosen, job), "the agent's rental is kept for more work"))
}

/// Waits for the results of the rental's own job, which must not wait for its end.
pub(super) fn attend_own(desk: &Desk<'_>, row: &AgreementRow, job: &Job) -> Option<Wish> {
    let wanted = job.state == JobState::Active && job.spec.keep_warm_s > 0 && !is_refused(desk, row, job);
    wanted.then(|| act(attend(row, job), "its results are there before its end"))
}

fn attend(row: &AgreementRow, job: &Job) -> Intent {
    Intent::Attend { rental: row.id, job: job.id }
}

fn end_s(row: &AgreementRow) -> u64 {
    row.started.as_ref().map_or(0, |started| started.end_time_s)
}

/// It takes no more tasks, or what it brought does not hold: asking again changes nothing.
fn is_refused(desk: &Desk<'_>, row: &AgreementRow, job: &Job) -> bool {
    let error = desk.ledger.error(&attend(row, job).key()).unwrap_or_default();
    [LEFT_OUT, REFUTED, ABANDONED].iter().any(|word| error.starts_with(word))
}

/// It was handed over. Results that were not brought while the rental ran may be there for a while after its end.
fn is_under_way(desk: &Desk<'_>, row: &AgreementRow, job: &Job) -> bool {
    // One that was cancelled or gave way brings no results any more.
    let is_cut_off = row.submitted.as_ref().is_some_and(|bill| bill.cancelled || bill.preempted);
    let is_there = match row.status {
        _ if is_cut_off => false,
        Status::Running => true,
        Status::Submitted | Status::Disputed | Status::Settled => desk.chain_s < job.deadline_s,
        _ => false,
    };
    is_there && desk.ledger.attempts(&attend(row, job).key()) > 0
}

fn fits(view: &AgentView, desk: &Desk<'_>, row: &AgreementRow, job: &Job) -> bool {
    let Some(book) = row.id.book().filter(|_| row.status == Status::Running && runs_own_spec(row)) else {
        return false;
    };
    let host = desk.jobs.iter().find(|host| host.spec_hash == row.spec_hash);
    let is_kept = host.is_some_and(|host| host.spec.keep_warm_s > 0 && host.state != JobState::Cancelled);
    let per_hour = || {
        let base = view.books.get(&(book.class, book.bucket))?.base_price;
        price::price_at(base, row.id.tick()).and_then(|price| price::cost_of(price, 3_600))
    };
    is_kept
        && job.class.is_none_or(|class| class.number() == book.class)
        && job.max_price_per_hour.is_none_or(|max| per_hour().is_some_and(|price| price <= max.0))
        && end_s(row) >= desk.chain_s + u64::from(job.max_duration_s) + MARGIN_S
        && desk.ledger.count_live(&format!("attend/{}/", row.id)) < MAX_RIDERS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::primitives::B256;
    use contracts::{
        classes::HardwareClass,
        ids::{AgreementId, BookId},
        params::Preset,
        units::Amount,
    };

    use super::*;
    use crate::{
        config::StrategyConfig,
        job::{JobId, Priority},
        journal::{Record, State},
        ledger::Ledger,
        market::BookView,
        roles::fixtures::{NOW_S, row},
        spec::RentalSpec,
    };

    fn job(number: u64, keep_warm_s: u32) -> Job {
        Job {
            id: JobId(number),
            spec: RentalSpec { version: 1, salt: B256::ZERO, tasks: vec![], keep_warm_s },
            spec_hash: B256::repeat_byte(number as u8),
            class: None,
            max_price_per_hour: None,
            priority: Priority::Normal,
            max_duration_s: 20,
            created_s: NOW_S,
            deadline_s: NOW_S + 1_800,
            out_dir: "/tmp".into(),
            state: JobState::Active,
        }
    }

    /// A rental of job 1 that runs and is kept, and job 2, which might ride in it.
    struct Scene {
        row: AgreementRow,
        host: Job,
        rider: Job,
        ledger: Ledger,
        chain_s: u64,
    }

    /// Whether job 2 rides after this change.
    fn rides(change: impl FnOnce(&mut Scene)) -> bool {
        let class = HardwareClass::CpuOnly;
        let book = BookId::for_duration(class.number(), 60, false).unwrap();
        let row = AgreementRow { id: AgreementId::new(book, 100, 7), ..row(Status::Running) };
        let mut scene = Scene { row, host: job(1, 30), rider: job(2, 0), ledger: Ledger::default(), chain_s: NOW_S };
        change(&mut scene);
        let Scene { row, host, rider, ledger, chain_s } = scene;
        let jobs = [host, rider.clone()];
        let (params, strategy) = (Preset::Demo.params(), StrategyConfig::default());
        let desk = Desk {
            jobs: &jobs,
            ledger: &ledger,
            strategy: &strategy,
            params,
            head: 1,
            chain_s,
            now_s: chain_s,
            paused: false,
            slow: &Default::default(),
        };
        let mut view = AgentView { agreements: vec![row], ..Default::default() };
        let base_price = price::base_from_reference(class.reference_per_hour()).unwrap();
        view.books.insert((book.class, book.bucket), BookView { base_price, ..Default::default() });
        ride(&view, &desk, &rider).is_some()
    }

    impl Scene {
        fn note(&mut self, job: &Job, state: State) {
            let intent = attend(&self.row, job);
            let record = Record { intent: intent.clone(), why: String::new(), attempt: 1, at_s: NOW_S, state };
            self.ledger.note(intent.key(), &record);
        }

        fn rider_failed(&mut self, error: &str) {
            self.note(&self.rider.clone(), State::Failed { error: error.into() });
        }
    }

    #[test]
    fn a_job_rides_only_where_it_fits() {
        assert!(rides(|_| {}));
        assert!(!rides(|scene| scene.host.spec.keep_warm_s = 0), "nobody asked for it to be kept");
        assert!(!rides(|scene| scene.host.state = JobState::Cancelled), "it is about to be cancelled");
        assert!(!rides(|scene| scene.row.spec_hash = B256::ZERO), "nobody knows whose it is");
        assert!(!rides(|scene| scene.row.started.as_mut().unwrap().spec_hash = B256::ZERO), "it runs other work");
        assert!(!rides(|scene| scene.row.status = Status::Submitted));
        assert!(!rides(|scene| scene.rider.class = Some(HardwareClass::PremiumGpu)));
        assert!(rides(|scene| scene.rider.class = Some(HardwareClass::CpuOnly)));
        assert!(!rides(|scene| scene.rider.max_price_per_hour = Some(Amount(1))));
        assert!(rides(|scene| scene.rider.max_price_per_hour = Some(Amount(10u128.pow(18)))));
        assert!(rides(|scene| scene.rider.max_duration_s = 50));
        assert!(!rides(|scene| scene.rider.max_duration_s = 51), "60 s are left, 10 of them for the provider");
        assert!(!rides(|scene| (10..18).for_each(|number| scene.note(&job(number, 0), State::Planned))));
    }

    #[test]
    fn what_was_handed_over_is_followed_to_its_end_and_what_was_left_out_is_not() {
        for (status, expect) in [
            (Status::Running, true),
            (Status::Submitted, true),
            (Status::Disputed, true),
            (Status::Settled, true),
            (Status::Failed, false),
        ] {
            let followed = rides(|scene| {
                scene.row.status = status;
                scene.rider_failed("the provider does not answer");
            });
            assert_eq!(followed, expect, "{status:?}");
        }
        assert!(!rides(|scene| {
            scene.row.status = Status::Submitted;
            scene.row.submitted.as_mut().unwrap().cancelled = true;
            scene.rider_failed("the provider does not answer");
        }));
        assert!(!rides(|scene| {
            scene.row.status = Status::Settled;
            scene.chain_s = scene.rider.deadline_s;
            scene.rider_failed("the provider does not answer");
        }));
        for word in [LEFT_OUT, REFUTED, ABANDONED] {
            assert!(!rides(|scene| scene.rider_failed(&format!("{word}so"))));
        }
    }
}
