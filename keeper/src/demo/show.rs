//! What the audience sees: one line for everything that happens, with its time and who did it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use alloy::{
    primitives::{Address, B256, Log},
    providers::{DynProvider, Provider},
    rpc::types::Filter,
    sol_types::SolEventInterface,
};
use anstyle::{AnsiColor, Style};
use contracts::{
    bindings::IAIPowerRental::IAIPowerRentalEvents as MarketEvent, bindings::Status, classes::HardwareClass,
    ids::AgreementId, price, units::Amount,
};

use crate::stage::{PROVIDERS, Stage};

/// Dimmed text.
pub(crate) const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Writes the show. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Show {
    since: Instant,
    labels: Arc<Mutex<HashMap<B256, String>>>,
    rentals: Arc<Mutex<HashMap<AgreementId, String>>>,
    provider_names: Arc<HashMap<Address, &'static str>>,
    base_prices: Arc<Mutex<HashMap<u8, u128>>>,
}

/// An amount short enough to read: four digits that count.
pub(crate) fn short(amount: Amount) -> String {
    let ait = amount.0 as f64 / 1e18;
    let leading_zeros = if ait > 0.0 { (-ait.log10().floor()).max(0.0) as usize } else { 0 };
    let text = format!("{ait:.*}", leading_zeros + 3);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} AIT")
}

impl Show {
    /// Starts the clock.
    pub(crate) fn new(stage: &Stage) -> Self {
        let provider_names = stage.providers.iter().copied().zip(PROVIDERS.iter().map(|role| role.name)).collect();
        Self {
            since: Instant::now(),
            labels: Arc::default(),
            rentals: Arc::default(),
            provider_names: Arc::new(provider_names),
            base_prices: Arc::default(),
        }
    }

    /// Names the work of a spec.
    pub(crate) fn label(&self, spec_hash: B256, label: String) {
        lock(&self.labels).insert(spec_hash, label);
    }

    /// One line.
    pub(crate) fn line(&self, who: &str, text: &str) {
        let color = match who {
            "agent" => AnsiColor::Cyan,
            "provider-cpu" => AnsiColor::Green,
            "provider-gpu" => AnsiColor::Magenta,
            "chain" => AnsiColor::Yellow,
            _ => AnsiColor::White,
        };
        let style = color.on_default();
        let seconds = self.since.elapsed().as_secs_f64();
        anstream::println!("  {DIM}{seconds:>6.1}s{DIM:#}  {style}{who:<13}{style:#} {text}");
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Follows the market's events until it is dropped.
    pub(crate) async fn follow(self, chain: DynProvider, market: Address, from: u64) {
        let mut next = from;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            let Ok(head) = chain.get_block_number().await else { continue };
            // A reorganisation lowers or rewrites blocks that were shown: only news is shown.
            if head < next {
                continue;
            }
            let filter = Filter::new().address(market).from_block(next).to_block(head);
            let Ok(logs) = chain.get_logs(&filter).await else { continue };
            for log in logs {
                self.event(&log.inner);
            }
            next = head + 1;
        }
    }

    fn event(&self, log: &Log) {
        let Ok(event) = MarketEvent::decode_log(log) else { return };
        match event.data {
            MarketEvent::ClassAdded(added) => {
                lock(&self.base_prices).insert(added.cls, added.basePrice);
            }
            MarketEvent::OfferPosted(offer) => {
                let per_hour = self.per_hour(offer.cls, offer.reserveTick);
                let class = class_name(offer.cls);
                let bond = short(Amount::from(offer.bondPerSlot));
                let text = format!(
                    "offers {} slots of {BOLD}{class}{BOLD:#} from {per_hour} {DIM}bond {bond} each{DIM:#}",
                    offer.slots
                );
                self.line(self.name(offer.provider), &text);
            }
            MarketEvent::BidPlaced(bid) => {
                let id = AgreementId::from(bid.agreementId);
                let label = lock(&self.labels).get(&bid.specHash).cloned().unwrap_or_else(|| "some work".into());
                let per_hour = self.per_hour(id.class(), id.tick());
                let class = class_name(id.class());
                let escrow = short(Amount::from(bid.escrow));
                self.line(
                    "agent",
                    &format!("bids {per_hour} for {class} → {BOLD}{label}{BOLD:#} {DIM}escrow {escrow}{DIM:#}"),
                );
                lock(&self.rentals).insert(id, label);
            }
            MarketEvent::AgreementCreated(made) => {
                let id = AgreementId::from(made.agreementId);
                self.line(self.name(made.provider), &format!("takes {} {DIM}rental {id}{DIM:#}", self.work(id)));
            }
            MarketEvent::AgreementStarted(started) => {
                let id = AgreementId::from(started.agreementId);
                self.line("chain", &format!("countersigned: {} runs", self.work(id)));
            }
            MarketEvent::PerformanceSubmitted(done) => {
                let id = AgreementId::from(done.agreementId);
                let hash = format!("{}", done.resultHash);
                self.line(
                    "chain",
                    &format!(
                        "result of {} submitted, {} s billed {DIM}{}…{DIM:#}",
                        self.work(id),
                        done.billable,
                        &hash[..14]
                    ),
                );
            }
            MarketEvent::PaymentProcessed(paid) => {
                let id = AgreementId::from(paid.agreementId);
                let (pay, fee, refund) = (Amount::from(paid.pay), Amount::from(paid.fee), Amount::from(paid.refund));
                let text =
                    format!("{}: paid {}, fee {}, refunded {}", self.work(id), short(pay), short(fee), short(refund));
                self.line(self.name(paid.provider), &text);
            }
            MarketEvent::BidRemoved(gone) => {
                let id = AgreementId::from(gone.agreementId);
                self.line(
                    "agent",
                    &format!("bid for {} left the queue, {} refunded", self.work(id), short(Amount::from(gone.refund))),
                );
            }
            MarketEvent::AgreementExpired(gone) if gone.finalStatus == Status::Failed => {
                self.line(
                    "chain",
                    &format!("{} failed: no result came in time", self.work(AgreementId::from(gone.agreementId))),
                );
            }
            MarketEvent::AgreementExpired(gone) => {
                self.line(
                    "chain",
                    &format!("{}: nobody started it in time", self.work(AgreementId::from(gone.agreementId))),
                );
            }
            MarketEvent::DisputeFiled(filed) => {
                self.line(
                    "agent",
                    &format!("disputes the result of {}", self.work(AgreementId::from(filed.agreementId))),
                );
            }
            MarketEvent::Withdrawn(taken) if self.provider_names.contains_key(&taken.account) => {
                self.line(self.name(taken.account), &format!("withdraws {}", short(Amount::from(taken.amount))));
            }
            _ => {}
        }
    }

    fn name(&self, provider: Address) -> &'static str {
        self.provider_names.get(&provider).copied().unwrap_or("provider")
    }

    fn work(&self, id: AgreementId) -> String {
        lock(&self.rentals).get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn per_hour(&self, class: u8, tick: u8) -> String {
        let base = lock(&self.base_prices).get(&class).copied().unwrap_or_default();
        let per_second = price::price_at(base, tick).unwrap_or_default() as f64 / price::PRICE_SCALE as f64;
        format!("{:.4} AIT/h", per_second * 3_600.0 / 1e18)
    }
}

fn class_name(class: u8) -> &'static str {
    HardwareClass::from_number(class).map_or("unknown", HardwareClass::name)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
