//! Credits, keys' accounts, and what the market holds: the four sums of the totals row always equal its token balance.

use alloy::primitives::Address;
use contracts::{bindings::IAIPowerRental::KeyCollected, units::Amount};

use super::{Fold, FoldError, Folded, misfit};
use crate::store::{
    rows::{CreditRow, KeyAccountRow, TotalsRow},
    schema,
};

impl Fold<'_, '_> {
    /// Adds to an account's credit.
    pub(super) fn credit_given(&mut self, account: Address, amount: Amount) -> Folded {
        if amount == Amount::ZERO {
            return Ok(());
        }
        let credit = self.credit(account)?;
        self.put_credit(account, credit + amount)?;
        self.credits_grow(amount)
    }

    /// Takes from an account's credit.
    pub(super) fn credit_taken(&mut self, account: Address, amount: Amount) -> Folded {
        if amount == Amount::ZERO {
            return Ok(());
        }
        let rest = minus(self.credit(account)?, amount, || format!("the credit of {account}"))?;
        self.put_credit(account, rest)?;
        self.credits_shrink(amount)
    }

    /// The market takes up to `wanted` from an account's credit, as far as it reaches; gives what it took.
    pub(super) fn credit_used(&mut self, account: Address, wanted: Amount) -> Folded {
        let used = self.credit(account)?.min(wanted);
        self.credit_taken(account, used)
    }

    /// An account pulled its whole credit.
    pub(super) fn credit_pulled(&mut self, account: Address, amount: Amount) -> Folded {
        let credit = self.credit(account)?;
        if credit != amount {
            return misfit(format!("{account} pulled {} units, but its credit was {}", amount.0, credit.0));
        }
        self.credit_taken(account, amount)
    }

    /// A bid or deposit of a key took `credit_used` from its credit, and its wallet counted all that had ended. The first
    /// bid makes the account: from then on the key belongs to this wallet.
    pub(super) fn account_drawn(&mut self, wallet: Address, agent: Address, credit_used: Amount) -> Folded {
        let key = schema::key_account(agent);
        let known: Option<KeyAccountRow> = self.rows.get(&key)?;
        let account = known.unwrap_or(KeyAccountRow {
            wallet,
            credit: Amount::ZERO,
            spent: Amount::ZERO,
            released: Amount::ZERO,
        });
        if account.wallet != wallet {
            return misfit(format!("key {agent} belongs to wallet {}, not to {wallet}", account.wallet));
        }
        let credit = minus(account.credit, credit_used, || format!("the credit of key {agent}"))?;
        self.rows.put(key, &KeyAccountRow { wallet, credit, spent: Amount::ZERO, released: Amount::ZERO })?;
        self.credits_shrink(credit_used)
    }

    /// A bid or deposit of a key ended: `credit` is the key's again, `spent` and `released` wait to be counted.
    pub(super) fn account_ended(&mut self, agent: Address, credit: Amount, spent: Amount, released: Amount) -> Folded {
        let key = schema::key_account(agent);
        let mut account: KeyAccountRow = self.known(&key, || format!("the account of key {agent}"))?;
        account.credit = account.credit + credit;
        account.spent = account.spent + spent;
        account.released = account.released + released;
        self.rows.put(key, &account)?;
        self.credits_grow(credit)
    }

    /// A wallet took a key's credit and counted what had ended.
    pub(super) fn account_collected(&mut self, event: &KeyCollected) -> Folded {
        let key = schema::key_account(event.agent);
        let account: KeyAccountRow = self.known(&key, || format!("the account of key {}", event.agent))?;
        let told = KeyAccountRow {
            wallet: event.wallet,
            credit: event.credit.into(),
            spent: event.spent.into(),
            released: event.released.into(),
        };
        if account != told {
            return misfit(format!("key {} has {account:?} at the market, but {told:?} was collected", event.agent));
        }
        let zero = Amount::ZERO;
        self.rows.put(key, &KeyAccountRow { credit: zero, spent: zero, released: zero, ..account })?;
        self.credits_shrink(told.credit)
    }

    fn credits_grow(&mut self, amount: Amount) -> Folded {
        self.totals(|totals| {
            totals.credits = totals.credits + amount;
            Ok(())
        })
    }

    fn credits_shrink(&mut self, amount: Amount) -> Folded {
        self.totals(|totals| {
            totals.credits = minus(totals.credits, amount, || "the sum of credits".into())?;
            Ok(())
        })
    }

    /// Changes the totals.
    pub(super) fn totals(&mut self, change: impl FnOnce(&mut TotalsRow) -> Folded) -> Folded {
        let mut totals: TotalsRow = self.rows.get(&schema::totals())?.unwrap_or_default();
        change(&mut totals)?;
        Ok(self.rows.put(schema::totals(), &totals)?)
    }

    fn credit(&self, account: Address) -> Folded<Amount> {
        let row: Option<CreditRow> = self.rows.get(&schema::credit(account))?;
        Ok(row.map_or(Amount::ZERO, |row| row.amount))
    }

    fn put_credit(&mut self, account: Address, amount: Amount) -> Folded {
        let key = schema::credit(account);
        // An account without credit has no row, whether it ever had one or not.
        Ok(if amount == Amount::ZERO { self.rows.delete(key) } else { self.rows.put(key, &CreditRow { amount }) }?)
    }
}

/// `from − amount`, which no correct history makes negative.
pub(super) fn minus(from: Amount, amount: Amount, what: impl FnOnce() -> String) -> Folded<Amount> {
    from.0
        .checked_sub(amount.0)
        .map(Amount)
        .ok_or_else(|| FoldError::Misfit(format!("{} of {} units cannot lose {}", what(), from.0, amount.0)))
}
