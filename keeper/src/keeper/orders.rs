//! What an operator has done: pause, retry, abandon, cancel, change offers.

use std::{
    io,
    path::{Path, PathBuf},
};

use contracts::{price, units::Amount};
use tracing::{info, warn};

use super::{Keeper, KeeperError};
use crate::{
    clock::now_s,
    event::Intent,
    job::{JobId, JobState},
    journal::State,
    ledger::ABANDONED,
    roles::provider::{least_bond, lowest_tick},
    socket::{Order, Reply},
};

/// Whether the keeper of `data_dir` was paused when it ended: a pause outlives a restart.
pub(super) fn is_paused(data_dir: &Path) -> bool {
    marker(data_dir).exists()
}

fn marker(data_dir: &Path) -> PathBuf {
    data_dir.join("paused")
}

impl Keeper {
    /// Stops or allows new bids, offers and matches.
    pub(super) fn pause(&mut self, paused: bool) -> Reply {
        let path = marker(&self.config.data_dir);
        let noted = if paused { std::fs::write(&path, b"") } else { remove(&path) };
        if let Err(error) = noted {
            warn!(path = %path.display(), %error, "the pause cannot be noted on disk");
            let text = format!(
                "{} cannot be changed ({error}), and a pause must outlive a restart; nothing was changed",
                path.display()
            );
            return Reply::Error { text };
        }
        self.paused = paused;
        self.counters.set_paused(paused);
        let text = if paused { "paused: no new bids, offers and matches; what runs goes on" } else { "resumed" };
        info!("{text}");
        Reply::Ok { text: text.into() }
    }

    /// Carries out an order, as far as that can be done at once.
    pub(super) fn order(&mut self, order: Order) -> Result<Reply, KeeperError> {
        let done = match order {
            Order::Retry { key } => self.retry(&key)?,
            Order::Abandon { key } => self.abandon(&key)?,
            Order::Cancel { job } => self.call_off(job)?,
            Order::UpdateOffer { offer, reserve_per_hour, valid_for_s } => {
                self.update_offer(offer, reserve_per_hour, valid_for_s)?
            }
            Order::CloseOffer { offer } => self.close_offer(offer)?,
        };
        Ok(match done {
            Ok(text) => Reply::Ok { text },
            Err(text) => Reply::Error { text },
        })
    }

    /// Never plans by itself: an old intent may be one that nobody wants any more, and money would follow it.
    fn retry(&mut self, key: &str) -> Result<Result<String, String>, KeeperError> {
        let record = match self.failed(key)? {
            Ok(record) => record,
            Err(text) => return Ok(Err(text)),
        };
        if let State::Failed { error } = &record.state
            && let Some(error) = error.strip_prefix(ABANDONED)
        {
            let record = self.journal.restate_failure(key, error.to_owned(), now_s())?;
            self.ledger.note(key.to_owned(), &record);
        }
        self.ledger.hurry(key);
        info!(%key, "to be tried again at once");
        Ok(Ok(format!("{key} is tried again now, if the keeper still wants it; `keeper journal show {key}` tells")))
    }

    fn abandon(&mut self, key: &str) -> Result<Result<String, String>, KeeperError> {
        let record = match self.failed(key)? {
            Ok(record) => record,
            Err(text) => return Ok(Err(text)),
        };
        if let State::Failed { error } = &record.state
            && !error.starts_with(ABANDONED)
        {
            let record = self.journal.restate_failure(key, format!("{ABANDONED}{error}"), now_s())?;
            self.ledger.note(key.to_owned(), &record);
        }
        info!(%key, "given up by the operator");
        Ok(Ok(format!("{key} is not tried again; `keeper journal retry {key}` takes that back")))
    }

    fn failed(&self, key: &str) -> Result<Result<crate::journal::Record, String>, KeeperError> {
        let Some(record) = self.journal.record(key)? else {
            return Ok(Err(format!("the journal has no intent {key}; `keeper journal list` shows their keys")));
        };
        Ok(match &record.state {
            State::Failed { .. } => Ok(record),
            State::Done { .. } => Err(format!("{key} took effect already; there is nothing to do")),
            State::Signed { hash, nonce, .. } => Err(format!(
                "{key} is signed as transaction {hash} with nonce {nonce} and may be mined at any moment; only the chain ends it"
            )),
            _ => Err(format!("{key} is being done; wait until it ends or fails")),
        })
    }

    fn call_off(&mut self, id: JobId) -> Result<Result<String, String>, KeeperError> {
        let Some(job) = self.jobs.get(&id) else {
            return Ok(Err(format!("{id} is unknown here; `keeper status` lists the jobs")));
        };
        match &job.state {
            JobState::Active => {}
            JobState::Cancelled => return Ok(Ok(format!("{id} was called off already"))),
            JobState::Finished { .. } => return Ok(Err(format!("{id} is done; there is nothing to cancel"))),
            JobState::Failed { reason } => return Ok(Err(format!("{id} has failed already: {reason}"))),
        }
        self.end(id, JobState::Cancelled)?;
        Ok(Ok(format!(
            "{id} is called off; its bid is cancelled once it has rested for {} s, a confirmed or running rental at once \
             (that costs a small penalty or the time used); `keeper status` shows it",
            self.params.min_bid_lifetime_s
        )))
    }

    fn update_offer(
        &mut self,
        id: u64,
        reserve_per_hour: Option<Amount>,
        valid_for_s: Option<u64>,
    ) -> Result<Result<String, String>, KeeperError> {
        let offer = match self.own_offer(id)? {
            Ok(offer) => offer,
            Err(text) => return Ok(Err(text)),
        };
        let base = self.index.snapshot()?.class_base(offer.class)?.unwrap_or_default();
        let reserve_tick = match reserve_per_hour {
            None => offer.reserve_tick,
            Some(wanted) => match lowest_tick(base, wanted) {
                Some(tick) => tick,
                None => return Ok(Err(format!("{wanted} per hour is above the highest tick of the class"))),
            },
        };
        if !bond_covers(base, reserve_tick, offer.bond_per_slot, self.params.bond_s) {
            let highest =
                (0..=u8::MAX).rev().find(|tick| bond_covers(base, *tick, offer.bond_per_slot, self.params.bond_s));
            let highest = highest.and_then(|tick| price::price_at(base, tick)).and_then(|at| price::cost_of(at, 3_600));
            return Ok(Err(format!(
                "the bonds of offer {id} carry a lowest price of at most {} per hour; to sell dearer, close it, set \
                 provider.reserve_per_hour, and start the keeper again",
                highest.map(Amount).unwrap_or_default()
            )));
        }
        let valid_until = valid_for_s.map_or(offer.valid_until_s, |valid_s| now_s().saturating_add(valid_s));
        let intent = Intent::UpdateOffer { offer: id, reserve_tick, valid_until };
        self.plan_now(intent, "the operator changes the offer", format!("offer {id} is being changed"))
    }

    fn close_offer(&mut self, id: u64) -> Result<Result<String, String>, KeeperError> {
        if let Err(text) = self.own_offer(id)? {
            return Ok(Err(text));
        }
        let lists_anew = self.provider.as_ref().is_some_and(|own| own.seller.offers.is_none());
        let text = match lists_anew {
            // Else the next look would list the slots anew.
            true => match self.pause(true) {
                Reply::Error { text } => return Ok(Err(text)),
                _ => format!(
                    "offer {id} is being closed; this keeper is paused, so that it lists no other: `keeper resume` lists \
                     anew"
                ),
            },
            false => format!("offer {id} is being closed; its owner posts others with `keeper offer post`"),
        };
        self.plan_now(Intent::CloseOffer { offer: id }, "the operator closes the offer", text)
    }

    fn own_offer(&self, id: u64) -> Result<Result<indexer::rows::OfferRow, String>, KeeperError> {
        let Some(own) = &self.provider else {
            return Ok(Err("this keeper has no [provider] table; ask the provider's keeper".into()));
        };
        Ok(match self.index.snapshot()?.offer(id)? {
            Some(offer) if offer.provider != own.seller.provider => {
                Err(format!("offer {id} belongs to provider {}, not to this keeper's", offer.provider))
            }
            Some(_) if !own.seller.sells(id) => {
                Err(format!("offer {id} is another node's; ask the keeper that names it"))
            }
            Some(offer) if !offer.active => Err(format!("offer {id} is closed already")),
            Some(offer) => Ok(offer),
            None => Err(format!("there is no offer {id}; `keeper offer list` shows this provider's")),
        })
    }

    /// Plans an operator's transaction and hands it to the relay.
    fn plan_now(&mut self, intent: Intent, why: &str, text: String) -> Result<Result<String, String>, KeeperError> {
        let key = intent.key();
        if self.journal.record(&key)?.is_some_and(|record| record.state.is_live()) {
            return Ok(Err(format!("{key} is under way; `keeper journal show {key}` tells when it is over")));
        }
        let record = self.journal.plan(intent, why.to_owned(), now_s())?;
        self.ledger.note(key.clone(), &record);
        self.dispatch(record)?;
        Ok(Ok(format!("{text}; `keeper journal show {key}` tells when it is done")))
    }
}

/// Whether the market takes `bond` for a slot at this lowest price.
fn bond_covers(base: u128, tick: u8, bond: Amount, bond_s: u64) -> bool {
    least_bond(base, tick, bond_s).is_some_and(|least| least <= bond)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
