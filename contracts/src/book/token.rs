//! The token, as far as the market and the wallets see it: a plain ERC-20.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use super::error::Error;

/// Balances and what the market may take of them, token units.
#[derive(Clone, Debug, Default)]
pub struct Token {
    balances: BTreeMap<Address, u128>,
    allowances: BTreeMap<Address, u128>,
}

impl Token {
    /// Balance of `account`.
    pub fn balance_of(&self, account: Address) -> u128 {
        self.balances.get(&account).copied().unwrap_or_default()
    }

    /// Creates tokens.
    pub fn mint(&mut self, to: Address, amount: u128) {
        *self.balances.entry(to).or_default() += amount;
    }

    /// Lets the market take `amount` from `account`; `u128::MAX` stands for any amount, for ever.
    pub fn approve_market(&mut self, account: Address, amount: u128) {
        self.allowances.insert(account, amount);
    }

    /// Moves tokens.
    pub(super) fn transfer(&mut self, from: Address, to: Address, amount: u128) -> Result<(), Error> {
        if to.is_zero() {
            return Err(Error::ERC20InvalidReceiver { receiver: to });
        }
        let balance = self.balance_of(from);
        if balance < amount {
            return Err(Error::ERC20InsufficientBalance { sender: from, balance, needed: amount });
        }
        self.balances.insert(from, balance - amount);
        self.mint(to, amount);
        Ok(())
    }

    /// The market takes tokens from whoever approved that.
    pub(super) fn take(&mut self, from: Address, market: Address, amount: u128) -> Result<(), Error> {
        let allowance = self.allowances.get(&from).copied().unwrap_or_default();
        if allowance < amount {
            return Err(Error::ERC20InsufficientAllowance { spender: market, allowance, needed: amount });
        }
        self.transfer(from, market, amount)?;
        if allowance != u128::MAX {
            self.allowances.insert(from, allowance - amount);
        }
        Ok(())
    }
}
