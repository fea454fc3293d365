//! What providers do: register, offer, match, start, submit, give way (`MarketSupply.sol`).

use alloy::primitives::Address;

use super::{
    error::Error,
    market::{MAX_ENDPOINT_LENGTH, Market},
    types::{Agreement, Offer, OfferId, Status},
};
use crate::{
    ids::{AgreementId, BookId},
    price::cost_of,
};

/// Dead bids that one call steps over.
pub const MAX_DEAD: u32 = 8;

/// One start of a batch. `signer` is whose countersignature it is; `None` if it is none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartItem {
    /// Rental.
    pub id: AgreementId,
    /// Who countersigned.
    pub signer: Option<Address>,
}

/// One result of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmitItem {
    /// Rental.
    pub id: AgreementId,
    /// Seconds to be paid for.
    pub claimed_s: u64,
    /// Whether there are receipts.
    pub has_receipts: bool,
}

/// What is listed, as `postOffer` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferTerms {
    /// Hardware class.
    pub class: u8,
    /// Bit `BookId::bits` set for every book served.
    pub book_mask: u8,
    /// Rentals at once.
    pub slots: u16,
    /// Lowest tick taken.
    pub reserve_tick: u8,
    /// Bond behind each slot, token units.
    pub bond_per_slot: u128,
    /// Second from which it matches no more.
    pub valid_until_s: u64,
}

struct Search {
    offer: OfferId,
    book: BookId,
    min_tick: u8,
    free: u16,
}

impl Market {
    // --- providers and offers ---

    /// `registerProvider`.
    ///
    /// # Errors
    /// For an endpoint that is too long.
    pub fn register_provider(&mut self, caller: Address, endpoint: &str) -> Result<(), Error> {
        if endpoint.len() > MAX_ENDPOINT_LENGTH {
            return Err(Error::EndpointTooLong { length: endpoint.len(), max: MAX_ENDPOINT_LENGTH });
        }
        self.providers.insert(caller);
        Ok(())
    }

    /// `setOperator`.
    ///
    /// # Errors
    /// When the caller is no provider.
    pub fn set_operator(&mut self, caller: Address, operator: Address, allowed: bool) -> Result<(), Error> {
        self.check_provider(caller)?;
        if allowed {
            self.operators.insert((caller, operator));
        } else {
            self.operators.remove(&(caller, operator));
        }
        Ok(())
    }

    /// `postOffer`: lists slots; bonds come from the caller's credit, then from its tokens.
    ///
    /// # Errors
    /// For an invalid offer, a bond that is too small, or missing tokens.
    pub fn post_offer(&mut self, now_s: u64, caller: Address, terms: &OfferTerms) -> Result<OfferId, Error> {
        self.check_unpaused()?;
        self.check_provider(caller)?;
        if terms.book_mask == 0 || terms.slots == 0 || terms.valid_until_s <= now_s {
            return Err(Error::InvalidOffer);
        }
        self.check_bond(terms.class, terms.reserve_tick, terms.bond_per_slot)?;
        let bonds = u128::from(terms.slots) * terms.bond_per_slot;
        let credit = self.credits.get(&caller).copied().unwrap_or_default();
        let from_credit = credit.min(bonds);
        if bonds != from_credit {
            self.token.take(caller, self.address, bonds - from_credit)?;
        }
        if from_credit != 0 {
            self.credits.insert(caller, credit - from_credit);
        }
        self.offers.push(Offer {
            provider: caller,
            class: terms.class,
            book_mask: terms.book_mask,
            reserve_tick: terms.reserve_tick,
            slots: terms.slots,
            used: 0,
            valid_until_s: terms.valid_until_s,
            bond_per_slot: terms.bond_per_slot,
        });
        Ok(self.offers.len() as OfferId)
    }

    /// `updateOffer`.
    ///
    /// # Errors
    /// When the caller may not, or the offer would be invalid.
    pub fn update_offer(
        &mut self,
        now_s: u64,
        caller: Address,
        offer: OfferId,
        reserve_tick: u8,
        valid_until_s: u64,
    ) -> Result<(), Error> {
        let listing = self.open_offer(offer, caller)?;
        if valid_until_s <= now_s {
            return Err(Error::InvalidOffer);
        }
        self.check_bond(listing.class, reserve_tick, listing.bond_per_slot)?;
        let listing = self.offer_mut(offer)?;
        listing.reserve_tick = reserve_tick;
        listing.valid_until_s = valid_until_s;
        Ok(())
    }

    /// `closeOffer`: free slots' bonds are credited now, held ones as their rentals end.
    ///
    /// # Errors
    /// When the caller may not, or it is closed.
    pub fn close_offer(&mut self, caller: Address, offer: OfferId) -> Result<(), Error> {
        let listing = self.open_offer(offer, caller)?;
        self.add_credit(listing.provider, u128::from(listing.slots - listing.used) * listing.bond_per_slot);
        let listing = self.offer_mut(offer)?;
        listing.valid_until_s = 0;
        listing.slots = listing.used;
        Ok(())
    }

    // --- matching ---

    /// `matchBest`: pops the head of the best tick at or above the reserve and `min_tick`. `None` when there is none, or
    /// when `expected` is not the head; dead bids on the way are removed even then.
    ///
    /// # Errors
    /// When the caller may not, or the offer is over, full or does not serve the book.
    pub fn match_best(
        &mut self,
        now_s: u64,
        caller: Address,
        offer: OfferId,
        book: BookId,
        min_tick: u8,
        expected: Option<AgreementId>,
    ) -> Result<Option<AgreementId>, Error> {
        let search = self.search(now_s, caller, offer, book, min_tick)?;
        let found = self.match_one(now_s, &search, expected);
        if found.is_some() {
            self.offer_mut(offer)?.used += 1;
        }
        Ok(found)
    }

    /// `matchBestBatch`: at most `count` and at most the free slots.
    ///
    /// # Errors
    /// As [`Self::match_best`].
    pub fn match_best_batch(
        &mut self,
        now_s: u64,
        caller: Address,
        offer: OfferId,
        book: BookId,
        min_tick: u8,
        count: usize,
    ) -> Result<Vec<AgreementId>, Error> {
        let search = self.search(now_s, caller, offer, book, min_tick)?;
        let mut ids = Vec::new();
        while ids.len() < count.min(usize::from(search.free)) {
            let Some(id) = self.match_one(now_s, &search, None) else { break };
            ids.push(id);
        }
        self.offer_mut(offer)?.used += ids.len() as u16;
        Ok(ids)
    }

    /// `bestBid`: best matchable bid at or above `min_tick`; `None` when there is none or too many dead ones are before it.
    pub fn best_bid(&self, now_s: u64, book: BookId, min_tick: u8) -> Option<AgreementId> {
        let queue = self.books.get(&book)?;
        let mut dead = 0;
        let mut below = u8::MAX;
        while let Some(tick) = queue.best(min_tick, below) {
            let level = queue.level(tick);
            let (mut live, mut sequence) = (level.live, level.head);
            while live != 0 {
                let id = AgreementId::new(book, tick, sequence);
                let open = self.agreements.get(&id).filter(|agreement| agreement.status == Status::Open);
                if open.is_some_and(|agreement| now_s < agreement.expiry_s) {
                    return Some(id);
                }
                if dead == MAX_DEAD {
                    return None;
                }
                dead += 1;
                live -= u64::from(open.is_some());
                sequence += 1;
            }
            below = tick.checked_sub(1)?;
            if below < min_tick {
                return None;
            }
        }
        None
    }

    // --- work ---

    /// `start` with a countersignature of `signer`.
    ///
    /// # Errors
    /// When the caller may not, it is too late, or `signer` may not countersign.
    pub fn start(
        &mut self,
        now_s: u64,
        caller: Address,
        id: AgreementId,
        signer: Option<Address>,
    ) -> Result<(), Error> {
        if self.try_start(now_s, caller, &StartItem { id, signer })? {
            return Ok(());
        }
        Err(Error::InvalidStartSignature { id, signer: signer.unwrap_or_default() })
    }

    /// `startBatch`: skips what can no longer start, and invalid countersignatures.
    ///
    /// # Errors
    /// When the caller may not start one of them; then none is.
    pub fn start_batch(&mut self, now_s: u64, caller: Address, items: &[StartItem]) -> Result<(), Error> {
        self.all_or_none(items.iter().map(|item| item.id), |market| {
            for item in items {
                if market.timely(now_s, item.id, Status::Confirmed).is_ok() {
                    market.try_start(now_s, caller, item)?;
                }
            }
            Ok(())
        })
    }

    /// `decline`: refuses a confirmed rental for half of the no-show penalty.
    ///
    /// # Errors
    /// When the caller may not, or it is too late.
    pub fn decline(&mut self, now_s: u64, caller: Address, id: AgreementId) -> Result<(), Error> {
        self.supplied(now_s, caller, id, Status::Confirmed)?;
        self.call_off(now_s, id, false)
    }

    /// `submit`: at least the minimum is billed, at most the maximum duration.
    ///
    /// # Errors
    /// When the caller may not, it is too late, or more is claimed than has passed.
    pub fn submit(&mut self, now_s: u64, caller: Address, item: &SubmitItem) -> Result<(), Error> {
        let id = item.id;
        let (agreement, _) = self.supplied(now_s, caller, id, Status::Running)?;
        let elapsed_s = now_s - agreement.start_or_billable_s;
        if item.claimed_s > elapsed_s {
            return Err(Error::ClaimTooLong { id, claimed_s: item.claimed_s, elapsed_s });
        }
        self.deliver(now_s, id, self.billable_s(item.claimed_s, agreement.max_duration_s), item.has_receipts);
        Ok(())
    }

    /// `submitBatch`: skips what is no longer running or past its deadline.
    ///
    /// # Errors
    /// As [`Self::submit`] for any of them; then none is submitted.
    pub fn submit_batch(&mut self, now_s: u64, caller: Address, items: &[SubmitItem]) -> Result<(), Error> {
        self.all_or_none(items.iter().map(|item| item.id), |market| {
            for item in items {
                if market.timely(now_s, item.id, Status::Running).is_ok() {
                    market.submit(now_s, caller, item)?;
                }
            }
            Ok(())
        })
    }

    /// `preempt`: gives way; pays whole checkpoints of elapsed time.
    ///
    /// # Errors
    /// When the caller may not, it is too late, or the rental is firm.
    pub fn preempt(&mut self, now_s: u64, caller: Address, id: AgreementId, has_receipts: bool) -> Result<(), Error> {
        let (agreement, _) = self.supplied(now_s, caller, id, Status::Running)?;
        if !id.book().is_some_and(|book| book.preemptible) {
            return Err(Error::NotPreemptible { id });
        }
        let elapsed_s = (now_s - agreement.start_or_billable_s).min(u64::from(agreement.max_duration_s));
        let billable_s = elapsed_s - elapsed_s % self.clocks.checkpoint_s;
        self.deliver(now_s, id, billable_s, has_receipts);
        self.update(id, |agreement| agreement.preempted = true);
        Ok(())
    }

    // --- internals ---

    fn check_provider(&self, caller: Address) -> Result<(), Error> {
        if self.providers.contains(&caller) { Ok(()) } else { Err(Error::NotProvider { caller }) }
    }

    fn check_bond(&self, class: u8, reserve_tick: u8, bond_per_slot: u128) -> Result<(), Error> {
        let price = self.price(class, reserve_tick)?;
        let minimum = u32::try_from(self.clocks.bond_s).ok().and_then(|bond_s| cost_of(price, bond_s));
        match minimum.unwrap_or(u128::MAX) {
            minimum if bond_per_slot < minimum => Err(Error::BondTooSmall { bond_per_slot, minimum }),
            _ => Ok(()),
        }
    }

    fn check_operator(&self, offer: OfferId, provider: Address, caller: Address) -> Result<(), Error> {
        if caller == provider || self.is_operator(provider, caller) {
            return Ok(());
        }
        Err(Error::NotOperator { offer, caller })
    }

    fn open_offer(&self, offer: OfferId, caller: Address) -> Result<Offer, Error> {
        let listing = self.operated(offer, caller)?;
        if listing.valid_until_s == 0 { Err(Error::OfferInactive { offer }) } else { Ok(listing) }
    }

    fn operated(&self, offer: OfferId, caller: Address) -> Result<Offer, Error> {
        let listing = *self.offer(offer).ok_or(Error::OfferUnknown { offer })?;
        self.check_operator(offer, listing.provider, caller)?;
        Ok(listing)
    }

    pub(super) fn offer_mut(&mut self, offer: OfferId) -> Result<&mut Offer, Error> {
        let index = usize::try_from(offer).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| self.offers.get_mut(index)).ok_or(Error::OfferUnknown { offer })
    }

    /// `_supplied`: the caller sells for the agreement's provider; then status and deadline.
    fn supplied(
        &self,
        now_s: u64,
        caller: Address,
        id: AgreementId,
        expected: Status,
    ) -> Result<(Agreement, Address), Error> {
        let mut provider = Address::ZERO;
        if let Some((offer, listing)) = self.agreement(id).and_then(|a| Some((a.offer, self.offer(a.offer)?))) {
            provider = listing.provider;
            self.check_operator(offer, provider, caller)?;
        }
        Ok((self.timely(now_s, id, expected)?, provider))
    }

    fn search(&self, now_s: u64, caller: Address, offer: OfferId, book: BookId, min_tick: u8) -> Result<Search, Error> {
        self.check_unpaused()?;
        let listing = self.operated(offer, caller)?;
        let free = listing.slots - listing.used;
        if listing.valid_until_s <= now_s {
            return Err(Error::OfferInactive { offer });
        }
        if free == 0 {
            return Err(Error::OfferFull { offer });
        }
        if book.class != listing.class || listing.book_mask >> book.bits() & 1 == 0 {
            return Err(Error::BookNotServed { offer, book });
        }
        Ok(Search { offer, book, min_tick: min_tick.max(listing.reserve_tick), free })
    }

    /// `_match`.
    fn match_one(&mut self, now_s: u64, search: &Search, expected: Option<AgreementId>) -> Option<AgreementId> {
        for dead in 0..=MAX_DEAD {
            let queue = self.books.get_mut(&search.book)?;
            let tick = queue.best(search.min_tick, u8::MAX)?;
            let id = AgreementId::new(search.book, tick, queue.level(tick).head);
            let open = self.agreements.get_mut(&id).filter(|agreement| agreement.status == Status::Open);
            match open {
                Some(agreement) if now_s < agreement.expiry_s => {
                    if expected.is_some_and(|expected| expected != id) {
                        return None;
                    }
                    agreement.status = Status::Confirmed;
                    agreement.offer = search.offer;
                    agreement.deadline_s = now_s + self.clocks.start_deadline_s;
                    queue.pop(tick);
                    return Some(id);
                }
                _ if dead == MAX_DEAD => return None,
                Some(_) => {
                    queue.pop(tick);
                    self.remove(id, Status::Expired);
                }
                None => queue.skip(tick),
            }
        }
        None
    }

    /// Whether the countersignature is valid; if so the rental runs.
    fn try_start(&mut self, now_s: u64, caller: Address, item: &StartItem) -> Result<bool, Error> {
        let (agreement, provider) = self.supplied(now_s, caller, item.id, Status::Confirmed)?;
        let Some(signer) = item.signer else { return Ok(false) };
        let wallet = self.wallet(self.key_account(agreement.agent).wallet);
        if !wallet.is_some_and(|wallet| wallet.may_start(now_s, agreement.agent, signer, provider)) {
            return Ok(false);
        }
        let deadline_s = now_s + u64::from(agreement.max_duration_s) + self.clocks.submit_grace_s;
        self.update(item.id, |agreement| {
            agreement.status = Status::Running;
            agreement.start_or_billable_s = now_s;
            agreement.deadline_s = deadline_s;
        });
        Ok(true)
    }

    /// Undoes what `act` did to `ids`, the only thing it changes, when it fails midway.
    fn all_or_none(
        &mut self,
        ids: impl Iterator<Item = AgreementId>,
        act: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let before: Vec<_> = ids.filter_map(|id| Some((id, *self.agreement(id)?))).collect();
        act(self).inspect_err(|_| self.agreements.extend(before))
    }
}
