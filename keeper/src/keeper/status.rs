//! Where everything stands: what runs, what was earned and spent, what is stuck and why.

use alloy::primitives::U256;
use contracts::units::Amount;
use indexer::{
    Snapshot,
    rows::{AgreementRow, OfferRow, Status, status_name},
};
use serde_json::{Value, json};

use super::{Keeper, KeeperError, answer::MAX_RECORDS};
use crate::{
    clock::now_s,
    job::JobState,
    journal::{Record, State},
    ledger::ABANDONED,
    seller::{Fault, Named},
};

/// Live rentals and bids listed.
const LIVE_LISTED: usize = 500;
/// Countings of a wallet summed for the last 24 hours.
const SPENDS_SUMMED: usize = 5_000;
/// An intent under way for longer is called stuck, seconds.
const SLOW_S: u64 = 120;
/// An index that far behind is called stuck, blocks.
const LAG_BLOCKS: u64 = 10;
/// A chain silent for so long is called stuck, seconds.
const SILENT_S: u64 = 30;
const DAY_S: u64 = 86_400;

impl Keeper {
    /// The document behind `keeper status`.
    pub(super) fn status(&self) -> Result<Value, KeeperError> {
        let snapshot = self.index.snapshot()?;
        let head = snapshot.head();
        let (chain_head, _) = self.index.chain_head();
        let records = self.journal.records()?;
        let faults = self.node_faults(&snapshot)?;
        let live: Vec<_> = records
            .iter()
            .filter(|(_, record)| record.state.is_live())
            .map(|(key, record)| {
                json!({
                    "key": key,
                    "state": record.state.name(),
                    "attempt": record.attempt,
                    "for_s": now_s().saturating_sub(record.at_s),
                    "why": record.why,
                })
            })
            .collect();
        let gas_wei = records.iter().fold(U256::ZERO, |sum, (_, record)| match record.state {
            State::Included { gas_wei, .. } | State::Done { gas_wei, .. } => sum + gas_wei,
            _ => sum,
        });
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "up_s": now_s().saturating_sub(self.started_s),
            "chain_id": self.config.chain.chain_id,
            "preset": self.config.chain.preset,
            "block": head.map(|head| head.number),
            "block_age_s": head.map(|head| now_s().saturating_sub(head.timestamp)),
            "lag_blocks": head.map(|head| chain_head.saturating_sub(head.number)),
            "paused": self.paused,
            "agent": self.agent_status(&snapshot)?,
            "provider": self.provider_status(&snapshot)?,
            "jobs": self.job_list(),
            "rentals": self.live_rentals(&snapshot)?,
            "under_way": live,
            "stuck": self.stuck(&records, head.map(|head| (head.number, head.timestamp)), chain_head, faults),
            "gas_wei": gas_wei.to_string(),
        }))
    }

    fn agent_status(&self, snapshot: &Snapshot<'_>) -> Result<Option<Value>, KeeperError> {
        let Some(agent) = &self.agent else { return Ok(None) };
        let mut shown = json!({
            "wallet": agent.wallet,
            "session_key": agent.key,
            "relayers": agent.relayers,
            "speeds": self.speeds_document(),
        });
        let known = snapshot.wallet(agent.wallet)?;
        if let (Some(wallet), Some(fields)) = (known, shown.as_object_mut()) {
            let account = snapshot.key_account(agent.key)?;
            let uncounted = account.as_ref().map_or(Amount::ZERO, |account| account.spent);
            let since_s = snapshot.head().map_or(0, |head| head.timestamp).saturating_sub(DAY_S);
            let spends = snapshot.spends(agent.wallet, SPENDS_SUMMED)?;
            let day: Amount = spends.iter().take_while(|spend| spend.time_s >= since_s).map(|spend| spend.spent).sum();
            let key_alive = snapshot.is_key_alive(agent.wallet, agent.key)?;
            fields.extend([
                ("wallet_paused".to_owned(), json!(wallet.paused)),
                ("key_alive".to_owned(), json!(key_alive)),
                ("daily_limit".to_owned(), json!(wallet.daily)),
                ("spent".to_owned(), json!(wallet.spent + uncounted)),
                ("spent_24h".to_owned(), json!(day + uncounted)),
                ("reserved".to_owned(), json!(wallet.reserved)),
                ("credit".to_owned(), json!(account.map_or(Amount::ZERO, |account| account.credit))),
            ]);
        }
        Ok(Some(shown))
    }

    fn provider_status(&self, snapshot: &Snapshot<'_>) -> Result<Option<Value>, KeeperError> {
        let (Some(own), Some(set)) = (&self.provider, &self.config.provider) else { return Ok(None) };
        let seller = &own.seller;
        let about = snapshot.provider(seller.provider)?;
        let operators = about.as_ref().map(|about| about.operators.clone()).unwrap_or_default();
        let row = about.map(|about| about.row);
        let offers = snapshot.offers_by_provider(seller.provider, MAX_RECORDS)?;
        let is_ours = |offer: &&OfferRow| seller.sells(offer.id) && offer.is_open_at(now_s());
        let open: Vec<_> = offers.iter().filter(is_ours).collect();
        Ok(Some(json!({
            "address": seller.provider,
            "account": seller.account,
            "operators": operators,
            "offers": open.iter().map(|offer| offer.id).collect::<Vec<_>>(),
            "endpoint": own.endpoint,
            "engine": own.workshop.engine.name(),
            "image": own.workshop.image,
            "class": set.class,
            "slots": open.iter().map(|offer| u64::from(offer.slots)).sum::<u64>(),
            "slots_used": open.iter().map(|offer| u64::from(offer.used)).sum::<u64>(),
            "slots_configured": set.slots,
            "reserve_per_hour": set.reserve_per_hour.0,
            "earned": row.as_ref().map_or(Amount::ZERO, |row| row.earned),
            "slashed": row.as_ref().map_or(Amount::ZERO, |row| row.slashed),
            "settled": row.as_ref().map_or(0, |row| row.settled),
            "failed": row.as_ref().map_or(0, |row| row.failed),
            "credit": snapshot.credit(seller.provider)?,
            "score": own.gauge.document(),
        })))
    }

    /// Why this node cannot sell for its provider, as the index knows it.
    fn node_faults(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Fault>, KeeperError> {
        let Some(own) = self.provider.as_ref().filter(|_| snapshot.head().is_some()) else { return Ok(Vec::new()) };
        let seller = &own.seller;
        let about = snapshot.provider(seller.provider)?;
        let published = about.as_ref().map(|about| about.row.endpoint.as_str());
        let mut faults = Vec::new();
        faults.extend(seller.fault_of_right(snapshot.is_operator(seller.provider, seller.account)?));
        faults.extend(seller.fault_of_company(about.as_ref().is_some_and(|about| !about.operators.is_empty())));
        faults.extend(seller.fault_of_way(published, &own.endpoint));
        for id in seller.offers.iter().flat_map(|named| named.iter()) {
            let found = snapshot.offer(*id)?;
            let found = found.map(|row| Named { provider: row.provider, class: row.class, active: row.active });
            faults.extend(seller.fault_of_offer(*id, found));
        }
        Ok(faults)
    }

    fn job_list(&self) -> Vec<Value> {
        let jobs = self.jobs.values().rev().take(MAX_RECORDS).map(|job| {
            json!({
                "job": job.id.to_string(),
                "task": job.task_name(),
                "tasks": job.spec.tasks.len(),
                "priority": job.priority,
                "spec_hash": job.spec_hash,
                "folder": job.out_dir,
                "created_s": job.created_s,
                "deadline_s": job.deadline_s,
                "progress": self.said.get(&job.id).filter(|_| job.state == JobState::Active),
                "outcome": job.state,
            })
        });
        jobs.collect()
    }

    fn live_rentals(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Value>, KeeperError> {
        let mut rentals = Vec::new();
        if let Some(agent) = &self.agent {
            let rows = snapshot.agreements_by_wallet(agent.wallet, true, LIVE_LISTED)?;
            rentals.extend(rows.iter().map(|row| live_rental("agent", row)));
        }
        if let Some(own) = &self.provider {
            let mut rows = snapshot.agreements_by_provider(own.seller.provider, true, LIVE_LISTED)?;
            rows.retain(|row| own.seller.works_on(row));
            rentals.extend(rows.iter().map(|row| live_rental("provider", row)));
        }
        Ok(rentals)
    }

    /// What does not go on by itself, or has not for a while.
    fn stuck(
        &self,
        records: &[(String, Record)],
        head: Option<(u64, u64)>,
        chain_head: u64,
        faults: Vec<Fault>,
    ) -> Vec<Value> {
        let mut stuck = Vec::new();
        let mut say = |what: &str, why: String, remedy: &str| {
            stuck.push(json!({ "what": what, "why": why, "remedy": remedy }));
        };
        for Fault { why, remedy } in faults {
            say("node", why, &remedy);
        }
        match head {
            None => say(
                "index",
                "no block has been read yet".into(),
                "check chain.rpc_urls, chain.market and chain.start_block",
            ),
            Some((number, timestamp)) => {
                let (lag, age_s) = (chain_head.saturating_sub(number), now_s().saturating_sub(timestamp));
                if lag > LAG_BLOCKS {
                    say(
                        "index",
                        format!("it is {lag} blocks behind the chain"),
                        "wait while it catches up; if the lag grows, use a faster endpoint",
                    );
                } else if age_s > SILENT_S {
                    say(
                        "chain",
                        format!("the newest block is {age_s} s old"),
                        "check that the endpoints in chain.rpc_urls answer and that the chain makes blocks",
                    );
                }
            }
        }
        for (key, record) in records {
            let for_s = now_s().saturating_sub(record.at_s);
            match &record.state {
                State::Failed { error } if error.starts_with(ABANDONED) && self.wanted.contains(key) => {
                    say(key, error.clone(), "it was given up by hand; `keeper journal retry KEY` takes that back");
                }
                State::Failed { error } if self.wanted.contains(key) => {
                    let wait_s = self.ledger.next_try_s(key).unwrap_or_default().saturating_sub(now_s());
                    let why = format!("attempt {} failed, the next is due in {wait_s} s: {error}", record.attempt);
                    say(key, why, "mend what the error names; `keeper journal retry KEY` tries at once");
                }
                State::Signed { hash, nonce, .. } if for_s > SLOW_S => {
                    let why = format!("transaction {hash} with nonce {nonce} has been under way for {for_s} s");
                    say(key, why, "check that the account has gas coin, and that its fee suits the chain");
                }
                State::Planned if for_s > SLOW_S && record.intent.on_chain() => {
                    say(key, format!("not signed for {for_s} s"), "check that the endpoints in chain.rpc_urls answer");
                }
                _ => {}
            }
        }
        stuck.truncate(MAX_RECORDS);
        stuck
    }
}

fn live_rental(side: &str, row: &AgreementRow) -> Value {
    let next_s = match row.status {
        Status::Open => Some(row.expiry_s),
        Status::Confirmed => row.matched.as_ref().map(|matched| matched.start_deadline_s),
        Status::Running => row.started.as_ref().map(|started| started.end_time_s),
        Status::Submitted => row.submitted.as_ref().map(|submitted| submitted.challenge_end_s),
        Status::Disputed => row.dispute.as_ref().map(|dispute| dispute.timeout_s),
        _ => None,
    };
    json!({
        "rental": row.id,
        "side": side,
        "status": status_name(row.status),
        "class": contracts::classes::HardwareClass::from_number(row.id.class()),
        "escrow": row.escrow,
        "max_duration_s": row.max_duration_s,
        "provider": row.provider(),
        "until_s": next_s,
        "spec_hash": row.spec_hash,
    })
}
