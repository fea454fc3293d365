//! How bids and rentals end: the split of escrow and bond, timed exits, rulings (`MarketSettlement.sol`).

use alloy::primitives::Address;

use super::{
    error::Error,
    market::{BURNED, Market},
    types::{Agreement, OfferId, Status},
};
use crate::ids::AgreementId;

/// Share of slashes and penalties that is burned, 1/10,000; the rest goes to the treasury.
pub const BURN_BPS: u128 = 9_000;

/// What a rental ends with, token units; `gross` is the provider's pay plus the fee.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) gross: u128,
    pub(super) penalty: u128,
    pub(super) slash: u128,
}

impl Market {
    // --- anyone ---

    /// `advance`: moves an agreement past its deadline on; its new state.
    ///
    /// # Errors
    /// When time alone does not move it, or not yet.
    pub fn advance(&mut self, now_s: u64, id: AgreementId) -> Result<Status, Error> {
        let (next, available_s) = self.next(id);
        let available_s = available_s.ok_or(Error::WrongStatus { id, status: next })?;
        if now_s < available_s {
            return Err(Error::NotYet { id, available_s });
        }
        self.move_on(now_s, id, next);
        Ok(next)
    }

    /// `prune`: `advance` for many; how many moved.
    pub fn prune(&mut self, now_s: u64, ids: &[AgreementId]) -> usize {
        ids.iter().filter(|id| self.advance(now_s, **id).is_ok()).count()
    }

    /// `effectiveState`: the state that `advance` would give.
    pub fn effective_state(&self, now_s: u64, id: AgreementId) -> Status {
        match self.next(id) {
            (_, Some(available_s)) if now_s < available_s => self.status(id),
            (next, _) => next,
        }
    }

    /// `withdraw`: pulls the caller's credit.
    ///
    /// # Errors
    /// When there is none, or `to` is zero.
    pub fn withdraw(&mut self, caller: Address, to: Address) -> Result<u128, Error> {
        if to.is_zero() {
            return Err(Error::ZeroAddress);
        }
        let amount = self.credit_of(caller);
        if amount == 0 {
            return Err(Error::NothingToWithdraw { account: caller });
        }
        self.token.transfer(self.address, to, amount)?;
        self.credits.remove(&caller);
        if caller == self.config.treasury {
            self.treasury_credit = 0;
        }
        Ok(amount)
    }

    // --- arbiter ---

    /// `resolve`: rules on a dispute, `pay` gross within the escrow, `slash` within the bond.
    ///
    /// # Errors
    /// When the caller is not the arbiter, it is too late, or the ruling is out of range.
    pub fn resolve(
        &mut self,
        now_s: u64,
        caller: Address,
        id: AgreementId,
        pay: u128,
        slash: u128,
    ) -> Result<(), Error> {
        if caller != self.config.arbiter {
            return Err(Error::NotArbiter { caller });
        }
        let agreement = self.timely(now_s, id, Status::Disputed)?;
        if pay > self.cost(id, u64::from(agreement.max_duration_s)) || slash > self.bond_of(agreement.offer) {
            return Err(Error::RulingOutOfRange { pay, slash });
        }
        self.rule(now_s, id, &agreement, pay, slash);
        Ok(())
    }

    // --- timed exits ---

    /// The state that time alone leads to, and when; without a time it is the present one.
    fn next(&self, id: AgreementId) -> (Status, Option<u64>) {
        let Some(agreement) = self.agreement(id) else { return (Status::None, None) };
        let deadline_s = Some(agreement.deadline_s);
        match agreement.status {
            Status::Open => (Status::Expired, Some(agreement.expiry_s)),
            Status::Confirmed => (Status::Expired, deadline_s),
            Status::Running => (Status::Failed, deadline_s),
            Status::Submitted if agreement.preempted => (Status::Preempted, deadline_s),
            Status::Submitted if agreement.cancelled => (Status::Cancelled, deadline_s),
            Status::Submitted => (Status::Settled, deadline_s),
            Status::Disputed => (Status::Resolved, deadline_s),
            ended => (ended, None),
        }
    }

    fn move_on(&mut self, now_s: u64, id: AgreementId, next: Status) {
        let Some(agreement) = self.agreement(id).copied() else { return };
        let claimed = self.cost(id, agreement.start_or_billable_s);
        let bond = self.bond_of(agreement.offer);
        let ended = |gross, penalty, slash| Outcome { status: next, gross, penalty, slash };
        match agreement.status {
            Status::Open => {
                self.drop_from_book(id);
                self.remove(id, Status::Expired);
            }
            // Nobody started it: both sides lose the same small amount.
            Status::Confirmed => {
                let lost = self.no_show(id, agreement.offer);
                self.close(id, ended(0, lost, lost));
            }
            Status::Running => self.close(id, ended(0, 0, bond)),
            Status::Submitted => self.close(id, ended(claimed, 0, 0)),
            // A silent arbiter favours the side with receipts.
            Status::Disputed => {
                self.rule(now_s, id, &agreement, if agreement.has_receipts { claimed } else { 0 }, 0);
            }
            _ => {}
        }
    }

    /// The deposit is lost only to a ruling, in time, that found no fault with the claim.
    fn rule(&mut self, now_s: u64, id: AgreementId, agreement: &Agreement, gross: u128, slash: u128) {
        let deposit = self.deposit(id, agreement.start_or_billable_s);
        let in_time = now_s < agreement.deadline_s;
        let forfeited = in_time && slash == 0 && gross >= self.cost(id, agreement.start_or_billable_s);
        let counted = if agreement.deposit_counted { deposit } else { 0 };
        if forfeited {
            let provider = self.offer(agreement.offer).map(|offer| offer.provider).unwrap_or_default();
            self.add_credit(provider, deposit);
            self.add_ended(agreement.agent, 0, counted, 0);
        } else {
            self.add_ended(agreement.agent, deposit, 0, counted);
        }
        self.close(id, Outcome { status: Status::Resolved, gross, penalty: 0, slash });
    }

    // --- the end of a rental ---

    /// Ends a confirmed rental at the cost of the side that calls it off: half of what silence costs, and burned like it.
    pub(super) fn call_off(&mut self, now_s: u64, id: AgreementId, by_consumer: bool) -> Result<(), Error> {
        let agreement = self.timely(now_s, id, Status::Confirmed)?;
        let cost = self.no_show(id, agreement.offer).div_ceil(2);
        let (penalty, slash) = if by_consumer { (cost, 0) } else { (0, cost) };
        self.close(id, Outcome { status: Status::Cancelled, gross: 0, penalty, slash });
        Ok(())
    }

    /// Ends the work: from now on the result and the bill may be challenged.
    pub(super) fn deliver(&mut self, now_s: u64, id: AgreementId, billable_s: u64, has_receipts: bool) {
        let deadline_s = now_s + self.clocks.challenge_window_s;
        self.update(id, |agreement| {
            agreement.status = Status::Submitted;
            agreement.start_or_billable_s = billable_s;
            agreement.deadline_s = deadline_s;
            agreement.has_receipts = has_receipts;
        });
    }

    /// Splits escrow and bond and frees the slot: pay + fee + penalty + refund = escrow.
    pub(super) fn close(&mut self, id: AgreementId, outcome: Outcome) {
        let Some(agreement) = self.agreement(id).copied() else { return };
        let paid = outcome.gross + outcome.penalty;
        let refund = self.cost(id, u64::from(agreement.max_duration_s)) - paid;
        let fee = outcome.gross * u128::from(agreement.fee_bps) / 10_000;
        let provider = self.offer(agreement.offer).map(|offer| offer.provider).unwrap_or_default();
        self.update(id, |agreement| {
            agreement.status = outcome.status;
            agreement.paid = paid;
        });
        self.add_credit(provider, outcome.gross - fee);
        self.treasury_credit += fee;
        self.add_ended(agreement.agent, refund, paid, refund);
        self.free_slot(agreement.offer, outcome.slash);
        self.burn(outcome.penalty + outcome.slash);
    }

    /// A bond that lost a part backs no further rental: its slot ends and the rest is credited. So does a closed offer's.
    fn free_slot(&mut self, offer: OfferId, slash: u128) {
        let Ok(listing) = self.offer_mut(offer) else { return };
        listing.used -= 1;
        if slash == 0 && listing.valid_until_s != 0 {
            return;
        }
        listing.slots -= 1;
        let (provider, rest) = (listing.provider, listing.bond_per_slot - slash);
        self.add_credit(provider, rest);
    }

    /// Ends an open bid that its book no longer counts.
    pub(super) fn remove(&mut self, id: AgreementId, status: Status) {
        let Some(agreement) = self.agreement(id).copied() else { return };
        let refund = self.cost(id, u64::from(agreement.max_duration_s));
        self.update(id, |agreement| agreement.status = status);
        self.add_ended(agreement.agent, refund, 0, refund);
    }

    // --- checks and amounts ---

    /// `_timely`: in `expected` and before its deadline.
    pub(super) fn timely(&self, now_s: u64, id: AgreementId, expected: Status) -> Result<Agreement, Error> {
        let agreement = self.agreement(id).filter(|agreement| agreement.status == expected);
        let agreement = *agreement.ok_or_else(|| Error::WrongStatus { id, status: self.status(id) })?;
        if now_s >= agreement.deadline_s {
            return Err(Error::TooLate { id, deadline_s: agreement.deadline_s });
        }
        Ok(agreement)
    }

    /// What each side loses when a start never comes: the minimum bill, as far as the bond covers it.
    pub(super) fn no_show(&self, id: AgreementId, offer: OfferId) -> u128 {
        self.cost(id, self.clocks.min_billed_s).min(self.bond_of(offer))
    }

    /// At least what a false dispute could win, and never nothing.
    pub(super) fn deposit(&self, id: AgreementId, billable_s: u64) -> u128 {
        self.cost(id, billable_s.max(self.clocks.min_billed_s))
    }

    fn bond_of(&self, offer: OfferId) -> u128 {
        self.offer(offer).map_or(0, |offer| offer.bond_per_slot)
    }

    // --- writing ---

    pub(super) fn drop_from_book(&mut self, id: AgreementId) {
        if let Some(book) = id.book().and_then(|book| self.books.get_mut(&book)) {
            book.drop(id.tick());
        }
    }

    pub(super) fn update(&mut self, id: AgreementId, change: impl FnOnce(&mut Agreement)) {
        if let Some(agreement) = self.agreements.get_mut(&id) {
            change(agreement);
        }
    }

    /// What a bid or deposit of `agent` left; the wallet counts it later.
    fn add_ended(&mut self, agent: Address, credit: u128, spent: u128, released: u128) {
        let account = self.accounts.entry(agent).or_default();
        account.credit += credit;
        account.spent += spent;
        account.released += released;
    }

    fn burn(&mut self, amount: u128) {
        let burned = amount * BURN_BPS / 10_000;
        self.add_credit(BURNED, burned);
        self.treasury_credit += amount - burned;
    }
}
