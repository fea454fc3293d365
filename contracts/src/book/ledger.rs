//! The limit law of one spender, be it a key or a wallet (`Ledgers.sol`), and its rolling window (`SpendWindow.sol`).

use alloy::primitives::{Address, U256};

use super::error::Error;

/// log2 of a lane's seconds.
const LANE_SECONDS_LOG2: u32 = 14;
const LANES: usize = 7;

/// What was spent in the last 24 hours or a little more: seven lanes of 2^14 s, newest first, in units of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    newest: u64,
    lanes: [u32; LANES],
}

impl Window {
    /// The window as of `now_s`: lanes that fell out are gone.
    #[must_use]
    fn rolled(self, now_s: u64) -> Self {
        let lane = now_s >> LANE_SECONDS_LOG2;
        if lane <= self.newest {
            return self;
        }
        let steps = usize::try_from(lane - self.newest).unwrap_or(LANES).min(LANES);
        let mut lanes = [0; LANES];
        lanes[steps..].copy_from_slice(&self.lanes[..LANES - steps]);
        Self { newest: lane, lanes }
    }

    /// Units that count against a limit at `now_s`.
    pub fn sum(self, now_s: u64) -> u128 {
        self.rolled(now_s).lanes.iter().copied().map(u128::from).sum()
    }

    /// With `units` spent at `now_s`; a lane saturates.
    #[must_use]
    pub fn plus(self, now_s: u64, units: u128) -> Self {
        let mut window = self.rolled(now_s);
        window.lanes[0] = window.lanes[0].saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
        window
    }

    /// The storage word: number of the newest lane above 224 bits of lanes.
    pub fn to_word(self) -> U256 {
        let lanes = self.lanes.iter().rev().fold(U256::ZERO, |word, lane| word << 32 | U256::from(*lane));
        U256::from(self.newest) << 224 | lanes
    }
}

/// Limits in units (rounded down), amounts in token units (exact).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Held for live bids, and for ended ones not counted yet.
    pub reserved: u128,
    /// Spent for ever.
    pub spent: u128,
    /// Limit on spent + reserved, units.
    pub lifetime_units: u64,
    /// Limit on the window + reserved, units.
    pub daily_units: u32,
    /// What was spent lately.
    pub window: Window,
}

impl Ledger {
    /// Ends reservations, of which `spent` was spent and `released` was not; then reserves `amount`. Without an amount it
    /// never fails. `unit` is token units per unit of a limit.
    pub(super) fn updated(
        self,
        now_s: u64,
        spender: Address,
        amount: u128,
        spent: u128,
        released: u128,
        unit: u128,
    ) -> Result<Self, Error> {
        let mut next = self;
        next.reserved = self.reserved - spent - released + amount;
        next.spent += spent;
        if spent != 0 {
            next.window = self.window.plus(now_s, spent.div_ceil(unit));
        }
        if amount != 0 {
            let limit = u128::from(self.daily_units) * unit;
            let wanted = next.reserved + next.window.sum(now_s) * unit;
            if wanted > limit {
                return Err(Error::DailyLimitExceeded { spender, wanted, limit });
            }
            let limit = u128::from(self.lifetime_units) * unit;
            let wanted = next.reserved + next.spent;
            if wanted > limit {
                return Err(Error::LifetimeLimitExceeded { spender, wanted, limit });
            }
        }
        Ok(next)
    }

    /// Token units that could be reserved now, once `spent` and `released` are counted.
    pub fn room(&self, now_s: u64, spent: u128, released: u128, unit: u128) -> u128 {
        let held = self.reserved - spent - released;
        let in_window = (self.window.sum(now_s) + spent.div_ceil(unit)) * unit;
        let by_day = (u128::from(self.daily_units) * unit).saturating_sub(held + in_window);
        let for_ever = (u128::from(self.lifetime_units) * unit).saturating_sub(held + self.spent + spent);
        by_day.min(for_ever)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LANE_S: u64 = 1 << LANE_SECONDS_LOG2;
    const DAY_S: u64 = 86_400;

    #[test]
    fn an_amount_counts_for_a_day_and_less_than_seven_lanes() {
        for offset in [0, 1, LANE_S - 1] {
            let spent_s = 1_700_000_000 / LANE_S * LANE_S + offset;
            let window = Window::default().plus(spent_s, 5);
            assert_eq!(window.sum(spent_s + DAY_S), 5, "{offset}");
            assert_eq!(window.sum(spent_s + 7 * LANE_S), 0, "{offset}");
        }
    }

    #[test]
    fn a_lane_saturates_and_the_word_is_the_contracts() {
        let window = Window::default().plus(LANE_S, 7).plus(2 * LANE_S, u128::MAX).plus(2 * LANE_S, 1);
        let expected = U256::from(2u64) << 224 | U256::from(7u64) << 32 | U256::from(u32::MAX);
        assert_eq!(window.to_word(), expected);
    }

    #[test]
    fn reservations_and_spending_share_the_limits() {
        let spender = Address::repeat_byte(1);
        let ledger = Ledger { daily_units: 10, lifetime_units: 12, ..Default::default() };
        let held = ledger.updated(0, spender, 60, 0, 0, 10).unwrap();
        assert_eq!(held.room(0, 0, 0, 10), 40);
        // 55 of the 60 were spent: six units of the window, rounded against the spender.
        assert_eq!(held.room(0, 55, 5, 10), 40);
        let error = held.updated(0, spender, 41, 55, 5, 10).unwrap_err();
        assert_eq!(error, Error::DailyLimitExceeded { spender, wanted: 101, limit: 100 });
        let spent = held.updated(0, spender, 0, 55, 5, 10).unwrap();
        assert_eq!((spent.reserved, spent.spent), (0, 55));
        let error = spent.updated(7 * LANE_S, spender, 66, 0, 0, 10).unwrap_err();
        assert_eq!(error, Error::LifetimeLimitExceeded { spender, wanted: 121, limit: 120 });
        assert!(spent.updated(7 * LANE_S, spender, 65, 0, 0, 10).is_ok());
    }
}
