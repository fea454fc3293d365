//! The market as the next bid will find it: as the index shows it, less what the bids before it in the same look take.

use std::collections::BTreeMap;

use contracts::{ids::BookId, units::Amount};

use crate::market::{AgentView, BookView, Funds, slots::FreeSlots};

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    books: BTreeMap<(u8, u8), BookView>,
    slots: BTreeMap<u8, FreeSlots>,
    /// What is left to bid with; `None` while that is not known.
    pub(super) funds: Option<Funds>,
}

impl Outlook {
    /// Before the first bid.
    pub(super) fn of(view: &AgentView) -> Self {
        Self { books: view.books.clone(), slots: view.slots.clone(), funds: view.funds }
    }

    /// A firm book.
    pub(super) fn book(&self, class: u8, bucket: u8) -> Option<(BookId, &BookView)> {
        let view = self.books.get(&(class, bucket))?;
        Some((BookId { class, bucket, preemptible: false }, view))
    }

    /// Lowest reserve of a slot that is free for the next bid.
    pub(super) fn free_floor(&self, book: BookId) -> Option<u8> {
        self.slots.get(&book.class)?.floor(book)
    }

    /// The same, without the providers that the agent avoids.
    pub(super) fn liked_floor(&self, book: BookId) -> Option<u8> {
        self.slots.get(&book.class)?.liked_floor(book)
    }

    /// Reckons with a bid that is about to be placed. If it has to wait, the next one waits behind it: the agent does not outbid
    /// itself.
    pub(super) fn place(&mut self, book: BookId, tick: u8, escrow: Amount) {
        if let Some(funds) = &mut self.funds {
            // Credit is used before tokens.
            let of_credit = escrow.min(funds.credit);
            funds.credit = Amount(funds.credit.0 - of_credit.0);
            funds.tokens = Amount(funds.tokens.0.saturating_sub(escrow.0 - of_credit.0));
            funds.available = Amount(funds.available.0.saturating_sub(escrow.0));
        }
        let is_served = self.slots.get_mut(&book.class).is_some_and(|slots| slots.claim(book, tick));
        if !is_served && let Some(view) = self.books.get_mut(&(book.class, book.bucket)) {
            view.depth += 1;
        }
    }
}
