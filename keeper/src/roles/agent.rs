//! The agent's role: bids for jobs, hands work to providers, brings results, disputes what does not hold.

mod avoid;
mod objection;
mod outlook;
mod pricing;
mod ride;

use std::collections::HashMap;

use contracts::{ids::AgreementId, params::Params};
use indexer::rows::{AgreementRow, Status};

pub use self::pricing::quote;
use self::{
    avoid::Standing,
    objection::objection,
    outlook::Outlook,
    pricing::{NoBid, bid},
    ride::{attend_own, ride},
};
use super::{Wish, act};
use crate::{
    config::{DEFAULT_BATCH, StrategyConfig},
    event::Intent,
    job::{Job, JobState},
    ledger::{Ledger, REFUTED},
    market::AgentView,
    spec::sha256,
};

/// Most bids for one job: each failed rental costs the agent little, but not nothing.
const MAX_BIDS: usize = 12;
/// Most bids that are placed together.
const BIDS_AT_ONCE: usize = DEFAULT_BATCH;
/// A bid rests this long, then it is priced anew, seconds.
const BID_LIFETIME_S: u64 = 60;
/// An agent moves a rental on when its provider has not done so for this long, seconds.
const COURTESY_S: u64 = 3;

/// What the role looks at besides the market.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Jobs that are not over, and those whose rentals are not.
    pub jobs: &'a [Job],
    /// What is under way.
    pub ledger: &'a Ledger,
    /// Pricing.
    pub strategy: &'a StrategyConfig,
    /// The market's clocks.
    pub params: Params,
    /// Number of the newest block.
    pub head: u64,
    /// Time of the newest block.
    pub chain_s: u64,
    /// Unix seconds here.
    pub now_s: u64,
    /// No new bids while set.
    pub paused: bool,
    /// Confirmed rentals whose providers are known to be too slow, and in which words.
    pub slow: &'a HashMap<AgreementId, String>,
}

/// What the agent wants now.
pub fn wishes(view: &AgentView, desk: &Desk<'_>) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for row in view.agreements.iter().filter(|row| row.is_live()) {
        tend(view, desk, row, &mut wishes);
    }
    // Bids are placed together, each priced on what those before it leave. While some are on their way no others follow: they
    // would wait for their turn, and be priced on books that are gone by then.
    let mut room = if desk.ledger.any_unseen("bid/", desk.head) { 0 } else { BIDS_AT_ONCE };
    let mut outlook = Outlook::of(view);
    for job in desk.jobs.iter().filter(|job| job.state == JobState::Active) {
        wishes.extend(pursue(view, desk, job, &mut outlook, &mut room));
    }
    wishes
}

/// Moves one live agreement of the wallet on.
fn tend(view: &AgentView, desk: &Desk<'_>, row: &AgreementRow, wishes: &mut Vec<Wish>) {
    let rental = row.id;
    let job = desk.jobs.iter().find(|job| job.spec_hash == row.spec_hash);
    let due = |at_s: u64| desk.chain_s >= at_s;
    if let Some(job) = job.filter(|job| job.state == JobState::Cancelled)
        && call_off_now(row, desk)
    {
        wishes.push(act(Intent::Cancel { rental, job: job.id }, "the job was called off"));
        return;
    }
    let mut say = |text: String| wishes.extend(job.map(|job| Wish::Say { job: job.id, text }));
    match row.status {
        Status::Open if due(row.expiry_s) => wishes.push(act(Intent::Advance { rental }, "the bid expired")),
        Status::Open => say(format!("bid {rental} waits at tick {}", rental.tick())),
        Status::Confirmed => {
            let Some(matched) = &row.matched else { return };
            if due(matched.start_deadline_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "nobody started it in time"));
            } else if let Some(job) = job.filter(|job| job.state != JobState::Cancelled) {
                let standing = Standing::of(view, desk, row, job);
                if let Standing::Avoided(why) = standing {
                    say(format!("rental {rental}: {why}; it is called off before the start, and another bid follows"));
                    wishes.push(act(Intent::Cancel { rental, job: job.id }, why));
                } else if view.endpoints.get(&matched.provider).is_some_and(|endpoint| !endpoint.is_empty()) {
                    say(format!("rental {rental} confirmed by provider {}{standing}", matched.provider));
                    wishes.push(act(Intent::Deliver { rental, job: job.id }, "the provider needs the work"));
                }
            }
        }
        Status::Running => {
            let Some(started) = &row.started else { return };
            if runs_own_spec(row) {
                say(format!("rental {rental} runs"));
                wishes.extend(job.and_then(|job| attend_own(desk, row, job)));
            } else {
                say(format!(
                    "rental {rental} was started for another spec, {}; its result will not count",
                    started.spec_hash
                ));
            }
            if due(started.end_time_s + desk.params.submit_grace_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "no result came"));
            }
        }
        Status::Submitted => {
            let Some(submitted) = &row.submitted else { return };
            let fetch = Intent::Fetch { rental, job: job.map(|job| job.id).unwrap_or_default() };
            match (job, objection(desk, row, submitted, &fetch)) {
                (_, Some(reason)) => {
                    let intent = Intent::Dispute { rental, reason_hash: sha256(reason.as_bytes()) };
                    wishes.push(act(intent, format!("the result does not hold: {reason}")));
                }
                // What the wallet itself cancelled brings no result, only its bill; what was refuted is not asked for again.
                (Some(job), None)
                    if is_to_be_checked(desk, job, &fetch)
                        && !submitted.cancelled
                        && runs_own_spec(row)
                        && desk.ledger.error(&fetch.key()).is_none_or(|error| !error.starts_with(REFUTED)) =>
                {
                    wishes.push(act(fetch, "a result was submitted"));
                }
                _ => {}
            }
            if due(submitted.challenge_end_s + COURTESY_S) {
                wishes.push(act(Intent::Advance { rental }, "the challenge window is over"));
            }
        }
        Status::Disputed if row.dispute.as_ref().is_some_and(|dispute| due(dispute.timeout_s + COURTESY_S)) => {
            wishes.push(act(Intent::Advance { rental }, "the arbiter was silent"));
        }
        _ => {}
    }
}

/// Whether a submitted result is brought and checked. Of a rental that was kept warm the job may be over: its results were
/// there before its end, and are now held against the chain.
fn is_to_be_checked(desk: &Desk<'_>, job: &Job, fetch: &Intent) -> bool {
    match job.state {
        JobState::Active => true,
        JobState::Cancelled => false,
        JobState::Finished { .. } | JobState::Failed { .. } => {
            job.spec.keep_warm_s > 0 && !desk.ledger.is_done(&fetch.key())
        }
    }
}

/// Whether the market lets the wallet cancel `row` now, and cancelling is not dearer than waiting.
fn call_off_now(row: &AgreementRow, desk: &Desk<'_>) -> bool {
    let before = |at_s: u64| desk.chain_s < at_s;
    match row.status {
        // A bid rests for a while first; one that expired is moved on for nothing.
        Status::Open => !before(row.placed_time_s + desk.params.min_bid_lifetime_s) && before(row.expiry_s),
        Status::Confirmed => row.matched.as_ref().is_some_and(|matched| before(matched.start_deadline_s)),
        Status::Running => row.started.as_ref().is_some_and(|started| before(started.end_time_s)),
        _ => false,
    }
}

/// Whether the start was countersigned for the spec that was bid; the market takes any that a key of the wallet signed.
fn runs_own_spec(row: &AgreementRow) -> bool {
    row.started.as_ref().is_none_or(|started| started.spec_hash == row.spec_hash)
}

/// Bids for a job that has no live agreement while there is `room` for a bid, or ends it.
fn pursue(view: &AgentView, desk: &Desk<'_>, job: &Job, outlook: &mut Outlook, room: &mut usize) -> Vec<Wish> {
    let agreements = view.of_spec(job.spec_hash);
    if agreements.iter().any(|row| row.is_live()) {
        return Vec::new();
    }
    let paid = agreements.iter().rev().find(|row| row.status == Status::Settled && runs_own_spec(row));
    if let Some(row) = paid {
        return vec![collect_late(desk, job, row.id)];
    }
    if let Some(wish) = ride(view, desk, job).filter(|_| !desk.paused) {
        return vec![wish];
    }
    let fail = |reason: String| Wish::End { job: job.id, state: JobState::Failed { reason } };
    if agreements.len() >= MAX_BIDS {
        return vec![fail(format!("{MAX_BIDS} bids brought no result; look at `keeper journal` for what went wrong"))];
    }
    if desk.chain_s >= job.deadline_s {
        let reason = "no rental was won before the deadline; raise --max-price or --priority, or try another --class";
        return vec![fail(reason.into())];
    }
    if desk.paused {
        return vec![Wish::Say { job: job.id, text: "bidding is paused; `keeper resume` goes on".into() }];
    }
    match bid(view, outlook, desk, job, agreements.len() as u32) {
        Ok(bid) => {
            let failed = desk.ledger.error(&bid.intent.key());
            let say = failed.map(|error| format!("the last bid did not go through: {error}"));
            let mut wishes: Vec<_> = say.map(|text| Wish::Say { job: job.id, text }).into_iter().collect();
            if *room > 0 {
                // One that waits to be tried again takes nothing from the others.
                if desk.ledger.may_plan(&bid.intent, desk.head, desk.now_s) {
                    *room -= 1;
                    outlook.place(bid.book, bid.tick, bid.escrow);
                }
                wishes.push(act(bid.intent, bid.why));
            }
            wishes
        }
        Err(NoBid::Wait(text)) => vec![Wish::Say { job: job.id, text }],
        Err(NoBid::Never(reason)) => vec![fail(reason)],
    }
}

/// The rental was paid before its result was here: the data plane serves it for a grace period.
fn collect_late(desk: &Desk<'_>, job: &Job, rental: AgreementId) -> Wish {
    let fetch = Intent::Fetch { rental, job: job.id };
    let fail = |reason: String| Wish::End { job: job.id, state: JobState::Failed { reason } };
    if let Some(reason) = desk.ledger.error(&fetch.key()).and_then(|error| error.strip_prefix(REFUTED)) {
        return fail(format!("rental {rental} was settled with a result that does not hold: {reason}"));
    }
    if desk.chain_s >= job.deadline_s {
        return fail(format!("rental {rental} was settled, but its result could not be brought in time"));
    }
    act(fetch, "the rental is settled, its result is not here yet")
}

#[cfg(test)]
mod tests;
