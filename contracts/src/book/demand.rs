//! What wallets do: place, cancel, dispute, collect (`MarketDemand.sol`, and the entries of `AgentWallet.sol`).

use alloy::primitives::Address;

use super::{
    error::Error,
    market::{MAX_BID_LIFETIME_S, Market},
    types::{Agreement, Status, Terms, permission},
    wallet::Ended,
};
use crate::ids::{AgreementId, BookId};

/// What money is asked for (`FundingKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Funding {
    Bid,
    Deposit,
    OwnerDeposit,
}

impl Market {
    /// `AgentWallet.placeBid`, sent by `agent`: a fully escrowed bid. Whoever is no wallet meets the market's own answer.
    ///
    /// # Errors
    /// As the contracts, in their order: the key's wallet, the terms, the wallet's rules, its limits, its balance.
    pub fn place(&mut self, now_s: u64, wallet: Address, agent: Address, terms: &Terms) -> Result<AgreementId, Error> {
        self.check_unpaused()?;
        self.check_key(wallet, agent)?;
        self.place_checked(now_s, wallet, agent, terms)
    }

    /// `placeBidWithSignature`, sent by anyone. `signer` is whose signature it is; `None` if it is none at all.
    ///
    /// # Errors
    /// As [`Self::place`], and for a wrong nonce or signature.
    pub fn place_signed(
        &mut self,
        now_s: u64,
        wallet: Address,
        agent: Address,
        terms: &Terms,
        nonce: u64,
        signer: Option<Address>,
    ) -> Result<AgreementId, Error> {
        self.check_unpaused()?;
        self.check_key(wallet, agent)?;
        let next = self.nonce(wallet, agent);
        if nonce != next {
            return Err(Error::InvalidAccountNonce { wallet, agent, nonce: next });
        }
        let may_bid = self.wallet(wallet).is_some_and(|wallet| wallet.may_bid(now_s, agent));
        if signer != Some(agent) || !may_bid {
            return Err(Error::InvalidBidSignature { wallet, agent });
        }
        let id = self.place_checked(now_s, wallet, agent, terms)?;
        self.nonces.insert((wallet, agent), next + 1);
        Ok(id)
    }

    /// `AgentWallet.cancelBid`, sent by `sender`.
    ///
    /// # Errors
    /// When `sender` may not, or as [`Self::cancel`].
    pub fn cancel_bid(&mut self, now_s: u64, wallet: Address, sender: Address, id: AgreementId) -> Result<(), Error> {
        self.check_actor(now_s, wallet, sender, id, permission::CANCEL)?;
        self.cancel(now_s, wallet, id)
    }

    /// `cancel`, by the wallet itself. Open: full refund after the minimum lifetime. Confirmed: burns half of the no-show
    /// penalty. Running: bills what ran, at least the minimum, through the challenge window.
    ///
    /// # Errors
    /// When it is not the caller's, too young, past its deadline, or has come further.
    pub fn cancel(&mut self, now_s: u64, caller: Address, id: AgreementId) -> Result<(), Error> {
        let agreement = self.consumed(id, caller)?;
        if agreement.status == Status::Open {
            let cancellable_s = agreement.placed_s + self.clocks.min_bid_lifetime_s;
            if now_s < cancellable_s {
                return Err(Error::BidTooYoung { id, cancellable_s });
            }
            self.drop_from_book(id);
            self.remove(id, if now_s < agreement.expiry_s { Status::Cancelled } else { Status::Expired });
            return Ok(());
        }
        if agreement.status == Status::Confirmed {
            return self.call_off(now_s, id, true);
        }
        let agreement = self.timely(now_s, id, Status::Running)?;
        let billable_s = self.billable_s(now_s - agreement.start_or_billable_s, agreement.max_duration_s);
        // The consumer's own word that it ran stands for receipts.
        self.deliver(now_s, id, billable_s, true);
        self.update(id, |agreement| agreement.cancelled = true);
        Ok(())
    }

    /// `AgentWallet.dispute`, sent by `sender`: challenges a submitted result with a deposit, which counts against the key's
    /// limits unless the owner sends it.
    ///
    /// # Errors
    /// When `sender` may not, outside the challenge window, or when the deposit cannot be funded.
    pub fn dispute(&mut self, now_s: u64, wallet: Address, sender: Address, id: AgreementId) -> Result<(), Error> {
        let counted = !self.check_actor(now_s, wallet, sender, id, permission::DISPUTE)?;
        self.dispute_as(now_s, wallet, id, counted)
    }

    /// `dispute` of the market, by the wallet itself.
    ///
    /// # Errors
    /// As [`Self::dispute`].
    pub fn dispute_as(&mut self, now_s: u64, caller: Address, id: AgreementId, counted: bool) -> Result<(), Error> {
        let agent = self.consumed(id, caller)?.agent;
        let agreement = self.timely(now_s, id, Status::Submitted)?;
        let deposit = self.deposit(id, agreement.start_or_billable_s);
        let kind = if counted { Funding::Deposit } else { Funding::OwnerDeposit };
        self.fund(now_s, caller, agent, id, deposit, kind)?;
        let deadline_s = now_s + self.clocks.dispute_timeout_s;
        self.update(id, |agreement| {
            agreement.status = Status::Disputed;
            agreement.deadline_s = deadline_s;
            agreement.deposit_counted = counted;
        });
        Ok(())
    }

    /// `AgentWallet.collect`, by anyone: sends a key's credit to its wallet and counts what ended.
    ///
    /// # Errors
    /// When the key is not the wallet's.
    pub fn collect(&mut self, now_s: u64, wallet: Address, agent: Address) -> Result<u128, Error> {
        let account = self.key_account(agent);
        if account.wallet != wallet {
            return Err(Error::NotKeyWallet { agent, caller: wallet });
        }
        let ended = Ended { spent: account.spent, released: account.released };
        self.count(now_s, wallet, agent, 0, ended)?;
        self.token.transfer(self.address, wallet, account.credit)?;
        self.set_account(wallet, agent, 0);
        Ok(account.credit)
    }

    // --- internals ---

    /// Seconds to pay for: never less than the minimum, never more than was escrowed.
    pub(super) fn billable_s(&self, elapsed_s: u64, max_duration_s: u32) -> u64 {
        if elapsed_s < self.clocks.min_billed_s {
            return self.clocks.min_billed_s;
        }
        elapsed_s.min(u64::from(max_duration_s))
    }

    fn place_checked(
        &mut self,
        now_s: u64,
        wallet: Address,
        agent: Address,
        terms: &Terms,
    ) -> Result<AgreementId, Error> {
        let book = self.check_terms(now_s, terms)?;
        self.price(terms.class, terms.tick)?;
        let id = AgreementId::new(book, terms.tick, self.level(book, terms.tick).tail);
        let escrow = self.cost(id, u64::from(terms.max_duration_s));
        self.fund(now_s, wallet, agent, id, escrow, Funding::Bid)?;
        self.books.entry(book).or_default().push(terms.tick);
        let agreement = Agreement {
            agent,
            max_duration_s: terms.max_duration_s,
            placed_s: now_s,
            expiry_s: terms.expiry_s,
            fee_bps: self.config.fee_bps,
            status: Status::Open,
            offer: 0,
            start_or_billable_s: 0,
            deadline_s: 0,
            paid: 0,
            has_receipts: false,
            preempted: false,
            cancelled: false,
            deposit_counted: false,
        };
        self.agreements.insert(id, agreement);
        Ok(id)
    }

    /// A key belongs to the wallet it first bids for.
    fn check_key(&self, wallet: Address, agent: Address) -> Result<(), Error> {
        let known = self.key_account(agent).wallet;
        if known.is_zero() {
            return if self.wallets.contains_key(&wallet) { Ok(()) } else { Err(Error::NotWallet { caller: wallet }) };
        }
        if known == wallet { Ok(()) } else { Err(Error::KeyOfAnotherWallet { agent, wallet: known }) }
    }

    fn check_terms(&self, now_s: u64, terms: &Terms) -> Result<BookId, Error> {
        let max_duration_s = terms.max_duration_s;
        let book = BookId::for_duration(terms.class, max_duration_s, terms.preemptible)
            .filter(|_| u64::from(max_duration_s) >= self.clocks.min_billed_s)
            .ok_or(Error::InvalidDuration { max_duration_s })?;
        let expiry_s = terms.expiry_s;
        let earliest_s = now_s + self.clocks.min_bid_lifetime_s;
        if expiry_s < earliest_s {
            return Err(Error::BidLifetimeTooShort { expiry_s, earliest_s });
        }
        let latest_s = now_s + MAX_BID_LIFETIME_S;
        if expiry_s > latest_s {
            return Err(Error::BidLifetimeTooLong { expiry_s, latest_s });
        }
        if terms.spec_hash.is_zero() {
            return Err(Error::ZeroSpecHash);
        }
        if !self.has_template(terms.class, terms.template) {
            return Err(Error::TemplateUnknown { template: terms.template, class: terms.class });
        }
        Ok(book)
    }

    /// `_draw` and `fund`: the key's credit comes first, and what ended is counted before anything is reserved.
    fn fund(
        &mut self,
        now_s: u64,
        wallet: Address,
        agent: Address,
        id: AgreementId,
        amount: u128,
        kind: Funding,
    ) -> Result<(), Error> {
        let account = self.key_account(agent);
        let ended = Ended { spent: account.spent, released: account.released };
        let from_credit = account.credit.min(amount);
        let purse = self.wallet(wallet).ok_or(Error::NotWallet { caller: wallet })?;
        if kind == Funding::Bid {
            purse.check_bid(now_s, wallet, agent, id, amount, self.unit)?;
        }
        let reserve = if kind == Funding::OwnerDeposit { 0 } else { amount };
        let accounted = purse.account(now_s, wallet, agent, reserve, ended, self.unit)?;
        self.token.transfer(wallet, self.address, amount - from_credit)?;
        self.wallet_mut(wallet)?.commit(accounted);
        self.set_account(wallet, agent, account.credit - from_credit);
        Ok(())
    }

    fn count(&mut self, now_s: u64, wallet: Address, agent: Address, amount: u128, ended: Ended) -> Result<(), Error> {
        let unit = self.unit;
        let purse = self.wallet_mut(wallet)?;
        let accounted = purse.account(now_s, wallet, agent, amount, ended, unit)?;
        purse.commit(accounted);
        Ok(())
    }

    /// An account with nothing left to count.
    fn set_account(&mut self, wallet: Address, agent: Address, credit: u128) {
        let account = self.accounts.entry(agent).or_default();
        account.wallet = wallet;
        account.credit = credit;
        account.spent = 0;
        account.released = 0;
    }

    /// `_checkActor`: the bid's key, an ancestor, or the owner; whether it is the owner.
    fn check_actor(
        &self,
        now_s: u64,
        wallet: Address,
        sender: Address,
        id: AgreementId,
        needed: u8,
    ) -> Result<bool, Error> {
        let agent = self.agreement(id).map(|agreement| agreement.agent).ok_or(Error::BidUnknown { id })?;
        if self.key_account(agent).wallet != wallet {
            return Err(Error::BidUnknown { id });
        }
        let purse = self.wallet(wallet).ok_or(Error::NotWallet { caller: wallet })?;
        if sender == purse.owner {
            return Ok(true);
        }
        purse.check_actor(now_s, sender, agent, id, needed).map(|()| false)
    }

    fn consumed(&self, id: AgreementId, caller: Address) -> Result<Agreement, Error> {
        self.agreement(id)
            .filter(|agreement| self.key_account(agreement.agent).wallet == caller)
            .copied()
            .ok_or(Error::NotConsumer { id, caller })
    }
}
