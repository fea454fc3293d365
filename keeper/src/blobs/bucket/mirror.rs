//! A provider's look at its bucket, again and again: work in, results out, and away with what is over.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contracts::ids::AgreementId;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Bucket, BucketError};
use crate::{
    benchmark::Scored,
    blobs::{BlobEvent, RentalAccess, Store},
};

/// First pause after something of a rental went wrong; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// What the index says of one of the provider's rentals.
pub enum Standing {
    /// It waits for its work.
    Waiting(RentalAccess),
    /// Its data is not served any more.
    Over,
    /// Anything else.
    Other,
}

/// Knows the rentals that are live, and how any one stands.
pub struct Rentals {
    /// Live ones.
    pub live: Box<dyn Fn() -> Vec<AgreementId> + Send + Sync>,
    /// Any.
    pub standing: Box<dyn Fn(AgreementId) -> Standing + Send + Sync>,
}

/// The score that is in the bucket, and when the next is put there.
struct Put {
    done: Option<Scored>,
    due: Instant,
    pause: Duration,
}

/// Keeps a provider's store and its part of a bucket alike.
pub struct Mirror {
    /// Where agents put their work.
    pub bucket: Bucket,
    /// The provider's store.
    pub store: Store,
    /// How fast the node is.
    pub score: watch::Receiver<Option<Scored>>,
    /// What the index says.
    pub rentals: Rentals,
    /// Told of what arrived.
    pub events: mpsc::Sender<BlobEvent>,
    /// Between two looks at the bucket.
    pub every: Duration,
    /// Between two looks for what is over.
    pub clear_every: Duration,
}

/// What failed lately, and when it is tried again.
#[derive(Default)]
struct Pauses(HashMap<AgreementId, (Instant, Duration)>);

impl Pauses {
    fn is_due(&self, rental: AgreementId) -> bool {
        self.0.get(&rental).is_none_or(|(at, _)| Instant::now() >= *at)
    }

    fn note<T>(&mut self, rental: AgreementId, what: &str, result: Result<T, BucketError>) -> Option<T> {
        match result {
            Ok(done) => {
                self.0.remove(&rental);
                Some(done)
            }
            Err(error) => {
                let pause = self.0.get(&rental).map_or(FIRST_PAUSE, |(_, last)| (*last * 2).min(MAX_PAUSE));
                self.0.insert(rental, (Instant::now() + pause, pause));
                warn!(%rental, %error, pause_s = pause.as_secs(), "{what} by way of the bucket");
                None
            }
        }
    }
}

impl Mirror {
    /// Goes on until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut pauses = Pauses::default();
        let mut published = HashSet::new();
        let mut cleared = None;
        let mut score = Put { done: None, due: Instant::now(), pause: FIRST_PAUSE };
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let work = async {
            loop {
                ticks.tick().await;
                self.take_in(&mut pauses).await;
                self.give_out(&mut pauses, &mut published).await;
                self.publish_score(&mut score).await;
                if cleared.is_none_or(|at: Instant| at.elapsed() >= self.clear_every) {
                    cleared = Some(Instant::now());
                    self.clear().await;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn take_in(&self, pauses: &mut Pauses) {
        let live = (self.rentals.live)();
        let stored: HashSet<_> = self.store.rentals().await.into_iter().collect();
        pauses.0.retain(|rental, _| live.contains(rental) || stored.contains(rental));
        for rental in live {
            let Standing::Waiting(access) = (self.rentals.standing)(rental) else { continue };
            let files = self.store.rental(rental).await.filter(|files| files.spec_hash == access.spec_hash);
            let is_here = files.is_some_and(|files| files.countersignature.is_some() && files.missing.is_empty());
            if is_here || !pauses.is_due(rental) {
                continue;
            }
            let taken = self.bucket.collect(rental, access.agent, access.spec_hash, &self.store).await;
            for event in pauses.note(rental, "work was not taken in", taken).flatten().into_iter().flatten() {
                // Without a keeper there is nobody to tell; the next start finds it in the store.
                let _ = self.events.send(event).await;
            }
        }
    }

    async fn give_out(&self, pauses: &mut Pauses, published: &mut HashSet<AgreementId>) {
        let stored = self.store.rentals().await;
        published.retain(|rental| stored.binary_search(rental).is_ok());
        for rental in stored {
            if published.contains(&rental) || !pauses.is_due(rental) {
                continue;
            }
            let document = self.store.rental(rental).await.and_then(|files| files.result);
            let Some(document) = document.filter(|document| document.is_final) else { continue };
            let put = self.bucket.publish(rental, &document, &self.store).await;
            if pauses.note(rental, "the result was not given out", put).is_some() {
                info!(%rental, "the result is in the bucket");
                published.insert(rental);
            }
        }
    }

    async fn publish_score(&self, put: &mut Put) {
        let score = self.score.borrow().clone();
        let Some(scored) = score.filter(|score| put.done.as_ref() != Some(score) && Instant::now() >= put.due) else {
            return;
        };
        match self.bucket.put_score(&scored).await {
            Ok(()) => {
                info!("the score is in the bucket");
                *put = Put { done: Some(scored), due: Instant::now(), pause: FIRST_PAUSE };
            }
            Err(error) => {
                warn!(%error, "the score was not put into the bucket");
                put.due = Instant::now() + put.pause;
                put.pause = (put.pause * 2).min(MAX_PAUSE);
            }
        }
    }

    async fn clear(&self) {
        let rentals = match self.bucket.rentals().await {
            Ok(rentals) => rentals,
            Err(error) => return warn!(%error, "the bucket could not be listed; what is over stays there for now"),
        };
        for rental in rentals {
            if matches!((self.rentals.standing)(rental), Standing::Over)
                && let Err(error) = self.bucket.clear(rental).await
            {
                warn!(%rental, %error, "what is over stays in the bucket for now");
            }
        }
    }
}
