//! Wallets, session keys, their ledgers.

use alloy::primitives::Address;
use contracts::{
    bindings::{
        IAgentWallet::{AgentAuthorized, IAgentWalletEvents as WalletEvent},
        IAgentWalletFactory::AgentRegistered,
    },
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

/// How a wallet's ledgers changed: first what ended, then what is reserved anew.
struct Accounted {
    amount: Amount,
    spent: Amount,
    released: Amount,
    /// The wallet's own word on what it holds reserved then.
    reserved_after: Amount,
}

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
            WalletEvent::MicroTransactionExecuted(event) => {
                let change = Accounted {
                    amount: event.amount.into(),
                    spent: event.spent.into(),
                    released: event.released.into(),
                    reserved_after: event.reservedAfter.into(),
                };
                self.accounted(wallet, event.agent, &change)
            }
            WalletEvent::SpendReconciled(event) => {
                let change = Accounted {
                    amount: Amount::ZERO,
                    spent: event.spent.into(),
                    released: event.released.into(),
                    reserved_after: event.reservedAfter.into(),
                };
                self.accounted(wallet, event.agent, &change)
            }
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

    /// Reservations of ended bids of `agent` end, then `amount` is reserved; on the key, its ancestors and the wallet alike.
    fn accounted(&mut self, wallet: Address, agent: Address, change: &Accounted) -> Folded {
        let Accounted { amount, spent, released, reserved_after } = *change;
        let held = |reserved: Amount, whose: &dyn Fn() -> String| -> Folded<Amount> {
            Ok(minus(reserved, spent + released, || format!("the reservations of {}", whose()))? + amount)
        };
        self.lineage(wallet, agent, |key| {
            key.reserved = held(key.reserved, &|| format!("a key of {wallet}"))?;
            key.spent = key.spent + spent;
            Ok(())
        })?;
        self.wallet(wallet, |row| {
            row.reserved = held(row.reserved, &|| format!("{wallet}"))?;
            row.spent = row.spent + spent;
            if row.reserved == reserved_after {
                return Ok(());
            }
            misfit(format!(
                "wallet {wallet} says {} units are reserved, its events add up to {}",
                reserved_after.0, row.reserved.0
            ))
        })?;
        if spent + released == Amount::ZERO {
            return Ok(());
        }
        let index = u32::try_from(self.log_index).map_err(|_| FoldError::Misfit("log index above 32 bits".into()))?;
        let row = SpendRow { agent, spent, released, time_s: self.time_s };
        Ok(self.rows.put(schema::spend(wallet, self.block, index), &row)?)
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
