//! How fast nodes are: measuring one's own, asking others, learning from rentals.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, ids::AgreementId};
use indexer::rows::Status;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tracing::{debug, info};

use super::{Keeper, KeeperError};
use crate::{
    act::errands::Brought,
    benchmark::Scored,
    clock::now_s,
    event::Event,
    job::JobId,
    market::AgentView,
    socket::Reply,
    speeds::{MAX_PROVIDERS, Sample, Speed},
};

/// Providers that sell are looked through for their scores this often, seconds.
const LOOK_EVERY_S: u64 = 5;
/// A provider is asked again after so long, seconds.
const ASK_EVERY_S: u64 = 3_600;
/// One that gave no score that holds is asked again after so long, seconds.
const ASK_AGAIN_S: u64 = 600;
/// Providers asked at once.
const ASKED: usize = 4;
/// Whoever has not said how fast it is by then says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Providers in one document.
const LISTED: usize = 100;

/// What a provider's keeper knows of its own speed.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// What the data plane publishes.
    pub score: Arc<watch::Sender<Option<Scored>>>,
    /// Held while the node is being measured.
    pub at_work: Arc<Mutex<()>>,
}

impl Gauge {
    /// With a score that still holds, if there is one.
    pub fn new(score: Option<Scored>) -> Self {
        Self { score: Arc::new(watch::Sender::new(score)), at_work: Arc::default() }
    }

    /// The score as clients get it.
    pub(super) fn document(&self) -> Value {
        json!(self.score.borrow().as_ref().map(|scored| &scored.score))
    }
}

/// Who is asked for a score, and when.
#[derive(Debug)]
pub(super) struct Asker {
    looked_s: u64,
    /// Who was asked when, Unix seconds, in this process.
    asked_s: HashMap<Address, u64>,
    places: Arc<Semaphore>,
    /// Who is known to be slower than the agent wants, as of the last look.
    pub(super) avoided: BTreeSet<(HardwareClass, Address)>,
}

impl Default for Asker {
    fn default() -> Self {
        Self { looked_s: 0, asked_s: HashMap::new(), places: Arc::new(Semaphore::new(ASKED)), avoided: BTreeSet::new() }
    }
}

impl Keeper {
    /// Measures this node off the loop, and answers when the score is published.
    pub(super) fn measure(&self, reply: mpsc::Sender<Reply>) {
        let refuse = |text: &str| drop(reply.try_send(Reply::Error { text: text.into() }));
        let (Some(own), Some(set)) = (&self.provider, &self.config.provider) else {
            return refuse("this keeper has no [provider] table; ask the provider's keeper");
        };
        let Ok(at_work) = own.gauge.at_work.clone().try_lock_owned() else {
            return refuse(
                "this node is being measured already, or an earlier measurement is being cleared away; try again shortly",
            );
        };
        let (workshop, journal, score) = (own.workshop.clone(), self.journal.clone(), own.gauge.score.clone());
        let (market, provider, class) = (self.config.chain.market, own.seller.provider, set.class);
        let (stop, reply) = (self.stop.clone(), reply.clone());
        tokio::spawn(async move {
            let _at_work = at_work;
            let measured = stop.run_until_cancelled(workshop.measure(market, provider, class)).await;
            let answer = match measured {
                None => Reply::Error { text: "the keeper is stopping; measure again when it runs".into() },
                Some(Err(error)) => Reply::Error { text: error.to_string() },
                // A score that is not on disk would be gone after a restart.
                Some(Ok(scored)) => match journal.keep_score(&scored) {
                    Err(error) => Reply::Error { text: error.to_string() },
                    Ok(()) => {
                        let body = json!(scored.score);
                        score.send_replace(Some(scored));
                        Reply::Document { body }
                    }
                },
            };
            // A client that left does not want the answer.
            let _ = reply.send(answer).await;
        });
    }

    /// Asks some of those who sell how fast they are, off the loop. An agent that avoids nobody asks nobody.
    pub(super) fn ask_scores(&mut self) -> Result<(), KeeperError> {
        let now = now_s();
        let (Some(agent), true) = (&self.agent, self.min_speed() > 0.0) else { return Ok(()) };
        if now < self.asker.looked_s + LOOK_EVERY_S {
            return Ok(());
        }
        self.asker.looked_s = now;
        self.asker.avoided = self.avoided(now);
        self.asker.asked_s.retain(|_, asked_s| *asked_s + ASK_EVERY_S > now);
        let snapshot = self.index.snapshot()?;
        for class in HardwareClass::ALL {
            for offer in snapshot.offers(class.number(), MAX_PROVIDERS)? {
                let provider = offer.provider;
                let (asked_s, has_score) = self.speeds.asked(provider);
                let asked_s = asked_s.max(self.asker.asked_s.get(&provider).copied().unwrap_or_default());
                if now < asked_s + if has_score { ASK_EVERY_S } else { ASK_AGAIN_S } {
                    continue;
                }
                let Some(about) = snapshot.provider(provider)? else { continue };
                let Ok(place) = self.asker.places.clone().try_acquire_owned() else { return Ok(()) };
                self.asker.asked_s.insert(provider, now);
                let (courier, events, endpoint) = (agent.courier.clone(), self.events.clone(), about.row.endpoint);
                tokio::spawn(async move {
                    let _place = place;
                    let said = match tokio::time::timeout(ANSWER_WITHIN, courier.score(&endpoint)).await {
                        Ok(said) => said.map_err(|error| error.to_string()),
                        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
                    };
                    // If the loop is gone, nobody wants to know.
                    let _ = events.send(Event::Scored { provider, said }).await;
                });
            }
        }
        Ok(())
    }

    /// Takes in what a provider says of its speed.
    pub(super) fn heard(&mut self, provider: Address, said: Result<Scored, String>) -> Result<(), KeeperError> {
        let now = now_s();
        let score = match said {
            Err(error) => {
                debug!(%provider, %error, "it does not say how fast it is");
                None
            }
            Ok(scored) => {
                let operators = self.index.snapshot()?.provider(provider)?.map(|about| about.operators);
                let signers: Vec<_> = [provider].into_iter().chain(operators.into_iter().flatten()).collect();
                let chain = &self.config.chain;
                match scored.check(chain.chain_id, chain.market, provider, &signers, now) {
                    Ok(()) => Some(scored),
                    Err(error) => {
                        info!(%provider, %error, "its score does not count");
                        None
                    }
                }
            }
        };
        let (known, forgotten) = self.speeds.heard(provider, score, now);
        self.journal.keep_speed(provider, known, forgotten)?;
        Ok(())
    }

    /// Learns from a result how fast its provider was.
    pub(super) fn note_speed(&mut self, job: JobId, rental: AgreementId, brought: &Brought) -> Result<(), KeeperError> {
        let provider = self.index.snapshot()?.agreement(rental)?.and_then(|row| row.provider());
        let tasks = self.jobs.get(&job).map(|job| job.spec.tasks.as_slice());
        // The seconds of several tasks say nothing of each, and a worker that failed may have done nothing.
        let (Some(provider), Some([task]), 0) = (provider, tasks, brought.exit_code) else { return Ok(()) };
        let bytes = task.inputs.iter().fold(0u64, |sum, input| sum.saturating_add(input.bytes));
        let sample = Sample { rental, task: task.task_type, bytes, seconds: brought.seconds, at_s: now_s() };
        let (known, forgotten) = self.speeds.took(provider, sample);
        self.journal.keep_speed(provider, known, forgotten)?;
        Ok(())
    }

    /// Confirmed rentals whose providers are known to be slower than the agent wants, and in which words.
    pub(super) fn slow_rentals(&self, view: &AgentView) -> HashMap<AgreementId, String> {
        let now = now_s();
        let confirmed = view.agreements.iter().filter(|row| row.status == Status::Confirmed);
        let slow = confirmed.filter_map(|row| {
            let (provider, class) = (row.provider()?, HardwareClass::from_number(row.id.class())?);
            let speed = self.speeds.of(provider, class, now).filter(|speed| speed.share() < self.min_speed())?;
            Some((row.id, format!("provider {provider} reaches {} of what {class} should", in_words(speed))))
        });
        slow.collect()
    }

    /// What is known of providers' speeds, as clients get it.
    pub(super) fn speeds_document(&self) -> Vec<Value> {
        let now = now_s();
        let shown = self.speeds.all().take(LISTED).flat_map(|(provider, known)| {
            let classes = HardwareClass::ALL.into_iter().filter_map(|class| {
                let speed = self.speeds.of(*provider, class, now)?;
                Some(json!({
                    "provider": provider,
                    "class": class,
                    "speed": speed.share(),
                    "known_by": match speed {
                        Speed::Stated(_) => "its own score".to_owned(),
                        Speed::Seen(_, rentals) => format!("{rentals} own rentals"),
                    },
                    "avoided": speed.share() < self.min_speed(),
                    "score": known.score.as_ref().map(|scored| &scored.score),
                    "rentals": known.samples.len(),
                }))
            });
            classes.collect::<Vec<_>>()
        });
        shown.collect()
    }

    fn avoided(&self, now_s: u64) -> BTreeSet<(HardwareClass, Address)> {
        let pairs = self.speeds.all().flat_map(|(provider, _)| HardwareClass::ALL.map(|class| (class, *provider)));
        let slow = |(class, provider): &(HardwareClass, Address)| {
            self.speeds.of(*provider, *class, now_s).is_some_and(|speed| speed.share() < self.min_speed())
        };
        pairs.filter(slow).collect()
    }

    fn min_speed(&self) -> f64 {
        self.config.agent.as_ref().map_or(0.0, |agent| agent.min_speed)
    }
}

fn in_words(speed: Speed) -> String {
    match speed {
        Speed::Stated(share) => format!("{share:.2}, by its own score,"),
        Speed::Seen(share, rentals) => format!("at most {share:.2}, by {rentals} rentals,"),
    }
}
