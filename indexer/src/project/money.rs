//! Credits, and what the market holds: the four sums of the totals row always equal its token balance.

use alloy::primitives::Address;
use contracts::units::Amount;

use super::{Fold, FoldError, Folded, misfit};
use crate::store::{
    rows::{CreditRow, TotalsRow},
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
        self.totals(|totals| {
            totals.credits = totals.credits + amount;
            Ok(())
        })
    }

    /// Takes from an account's credit.
    pub(super) fn credit_taken(&mut self, account: Address, amount: Amount) -> Folded {
        if amount == Amount::ZERO {
            return Ok(());
        }
        let rest = minus(self.credit(account)?, amount, || format!("the credit of {account}"))?;
        self.put_credit(account, rest)?;
        self.totals(|totals| {
            totals.credits = minus(totals.credits, amount, || "the sum of credits".into())?;
            Ok(())
        })
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
