//! Which slots are free for the next bid: those of open offers, less those that bids ahead of it will take.
//!
//! A bid and its match are a block or more apart, and several bids can be under way at once. What waits in a book and finds a
//! free slot there is as good as served; only what is left over makes a queue.

use contracts::ids::BookId;
use indexer::rows::OfferRow;

/// Slots of one class that nobody has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeSlots(Vec<Free>);

/// Those of one offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    book_mask: u8,
    reserve_tick: u8,
    slots: u16,
    /// Whether the agent would rather not rent from its provider.
    avoided: bool,
}

impl Free {
    fn serves(&self, book: BookId) -> bool {
        self.slots > 0 && self.book_mask >> book.bits() & 1 == 1
    }
}

impl FreeSlots {
    /// Of open offers of one class; `avoided` says whom the agent would rather not rent from.
    pub fn of(offers: &[OfferRow], avoided: impl Fn(&OfferRow) -> bool) -> Self {
        let free = offers.iter().filter(|offer| offer.used < offer.slots).map(|offer| Free {
            book_mask: offer.book_mask,
            reserve_tick: offer.reserve_tick,
            slots: offer.slots - offer.used,
            avoided: avoided(offer),
        });
        Self(free.collect())
    }

    /// Lowest reserve at which `book` is served now.
    pub fn floor(&self, book: BookId) -> Option<u8> {
        self.0.iter().filter(|free| free.serves(book)).map(|free| free.reserve_tick).min()
    }

    /// The same, without those that the agent avoids.
    pub fn liked_floor(&self, book: BookId) -> Option<u8> {
        self.0.iter().filter(|free| free.serves(book) && !free.avoided).map(|free| free.reserve_tick).min()
    }

    /// Takes the slot that a bid at `tick` counts on: the dearest that it can pay for, since it would have bid less for another.
    /// False when there is none.
    pub fn claim(&mut self, book: BookId, tick: u8) -> bool {
        let within = self.0.iter_mut().filter(|free| free.serves(book) && free.reserve_tick <= tick);
        match within.max_by_key(|free| (!free.avoided, free.reserve_tick)) {
            Some(free) => {
                free.slots -= 1;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloy::primitives::Address;
    use contracts::units::Amount;

    use super::*;

    pub(crate) const SHORT: BookId = BookId { class: 1, bucket: 0, preemptible: false };
    pub(crate) const LONG: BookId = BookId { class: 1, bucket: 1, preemptible: false };

    pub(crate) fn offer(books: &[BookId], reserve_tick: u8, slots: u16, used: u16) -> OfferRow {
        OfferRow {
            id: 1,
            provider: Address::repeat_byte(reserve_tick),
            class: 1,
            book_mask: books.iter().fold(0, |mask, book| mask | 1 << book.bits()),
            slots,
            used,
            reserve_tick,
            bond_per_slot: Amount(1),
            valid_until_s: u64::MAX,
            active: true,
            posted_block: 1,
            updated_block: 1,
        }
    }

    #[test]
    fn a_slot_is_claimed_once_whichever_book_it_is_claimed_for() {
        let mut slots = FreeSlots::of(&[offer(&[SHORT, LONG], 80, 3, 2), offer(&[SHORT], 90, 1, 0)], |_| false);
        assert_eq!((slots.floor(SHORT), slots.floor(LONG)), (Some(80), Some(80)));
        assert!(!slots.claim(LONG, 79) && slots.claim(LONG, 95));
        assert_eq!((slots.floor(SHORT), slots.floor(LONG)), (Some(90), None));
        assert!(!slots.claim(LONG, 255) && slots.claim(SHORT, 90) && !slots.claim(SHORT, 255));
    }

    #[test]
    fn a_bid_counts_on_the_dearest_slot_that_it_pays_for_and_on_those_that_are_liked_first() {
        let offers = [offer(&[SHORT], 80, 1, 0), offer(&[SHORT], 85, 1, 0), offer(&[SHORT], 90, 1, 0)];
        let mut slots = FreeSlots::of(&offers, |offer| offer.reserve_tick == 85);
        assert!(slots.claim(SHORT, 88), "the one at 80, which is liked");
        assert_eq!((slots.floor(SHORT), slots.liked_floor(SHORT)), (Some(85), Some(90)));
        assert!(slots.claim(SHORT, 88));
        assert_eq!((slots.floor(SHORT), slots.liked_floor(SHORT)), (Some(90), Some(90)));
    }
}
