//! Bid strategies: synchronous functions of what the market shows and how urgent the work is. One file each.

pub mod patient_book;

/// What a strategy may look at when it prices one piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// Lowest reserve tick among open offers of the book that have a free slot now, which no bid ahead will take.
    pub free_floor: Option<u8>,
    /// Lowest reserve tick among all open offers of the book.
    pub floor: Option<u8>,
    /// Best tick waiting in the queue with no free slot to go to.
    pub best_waiting: Option<u8>,
    /// Bids waiting so.
    pub depth: u64,
    /// Recent winning ticks, newest first.
    pub recent: Vec<u8>,
    /// Highest tick that the user, the key and the wallet allow.
    pub max_tick: u8,
    /// How much of the time to the deadline is gone: 0 at the start, 1 at the deadline.
    pub elapsed: f64,
}

/// What to do with one piece of work now, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Bid at this tick.
    Bid {
        /// Price tick.
        tick: u8,
        /// For the journal and the user.
        why: String,
    },
    /// Look again at the next event.
    Wait {
        /// For the journal and the user.
        why: String,
    },
}
