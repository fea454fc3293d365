//! Which places of the chain's state runs need block after block.
//!
//! Much of what a run reads is of one bid and is never read again: to fetch all of it with every block would cost more than it
//! saves, and endpoints count what they are asked. Hot is what runs of two blocks have needed, while it is needed now and then,
//! and for a few blocks some of what was needed once: the next bid may lie beside the last.

use std::num::NonZeroUsize;

use alloy::primitives::{Address, U256};
use lru::LruCache;

/// Places of each kind that are remembered. The compiler judges the `unwrap`: it cannot fail in a keeper.
const PLACES: NonZeroUsize = NonZeroUsize::new(512).unwrap();
/// A hot place that no run has needed for so many blocks is not fetched until one needs it again.
const KEPT_BLOCKS: u64 = 300;

/// Places that were needed once are hot for so many blocks,
const NEW_BLOCKS: u64 = 8;
/// and so many of them, the newest.
const NEW_PLACES: usize = 64;

/// Something that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Balance, nonce and code.
    Account(Address),
    /// A word of a contract's storage.
    Slot(Address, U256),
}

/// What runs have needed, with the block of the last time. Blocks are counted as they are entered.
#[derive(Debug)]
pub(super) struct Hot {
    block: u64,
    once: LruCache<Place, u64>,
    again: LruCache<Place, u64>,
}

impl Default for Hot {
    fn default() -> Self {
        Self { block: 0, once: LruCache::new(PLACES), again: LruCache::new(PLACES) }
    }
}

impl Hot {
    /// Notes that a run needed `place`.
    pub(super) fn used(&mut self, place: Place) {
        if let Some(last) = self.again.get_mut(&place) {
            *last = self.block;
        } else if *self.once.get_or_insert(place, || self.block) != self.block {
            self.once.pop(&place);
            self.again.put(place, self.block);
        }
    }

    /// Begins a block; gives what to fetch for it.
    pub(super) fn enter(&mut self) -> Vec<Place> {
        self.block += 1;
        let again = self.again.iter().filter(|(_, last)| self.block - **last <= KEPT_BLOCKS);
        let new = self.once.iter().take(NEW_PLACES).filter(|(_, last)| self.block - **last <= NEW_BLOCKS);
        again.chain(new).map(|(place, _)| *place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(at: u64) -> Place {
        Place::Slot(Address::ZERO, U256::from(at))
    }

    #[test]
    fn what_runs_of_two_blocks_need_stays_hot_and_the_rest_cools_soon() {
        let mut hot = Hot::default();
        hot.used(slot(1));
        hot.used(slot(1));
        hot.used(slot(2));
        assert_eq!(hot.enter(), [slot(2), slot(1)]);
        hot.used(slot(1));
        assert_eq!(hot.enter(), [slot(1), slot(2)]);
        for _ in 2..NEW_BLOCKS {
            hot.enter();
        }
        assert_eq!(hot.enter(), [slot(1)]);
    }

    #[test]
    fn what_is_needed_once_does_not_push_out_what_is_needed_always() {
        let mut hot = Hot::default();
        for block in 0..50 {
            hot.used(slot(0));
            for at in 0..100 {
                hot.used(slot(1 + block * 100 + at));
            }
            let fetched = hot.enter();
            assert!(fetched.len() <= 1 + NEW_PLACES, "{fetched:?}");
            assert!(block == 0 || fetched.contains(&slot(0)), "block {block}: {fetched:?}");
        }
        assert!(hot.once.len() <= PLACES.get());
    }

    #[test]
    fn what_is_needed_no_more_cools_down_and_warms_again_at_once() {
        let mut hot = Hot::default();
        hot.used(slot(1));
        hot.enter();
        hot.used(slot(1));
        let blocks = (0..1_000).take_while(|_| !hot.enter().is_empty()).count() as u64;
        assert_eq!(blocks, KEPT_BLOCKS);
        hot.used(slot(1));
        assert_eq!(hot.enter(), [slot(1)]);
    }
}
