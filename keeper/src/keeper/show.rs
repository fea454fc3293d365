//! Documents about the market, prices, the wallet, offers, jobs and records.

use alloy::primitives::B256;
use contracts::{classes::HardwareClass, price, units::Amount};
use indexer::{
    Snapshot,
    rows::{OfferRow, status_name},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Keeper, KeeperError, answer::record_document};
use crate::{
    clock::now_s,
    event::Intent,
    job::{Job, JobId, JobState},
    market::MarketView,
    roles,
    socket::{Question, QuoteRequest, Reply},
    spec::RentalSpec,
};

/// Offers and keys in one document.
const LISTED: usize = 500;

impl Keeper {
    /// Sends the document; those that need the chain's word come a little later.
    pub(super) fn show(&self, question: Question, reply: mpsc::Sender<Reply>) -> Result<(), KeeperError> {
        let answer = match question {
            Question::Market => Ok(self.market()?),
            Question::Quote(asked) => match self.quote(&asked)? {
                Ok(body) => {
                    self.with_funds(body, reply);
                    return Ok(());
                }
                Err(text) => Err(text),
            },
            Question::Wallet => match self.wallet()? {
                Ok(body) => {
                    self.with_funds(body, reply);
                    return Ok(());
                }
                Err(text) => Err(text),
            },
            Question::Offers => self.offers()?,
            Question::Job { job } => self.job_document(job)?,
            Question::Record { key } => {
                let record = self.journal.record(&key)?;
                let none = || format!("the journal has no intent {key}; `keeper journal list` shows their keys");
                record.map(|record| record_document(&key, &record)).ok_or_else(none)
            }
        };
        let _ = reply.try_send(match answer {
            Ok(body) => Reply::Document { body },
            Err(text) => Reply::Error { text },
        });
        Ok(())
    }

    /// Adds what the wallet itself says it can pay, off the loop.
    fn with_funds(&self, mut body: Value, reply: mpsc::Sender<Reply>) {
        let Some(agent) = &self.agent else { return };
        let purse = agent.purse.clone();
        tokio::spawn(async move {
            let funds = purse.funds(Amount::ZERO).await;
            if let Some(fields) = body.as_object_mut() {
                fields.insert("tokens".into(), json!(funds.map(|funds| funds.tokens)));
                fields.insert("available".into(), json!(funds.map(|funds| funds.available)));
            }
            let _ = reply.send(Reply::Document { body }).await;
        });
    }

    fn market(&self) -> Result<Value, KeeperError> {
        let snapshot = self.index.snapshot()?;
        let mut classes = Vec::new();
        for (number, row) in snapshot.classes()? {
            let offers = snapshot.offers(number, LISTED)?;
            let books = snapshot.books(number)?;
            let best = books.iter().filter_map(|(_, book)| book.best_tick()).max();
            let per_hour = |tick: u8| per_hour(row.base_price, tick);
            classes.push(json!({
                "class": HardwareClass::from_number(number),
                "slots": offers.iter().map(|offer| u64::from(offer.slots)).sum::<u64>(),
                "slots_free": offers.iter().map(|offer| u64::from(offer.slots.saturating_sub(offer.used))).sum::<u64>(),
                "lowest_reserve_per_hour": offers.iter().map(|offer| offer.reserve_tick).min().and_then(per_hour),
                "best_waiting_per_hour": best.and_then(per_hour),
                "last_clearing_per_hour": row.last_clearing.as_ref().and_then(|last| per_hour(last.tick)),
                "last_clearing_s": row.last_clearing.as_ref().map(|last| last.time_s),
                "bids_waiting": books.iter().map(|(_, book)| book.live).sum::<u64>(),
            }));
        }
        Ok(json!({ "block": block(&snapshot), "unit": "AIT, 18 decimals, in units", "classes": classes }))
    }

    fn quote(&self, asked: &QuoteRequest) -> Result<Result<Value, String>, KeeperError> {
        let Some(agent) = &self.agent else { return Ok(Err(NO_AGENT.into())) };
        let snapshot = self.index.snapshot()?;
        let viewer = crate::market::Viewer {
            agent: Some((agent.wallet, agent.key)),
            avoided: Some(&self.asker.avoided),
            ..Default::default()
        };
        let Some(MarketView { head, agent: Some(seen), .. }) = MarketView::read(&snapshot, viewer)? else {
            return Ok(Err("the index has read no block yet; ask again shortly".into()));
        };
        let now = now_s();
        let job = Job {
            id: JobId::default(),
            spec: RentalSpec { version: 1, salt: B256::ZERO, tasks: Vec::new(), keep_warm_s: 0 },
            spec_hash: B256::ZERO,
            class: asked.class,
            max_price_per_hour: asked.max_price_per_hour,
            priority: asked.priority,
            max_duration_s: asked.max_duration_s,
            created_s: now,
            deadline_s: now + asked.priority.patience_s(),
            out_dir: Default::default(),
            state: JobState::Active,
        };
        let desk = roles::agent::Desk {
            jobs: &[],
            slow: &Default::default(),
            ledger: &self.ledger,
            strategy: &agent.strategy,
            params: self.params,
            head: head.number,
            chain_s: head.timestamp,
            now_s: now,
            paused: self.paused,
        };
        let (intent, why) = match roles::agent::quote(&seen, &desk, &job) {
            Ok(found) => found,
            Err(text) => return Ok(Err(text)),
        };
        let Intent::Bid { class, tick, .. } = intent else { return Ok(Err(why)) };
        let base = snapshot.class_base(class)?.unwrap_or_default();
        let escrow = price::price_at(base, tick).and_then(|price| price::cost_of(price, asked.max_duration_s));
        Ok(Ok(json!({
            "block": block(&snapshot),
            "class": HardwareClass::from_number(class),
            "tick": tick,
            "price_per_hour": per_hour(base, tick),
            "max_duration_s": asked.max_duration_s,
            "escrow": escrow.map(Amount),
            "fee_bps": snapshot.config()?.fee_bps,
            "why": why,
            "paused": self.paused,
        })))
    }

    fn wallet(&self) -> Result<Result<Value, String>, KeeperError> {
        let Some(agent) = &self.agent else { return Ok(Err(NO_AGENT.into())) };
        let snapshot = self.index.snapshot()?;
        let Some(row) = snapshot.wallet(agent.wallet)? else {
            return Ok(Err(format!("the index does not know wallet {} yet; ask again shortly", agent.wallet)));
        };
        let mut keys = Vec::new();
        for (address, key) in snapshot.keys(agent.wallet, LISTED)? {
            keys.push(json!({
                "key": address,
                "own": address == agent.key,
                "alive": snapshot.is_key_alive(agent.wallet, address)?,
                "expiry_s": key.expiry_s,
                "daily_limit": key.daily,
                "per_bid_limit": key.per_bid,
                "lifetime_limit": key.lifetime,
                "reserved": key.reserved,
                "spent": key.spent,
            }));
        }
        let account = snapshot.key_account(agent.key)?;
        Ok(Ok(json!({
            "block": block(&snapshot),
            "wallet": agent.wallet,
            "owner": row.owner,
            "session_key": agent.key,
            "paused": row.paused,
            "daily_limit": row.daily,
            "per_bid_limit": row.per_bid,
            "lifetime_limit": row.lifetime,
            "reserved": row.reserved,
            "spent": row.spent,
            "credit": account.as_ref().map_or(Amount::ZERO, |account| account.credit),
            "uncounted_spent": account.as_ref().map_or(Amount::ZERO, |account| account.spent),
            "bids": row.bids,
            "keys": keys,
        })))
    }

    fn offers(&self) -> Result<Result<Value, String>, KeeperError> {
        let Some(own) = &self.provider else {
            return Ok(Err("this keeper has no [provider] table; ask the provider's keeper".into()));
        };
        let snapshot = self.index.snapshot()?;
        let mut offers = Vec::new();
        for offer in snapshot.offers_by_provider(own.seller.provider, LISTED)? {
            let base = snapshot.class_base(offer.class)?.unwrap_or_default();
            let mut document = offer_document(&offer, base);
            document["this_node"] = json!(own.seller.sells(offer.id));
            offers.push(document);
        }
        let score = own.gauge.document();
        Ok(Ok(json!({ "block": block(&snapshot), "provider": own.seller.provider, "offers": offers, "score": score })))
    }

    fn job_document(&self, id: JobId) -> Result<Result<Value, String>, KeeperError> {
        let Some(job) = self.jobs.get(&id) else {
            return Ok(Err(format!("{id} is unknown here; `keeper status` lists the jobs")));
        };
        let mut rentals = Vec::new();
        let snapshot = self.index.snapshot()?;
        if let Some(agent) = &self.agent {
            let rows = snapshot.agreements_by_wallet(agent.wallet, false, LISTED)?;
            // A job that rode in another's rental has its result from there.
            let made_by = match &job.state {
                JobState::Finished { rental, .. } => Some(*rental),
                _ => None,
            };
            for row in rows.iter().filter(|row| row.spec_hash == job.spec_hash || Some(row.id) == made_by) {
                rentals.push(json!({
                    "rental": row.id,
                    "status": status_name(row.status),
                    "class": HardwareClass::from_number(row.id.class()),
                    "escrow": row.escrow,
                    "provider": row.provider(),
                    "paid": row.payment.as_ref().map(|payment| payment.pay + payment.fee + payment.penalty),
                    "refund": row.payment.as_ref().map(|payment| payment.refund),
                }));
            }
        }
        Ok(Ok(json!({
            "block": block(&snapshot),
            "job": id.to_string(),
            "task": job.task_name(),
                "tasks": job.spec.tasks.len(),
            "priority": job.priority,
            "spec_hash": job.spec_hash,
            "folder": job.out_dir,
            "progress": self.said.get(&id),
            "outcome": job.state,
            "rentals": rentals,
        })))
    }
}

const NO_AGENT: &str = "this keeper has no [agent] table, so it has no wallet; ask an agent's keeper";

fn offer_document(offer: &OfferRow, base: u128) -> Value {
    let books = (0..8u8).filter(|bits| offer.book_mask >> bits & 1 == 1);
    json!({
        "offer": offer.id,
        "class": HardwareClass::from_number(offer.class),
        "open": offer.is_open_at(now_s()),
        "slots": offer.slots,
        "used": offer.used,
        "reserve_tick": offer.reserve_tick,
        "reserve_per_hour": per_hour(base, offer.reserve_tick),
        "bond_per_slot": offer.bond_per_slot,
        "valid_until_s": offer.valid_until_s,
        "books": books.map(|bits| json!({ "bucket": bits >> 1, "preemptible": bits & 1 == 1 })).collect::<Vec<_>>(),
    })
}

/// What an hour at `tick` costs.
fn per_hour(base: u128, tick: u8) -> Option<Amount> {
    price::price_at(base, tick).and_then(|price| price::cost_of(price, 3_600)).map(Amount)
}

fn block(snapshot: &Snapshot<'_>) -> Option<u64> {
    snapshot.head().map(|head| head.number)
}
