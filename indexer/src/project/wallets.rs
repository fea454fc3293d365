//! Wallets, session keys, reservations.

use alloy::primitives::Address;
use contracts::{
    bindings::{
        IAgentWallet::{AgentAuthorized, IAgentWalletEvents as WalletEvent, MicroTransactionExecuted, SpendReconciled},
        IAgentWalletFactory::AgentRegistered,
    },
    ids::AgreementId,
    units::Amount,
};

use super::{Fold, FoldError, Folded, misfit, money::minus};
use crate::{
    error::Result,
    store::{
        rows::{KeyRow, SpendRow, WalletRow},
        schema,
    },
};

/// A key has at most three ancestors.
const MAX_LINEAGE: usize = 4;

impl Fold<'_, '_> {
    /// Makes the wallet's row; everything else in it is told by the wallet's own events.
    pub(super) fn created(&mut self, event: &AgentRegistered) -> Result<()> {
        let row = WalletRow {
            owner: event.owner,
            pending_owner: None,
            created_block: self.block,
            created_time_s: self.time_s,
            paused: false,
            epoch: 0,
            daily: Amount::ZERO,
            per_bid: Amount::ZERO,
            lifetime: Amount::ZERO,
            reserved: Amount::ZERO,
            spent: Amount::ZERO,
            withdrawn: Amount::ZERO,
            bids: 0,
        };
        self.rows.put(schema::wallet(event.wallet), &row)
    }

    pub(super) fn wallet_event(&mut self, wallet: Address, event: &WalletEvent) -> Folded {
        match event {
            WalletEvent::AgentAuthorized(event) => self.key_authorized(wallet, event),
            WalletEvent::AgentDeactivated(event) => self.key(wallet, event.agent, |key| {
                key.revoked = true;
                Ok(())
            }),
            WalletEvent::AllAgentsDeactivated(event) => self.wallet(wallet, |row| {
                row.epoch = event.epoch;
                Ok(())
            }),
            WalletEvent::SpendingLimitUpdated(event) => self.wallet(wallet, |row| {
                row.daily = event.daily.into();
                row.per_bid = event.perBid.into();
                row.lifetime = event.lifetime.into();
                Ok(())
            }),
            WalletEvent::MicroTransactionExecuted(event) => self.reserved(wallet, event),
            WalletEvent::SpendReconciled(event) => self.reconciled(wallet, event),
            WalletEvent::FundsWithdrawn(event) => self.wallet(wallet, |row| {
                row.withdrawn = row.withdrawn + event.amount.into();
                Ok(())
            }),
            WalletEvent::PausedSet(event) => self.wallet(wallet, |row| {
                row.paused = event.paused;
                Ok(())
            }),
            WalletEvent::ProviderAllowed(event) => {
                let key = schema::allowed_provider(wallet, event.provider);
                Ok(if event.allowed { self.rows.mark(key) } else { self.rows.delete(key) }?)
            }
            WalletEvent::OwnershipTransferStarted(event) => self.wallet(wallet, |row| {
                row.pending_owner = some(event.newOwner);
                Ok(())
            }),
            WalletEvent::OwnershipTransferred(event) => self.wallet(wallet, |row| {
                row.owner = event.newOwner;
                row.pending_owner = None;
                Ok(())
            }),
        }
    }

    /// A first authorisation makes the key; a later one changes its limits and brings it back to life. What it spent
    /// and holds reserved stays counted.
    fn key_authorized(&mut self, wallet: Address, event: &AgentAuthorized) -> Folded {
        let wallet_row: WalletRow = self.known(&schema::wallet(wallet), || format!("wallet {wallet}"))?;
        let key = schema::session_key(wallet, event.agent);
        let before: Option<KeyRow> = self.rows.get(&key)?;
        let row = KeyRow {
            parent: some(event.parent),
            expiry_s: event.expiry.to(),
            per_bid: event.perBid.into(),
            daily: event.daily.into(),
            lifetime: event.lifetime.into(),
            max_ticks: event.maxTicks,
            class_mask: event.classMask,
            permissions: event.permissions,
            provider_list: event.providerList,
            epoch: wallet_row.epoch,
            revoked: false,
            reserved: before.as_ref().map_or(Amount::ZERO, |key| key.reserved),
            spent: before.as_ref().map_or(Amount::ZERO, |key| key.spent),
            authorized_block: self.block,
        };
        Ok(self.rows.put(key, &row)?)
    }

    fn reserved(&mut self, wallet: Address, event: &MicroTransactionExecuted) -> Folded {
        let amount = Amount::from(event.amount);
        self.lineage(wallet, event.agent, |key| {
            key.reserved = key.reserved + amount;
            Ok(())
        })?;
        self.wallet(wallet, |row| {
            row.reserved = row.reserved + amount;
            let told = Amount::from(event.reservedAfter);
            if row.reserved == told {
                return Ok(());
            }
            misfit(format!(
                "wallet {wallet} says {} units are reserved, its events add up to {}",
                told.0, row.reserved.0
            ))
        })
    }

    fn reconciled(&mut self, wallet: Address, event: &SpendReconciled) -> Folded {
        let id = AgreementId::from(event.bidId);
        let (released, spent) = (Amount::from(event.released), Amount::from(event.spent));
        self.lineage(wallet, event.agent, |key| {
            key.reserved = minus(key.reserved, released + spent, || format!("the reservations of a key of {wallet}"))?;
            key.spent = key.spent + spent;
            Ok(())
        })?;
        self.wallet(wallet, |row| {
            row.reserved = minus(row.reserved, released + spent, || format!("the reservations of {wallet}"))?;
            row.spent = row.spent + spent;
            Ok(())
        })?;
        let row = SpendRow { agent: event.agent, spent, released, time_s: self.time_s };
        let index = u32::try_from(self.log_index).map_err(|_| FoldError::Misfit("log index above 32 bits".into()))?;
        self.rows.put(schema::spend(wallet, self.block, id, index), &row)?;
        let mut agreement = self.agreement(id)?;
        if agreement.reconcile_failed {
            agreement.reconcile_failed = false;
            self.put(&agreement)?;
        }
        Ok(())
    }

    /// Changes a key and its ancestors, whose limits count for it too.
    fn lineage(&mut self, wallet: Address, agent: Address, mut change: impl FnMut(&mut KeyRow) -> Folded) -> Folded {
        let mut next = Some(agent);
        for _ in 0..MAX_LINEAGE {
            let Some(agent) = next else { return Ok(()) };
            self.key(wallet, agent, |key| {
                next = key.parent;
                change(key)
            })?;
        }
        if next.is_some() { misfit(format!("key {agent} of {wallet} has more than three ancestors")) } else { Ok(()) }
    }

    fn key(&mut self, wallet: Address, agent: Address, change: impl FnOnce(&mut KeyRow) -> Folded) -> Folded {
        let key = schema::session_key(wallet, agent);
        let mut row: KeyRow = self.known(&key, || format!("key {agent} of wallet {wallet}"))?;
        change(&mut row)?;
        Ok(self.rows.put(key, &row)?)
    }

    fn wallet(&mut self, wallet: Address, change: impl FnOnce(&mut WalletRow) -> Folded) -> Folded {
        let key = schema::wallet(wallet);
        let mut row: WalletRow = self.known(&key, || format!("wallet {wallet}"))?;
        change(&mut row)?;
        Ok(self.rows.put(key, &row)?)
    }
}

/// The zero address stands for "none".
fn some(address: Address) -> Option<Address> {
    (!address.is_zero()).then_some(address)
}
