//! One book: 256 price levels, each a FIFO queue, and a bitmap of those that hold an open bid (`Books.sol`).

use alloy::primitives::U256;

/// Sequences [head, tail) of one tick, of which `live` are open bids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// First sequence that may be open.
    pub head: u64,
    /// Sequence of the next bid.
    pub tail: u64,
    /// Open bids.
    pub live: u64,
}

/// A book. The bit of a tick is set exactly when its level has live bids; without any, head is tail.
#[derive(Clone, Debug)]
pub struct Book {
    bitmap: [u64; 4],
    levels: Box<[Level; 256]>,
}

impl Default for Book {
    fn default() -> Self {
        Self { bitmap: [0; 4], levels: Box::new([Level::default(); 256]) }
    }
}

impl Book {
    /// Appends a bid; its place in the queue.
    pub(super) fn push(&mut self, tick: u8) -> u64 {
        let level = &mut self.levels[usize::from(tick)];
        let sequence = level.tail;
        level.tail += 1;
        level.live += 1;
        self.bitmap[usize::from(tick >> 6)] |= 1 << (tick & 63);
        sequence
    }

    /// Takes the live bid at the head out.
    pub(super) fn pop(&mut self, tick: u8) {
        self.levels[usize::from(tick)].head += 1;
        self.drop(tick);
    }

    /// Counts out a live bid anywhere in the queue; the last one out sweeps every gap.
    pub(super) fn drop(&mut self, tick: u8) {
        let level = &mut self.levels[usize::from(tick)];
        level.live -= 1;
        if level.live == 0 {
            level.head = level.tail;
            self.bitmap[usize::from(tick >> 6)] &= !(1 << (tick & 63));
        }
    }

    /// Steps over a gap at the head.
    pub(super) fn skip(&mut self, tick: u8) {
        self.levels[usize::from(tick)].head += 1;
    }

    /// Highest tick in [`min_tick`, `max_tick`] that holds an open bid.
    pub fn best(&self, min_tick: u8, max_tick: u8) -> Option<u8> {
        for word in (usize::from(min_tick >> 6)..=usize::from(max_tick >> 6)).rev() {
            let mut bits = self.bitmap[word];
            if word == usize::from(max_tick >> 6) {
                bits &= u64::MAX >> (63 - (max_tick & 63));
            }
            if word == usize::from(min_tick >> 6) {
                bits &= u64::MAX << (min_tick & 63);
            }
            if bits != 0 {
                return Some((word as u8) << 6 | (63 - bits.leading_zeros()) as u8);
            }
        }
        None
    }

    /// The level of `tick`.
    pub fn level(&self, tick: u8) -> Level {
        self.levels[usize::from(tick)]
    }

    /// Bit n: tick n holds an open bid.
    pub fn bitmap(&self) -> U256 {
        U256::from_limbs(self.bitmap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_tick_lies_within_its_bounds() {
        let mut book = Book::default();
        for tick in [0, 63, 64, 200, 255] {
            book.push(tick);
        }
        for (min, max, best) in [
            (0, 255, Some(255)),
            (0, 254, Some(200)),
            (65, 199, None),
            (64, 64, Some(64)),
            (0, 63, Some(63)),
            (1, 62, None),
        ] {
            assert_eq!(book.best(min, max), best, "{min}..={max}");
        }
    }

    #[test]
    fn the_last_one_out_sweeps_the_gaps() {
        let mut book = Book::default();
        assert_eq!((book.push(7), book.push(7), book.push(7)), (0, 1, 2));
        book.drop(7);
        book.pop(7);
        assert_eq!(book.level(7), Level { head: 1, tail: 3, live: 1 });
        book.skip(7);
        book.drop(7);
        assert_eq!(book.level(7), Level { head: 3, tail: 3, live: 0 });
        assert_eq!(book.bitmap(), U256::ZERO);
        assert_eq!(book.push(7), 3);
    }
}
