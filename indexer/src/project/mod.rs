//! Pure folding: the events of a block → changes of rows, and through [`Staging`] their inverse.
//!
//! Nothing here asks the chain or the clock: the rows after a block depend on the rows before it and its logs alone.
//!
//! - `demand`: bids and what becomes of them.
//! - `supply`: classes, templates, configuration, providers, offers.
//! - `wallets`: wallets, session keys, their ledgers.
//! - `money`: credits, keys' accounts, and what the market holds.
//!
//! A wallet's first events come before the factory names it, in the same transaction; so the wallets of a block are
//! learned first and its logs folded after. Logs of emitters that are neither market, factory nor known wallet are
//! somebody else's.

mod demand;
mod money;
mod supply;
mod wallets;

use std::fmt::Debug;

use alloy::{
    primitives::{Address, B256, Log, b256},
    sol_types::{SolEvent, SolEventInterface},
};
use contracts::{
    bindings::{
        IAIPowerRental::IAIPowerRentalEvents as MarketEvent,
        IAgentWallet::IAgentWalletEvents as WalletEvent,
        IAgentWalletFactory::{AgentRegistered, IAgentWalletFactoryEvents as FactoryEvent},
    },
    ids::AgreementId,
};

use crate::{
    error::{IndexError, Result},
    store::{Header, batch::Staging, codec::Row, schema},
};

/// `Paused(address)` of OpenZeppelin's Pausable, which the market is.
const PAUSED: B256 = b256!("62e78cea01bee320cd4e420270b5ea74000d11b0c9f74754ebdbfc544b05a258");
/// `Unpaused(address)`.
const UNPAUSED: B256 = b256!("5db9ee0a495bf2e6ff9c91a7834c1ba4fdd244a5e8aa4e537bd38aeae4b073aa");

/// The two contracts whose events are believed as they are; wallets are learned from the factory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitters {
    pub(crate) market: Address,
    pub(crate) factory: Address,
}

/// A log and its position in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawLog {
    pub(crate) index: u64,
    pub(crate) log: Log,
}

/// First topics of every event that is folded.
pub(crate) fn topics() -> Vec<B256> {
    let events = MarketEvent::SELECTORS.iter().chain(WalletEvent::SELECTORS).chain(FactoryEvent::SELECTORS);
    events.map(|selector| B256::from(*selector)).chain([PAUSED, UNPAUSED]).collect()
}

/// Folds the logs of one block, sorted by position, into `rows`.
pub(crate) fn fold_block(rows: &mut Staging<'_>, emitters: &Emitters, header: &Header, logs: &[RawLog]) -> Result<()> {
    let mut fold = Fold { rows, block: header.number, time_s: header.timestamp_s, log_index: 0 };
    for RawLog { index, log } in logs {
        if log.address == emitters.factory && log.topics().first() == Some(&AgentRegistered::SIGNATURE_HASH) {
            fold.log_index = *index;
            let event = AgentRegistered::decode_log_data(log).map_err(|error| fold.undecodable(log, &error))?;
            fold.created(&event)?;
        }
    }
    for RawLog { index, log } in logs {
        fold.log_index = *index;
        fold.log(emitters, log)?;
    }
    Ok(())
}

/// Folding of one block in progress.
struct Fold<'s, 'b> {
    rows: &'s mut Staging<'b>,
    block: u64,
    time_s: u64,
    log_index: u64,
}

/// Why an event cannot be folded.
#[derive(Debug)]
enum FoldError {
    /// It does not fit the rows.
    Misfit(String),
    /// The store failed.
    Index(IndexError),
}

impl From<IndexError> for FoldError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

type Folded<T = ()> = Result<T, FoldError>;

impl Fold<'_, '_> {
    fn log(&mut self, emitters: &Emitters, log: &Log) -> Result<()> {
        let Some(topic) = log.topics().first() else { return Ok(()) };
        if log.address == emitters.market {
            if [PAUSED, UNPAUSED].contains(topic) {
                return self.market_paused(*topic == PAUSED).map_err(|error| self.explain(&topic, error));
            }
            if !MarketEvent::SELECTORS.contains(&topic.0) {
                return Ok(());
            }
            let event = MarketEvent::decode_raw_log(log.topics(), &log.data.data)
                .map_err(|error| self.undecodable(log, &error))?;
            return self.market_event(&event).map_err(|error| self.explain(&event, error));
        }
        if log.address == emitters.factory
            || !WalletEvent::SELECTORS.contains(&topic.0)
            || !self.rows.contains(&schema::wallet(log.address))?
        {
            return Ok(());
        }
        let event =
            WalletEvent::decode_raw_log(log.topics(), &log.data.data).map_err(|error| self.undecodable(log, &error))?;
        self.wallet_event(log.address, &event).map_err(|error| self.explain(&event, error))
    }

    fn market_event(&mut self, event: &MarketEvent) -> Folded {
        match event {
            MarketEvent::ClassAdded(event) => self.class_added(event),
            MarketEvent::TemplateAdded(event) => self.template_added(event),
            MarketEvent::ConfigUpdated(event) => self.config_updated(event),
            MarketEvent::ProviderAuthorized(event) => self.provider_authorized(event.provider),
            MarketEvent::OperatorUpdated(event) => self.operator_updated(event),
            MarketEvent::EndpointUpdated(event) => self.endpoint_updated(event),
            MarketEvent::OfferPosted(event) => self.offer_posted(event),
            MarketEvent::OfferUpdated(event) => self.offer_updated(event),
            MarketEvent::BidPlaced(event) => self.bid_placed(event),
            MarketEvent::BidRemoved(event) => self.bid_removed(event),
            MarketEvent::AgreementCreated(event) => self.matched(event),
            MarketEvent::AgreementDeclined(event) => self.declined(event),
            MarketEvent::AgreementStarted(event) => self.started(event),
            MarketEvent::PerformanceSubmitted(event) => self.submitted(event),
            MarketEvent::DisputeFiled(event) => self.dispute_filed(event),
            MarketEvent::DisputeResolved(event) => self.dispute_resolved(event),
            MarketEvent::PaymentProcessed(event) => self.paid(event),
            MarketEvent::AgreementCompleted(event) => self.ended(event.agreementId.into(), event.finalStatus),
            MarketEvent::AgreementCancelled(event) => self.ended(event.agreementId.into(), event.finalStatus),
            MarketEvent::AgreementExpired(event) => self.ended(event.agreementId.into(), event.finalStatus),
            MarketEvent::KeyCollected(event) => self.account_collected(event),
            MarketEvent::Withdrawn(event) => self.credit_pulled(event.account, event.amount.into()),
            MarketEvent::Credited(event) => self.credit_given(event.account, event.amount.into()),
        }
    }

    /// The row at `key`, which an earlier event must have made.
    fn known<R: Row>(&self, key: &schema::Key, what: impl FnOnce() -> String) -> Folded<R> {
        self.rows.get(key)?.ok_or_else(|| FoldError::Misfit(format!("{} is unknown", what())))
    }

    fn agreement(&self, id: AgreementId) -> Folded<crate::store::rows::AgreementRow> {
        self.known(&schema::agreement(id), || format!("rental {id}"))
    }

    fn explain(&self, event: &dyn Debug, error: FoldError) -> IndexError {
        match error {
            FoldError::Index(error) => error,
            FoldError::Misfit(reason) => IndexError::Inconsistent {
                block: self.block,
                log_index: self.log_index,
                event: format!("{event:?}"),
                reason,
            },
        }
    }

    fn undecodable(&self, log: &Log, error: &alloy::sol_types::Error) -> IndexError {
        IndexError::Inconsistent {
            block: self.block,
            log_index: self.log_index,
            event: format!("topic {:?} of {}", log.topics().first(), log.address),
            reason: format!("its data cannot be decoded ({error}): the contract is of another version"),
        }
    }
}

fn misfit<T>(reason: impl Into<String>) -> Folded<T> {
    Err(FoldError::Misfit(reason.into()))
}

#[cfg(test)]
mod tests;
