//! Intents to the hands that carry them out, and what comes back.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use contracts::ids::AgreementId;
use indexer::{Index, rows::AgreementRow};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::{Keeper, KeeperError};
use crate::{
    act::errands::{Courier, ErrandError},
    blobs::BlobEvent,
    clock::now_s,
    event::{Done, Event, Intent, Outcome},
    job::{Job, JobId, JobState},
    journal::{Record, State},
    ledger::{LEFT_OUT, OVERTAKEN, REFUTED, UNSERVED},
};

impl Keeper {
    /// Hands a planned record to whoever acts on it; one that nobody can act on has failed.
    pub(super) fn dispatch(&mut self, record: Record) -> Result<(), KeeperError> {
        let key = record.intent.key();
        let handed = if record.intent.on_chain() { self.to_relay(record) } else { self.to_errand(record)? };
        match handed {
            Ok(()) => Ok(()),
            Err(problem) => self.acted(Outcome { key, result: Err(problem) }),
        }
    }

    fn to_relay(&self, record: Record) -> Result<(), String> {
        // An agent pays for what it bids and disputes; whatever moves an agreement on, either side may pay for.
        let of_agent = matches!(record.intent, Intent::Bid { .. } | Intent::Dispute { .. } | Intent::Cancel { .. })
            || self.provider.is_none();
        let relay = match of_agent {
            true => self.agent.as_ref().map(|agent| &agent.relay),
            false => self.provider.as_ref().map(|own| &own.relay),
        };
        let relay = relay.ok_or("this keeper no longer has the role that planned it")?;
        relay.try_send(record).map_err(|_| "the relay has too much to do".to_owned())
    }

    /// Starts an errand; its end comes back as an event.
    fn to_errand(&self, record: Record) -> Result<Result<(), String>, KeeperError> {
        let Ok(place) = self.errands.clone().try_acquire_owned() else {
            return Ok(Err("too many errands at once".into()));
        };
        let row = match record.intent.rental() {
            Some(rental) => self.index.snapshot()?.agreement(rental)?,
            None => None,
        };
        let Some(row) = row else { return Ok(Err("the index does not know the rental".into())) };
        let key = record.intent.key();
        match record.intent {
            Intent::Work { .. } => {
                let Some(own) = &self.provider else { return Ok(Err("this keeper is no provider any more".into())) };
                let (workshop, index) = (own.workshop.clone(), self.index.clone());
                self.set_off(key, place, async move {
                    let row = by_our_clock(&index, row).await;
                    workshop.work(&row).await.map(|_| Done::Worked)
                });
            }
            Intent::Deliver { job, .. } => match self.courier(&row, job)? {
                Err(problem) => return Ok(Err(problem)),
                Ok(trip) => self.set_off(key, place, async move {
                    trip.courier.deliver(&row, &trip.endpoint, &trip.job).await.map(|()| Done::Delivered)
                }),
            },
            Intent::Attend { job, .. } => match self.courier(&row, job)? {
                Err(problem) => return Ok(Err(problem)),
                Ok(trip) => {
                    let head_s = self.index.snapshot()?.head().map_or(0, |head| head.timestamp);
                    let end_s = row.started.as_ref().map_or(0, |started| started.end_time_s);
                    let at_most = Duration::from_secs(end_s.saturating_sub(head_s));
                    self.set_off(key, place, async move {
                        let Trip { courier, job, endpoint, signers } = trip;
                        let brought = courier.attend(&row, &endpoint, &signers, &job, at_most).await?;
                        Ok(Done::Fetched { job: job.id, rental: row.id, brought })
                    })
                }
            },
            Intent::Fetch { job, .. } => match self.courier(&row, job)? {
                Err(problem) => return Ok(Err(problem)),
                Ok(trip) => self.set_off(key, place, async move {
                    let brought = trip.courier.fetch(&row, &trip.endpoint, &trip.signers, &trip.job).await?;
                    Ok(Done::Fetched { job, rental: row.id, brought })
                }),
            },
            _ => return Ok(Err("it is a transaction, not an errand".into())),
        }
        Ok(Ok(()))
    }

    fn set_off(
        &self,
        key: String,
        place: OwnedSemaphorePermit,
        errand: impl Future<Output = Result<Done, ErrandError>> + Send + 'static,
    ) {
        let (events, stop) = (self.events.clone(), self.stop.clone());
        tokio::spawn(async move {
            let _place = place;
            // A stop leaves the errand planned in the journal: the next start runs it again.
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = errand => ended,
            };
            let result = ended.map_err(|error| match error {
                ErrandError::Retry(text) => text,
                ErrandError::Refuted(text) => format!("{REFUTED}{text}"),
                ErrandError::Unserved(text) => format!("{UNSERVED}{text}"),
                ErrandError::LeftOut(text) => format!("{LEFT_OUT}{text}"),
            });
            // If the loop is gone, so is the reason to report.
            let _ = events.send(Event::Acted(Outcome { key, result })).await;
        });
    }

    /// All that a trip to a rental's provider needs.
    fn courier(&self, row: &AgreementRow, job: JobId) -> Result<Result<Trip, String>, KeeperError> {
        let Some(agent) = &self.agent else { return Ok(Err("this keeper is no agent any more".into())) };
        let Some(job) = self.jobs.get(&job) else { return Ok(Err(format!("{job} is unknown"))) };
        let Some(provider) = row.provider() else { return Ok(Err("the bid is not matched any more".into())) };
        let Some(about) = self.index.snapshot()?.provider(provider)? else {
            return Ok(Err(format!("provider {provider} is unknown")));
        };
        let signers = [provider].into_iter().chain(about.operators).collect();
        Ok(Ok(Trip { courier: agent.courier.clone(), job: job.clone(), endpoint: about.row.endpoint, signers }))
    }

    /// Takes in how an intent ended.
    pub(super) fn acted(&mut self, outcome: Outcome) -> Result<(), KeeperError> {
        let Outcome { key, result } = outcome;
        let state = match &result {
            // The relay has journalled what it mined.
            Ok(Done::Mined { .. } | Done::TakenBack) => None,
            Ok(_) => Some(State::Done { block: 0, gas_wei: U256::ZERO }),
            Err(error) => Some(State::Failed { error: error.clone() }),
        };
        if let Some(state) = state
            && self.journal.record(&key)?.is_some_and(|record| record.state.can_transition_to(&state))
        {
            self.journal.advance(&key, state, now_s())?;
        }
        let Some(record) = self.journal.record(&key)? else { return Ok(()) };
        // A transaction is told of when it is mined and again when it is final.
        let is_news = self.ledger.is_live(&key) && !record.state.is_live();
        self.ledger.note(key.clone(), &record);
        let overtaken = result.as_ref().is_err_and(|error| error.starts_with(OVERTAKEN));
        if is_news && !overtaken {
            self.counters.ended(record.intent.on_chain(), matches!(record.state, State::Done { .. }));
        }
        if let (true, State::Done { gas_wei, .. }) = (is_news, &record.state) {
            self.counters.paid(*gas_wei);
        }
        match result {
            Ok(Done::Fetched { job, rental, brought }) => {
                self.note_speed(job, rental, &brought)?;
                let state = match brought.message {
                    None => JobState::Finished { rental, files: brought.files },
                    Some(reason) => JobState::Failed { reason: format!("rental {rental}: {reason}") },
                };
                self.end(job, state)?;
            }
            Ok(Done::Worked) => self.worked(&record)?,
            Ok(Done::Mined { .. } | Done::TakenBack | Done::Delivered) => {}
            Err(error) if overtaken => info!(%key, %error, "another was faster"),
            Err(error) => {
                warn!(%key, attempt = record.attempt, %error, "did not work; it is tried again while it is wanted")
            }
        }
        Ok(())
    }

    fn worked(&mut self, record: &Record) -> Result<(), KeeperError> {
        if let (Some(rental), Some(own)) = (record.intent.rental(), &mut self.provider)
            && let Some(result) = self.journal.result(rental)?
        {
            let failed = result.receipts().filter(|receipt| receipt.exit_code != 0).count();
            info!(%rental, tasks = result.tasks.len(), failed, seconds = result.seconds(), "work done");
            own.results.insert(rental, result);
        }
        Ok(())
    }

    /// Takes in what came over the data plane: the store has all of it.
    pub(super) async fn arrived(&mut self, event: BlobEvent) {
        let (rental, what) = match event {
            BlobEvent::SpecReady { rental } => (rental, "the spec is here"),
            BlobEvent::InputsComplete { rental } => (rental, "all inputs are here"),
            BlobEvent::Countersigned { rental, .. } => (rental, "the start is countersigned"),
        };
        let Some(own) = &mut self.provider else { return };
        info!(%rental, "{what}");
        if let Some(files) = own.workshop.store.rental(rental).await {
            own.deliveries.insert(rental, files.into());
        }
    }

    /// Drops what is remembered of rentals that are over.
    pub(super) fn forget(&mut self, over: &[AgreementId]) {
        if let Some(own) = &mut self.provider {
            for rental in over {
                own.deliveries.remove(rental);
                own.results.remove(rental);
            }
        }
    }
}

/// A running rental with its times by this machine's clock, as deadlines of containers are. The chain's clock may be another:
/// it stands still while no block comes, and a reorganisation can set it back. Waits until the index stands at the head of a
/// chain that answers, since a worker must not be ended by a guess.
async fn by_our_clock(index: &Index, row: AgreementRow) -> AgreementRow {
    loop {
        let (height, answered_s) = index.chain_head();
        let head = index.snapshot().ok().and_then(|snapshot| snapshot.head());
        if let Some(head) = head.filter(|head| answered_s > 0 && head.number >= height) {
            return shifted(row, answered_s.cast_signed().saturating_sub(head.timestamp.cast_signed()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn shifted(mut row: AgreementRow, by_s: i64) -> AgreementRow {
    if let Some(started) = &mut row.started {
        started.time_s = started.time_s.saturating_add_signed(by_s);
        started.end_time_s = started.end_time_s.saturating_add_signed(by_s);
    }
    row
}

struct Trip {
    courier: Courier,
    job: Job,
    endpoint: String,
    signers: Vec<Address>,
}

#[cfg(test)]
mod tests {
    use indexer::rows::Status;

    use super::*;
    use crate::roles::fixtures::{NOW_S, row};

    #[test]
    fn a_chain_whose_clock_differs_gives_a_worker_its_whole_time() {
        for (by_s, start_s) in [(0, NOW_S), (90, NOW_S + 90), (-90, NOW_S - 90)] {
            let times = shifted(row(Status::Running), by_s).started.map(|started| (started.time_s, started.end_time_s));
            assert_eq!(times, Some((start_s, start_s + 60)));
        }
        assert_eq!(shifted(row(Status::Running), i64::MIN).started.map(|started| started.time_s), Some(0));
    }
}
