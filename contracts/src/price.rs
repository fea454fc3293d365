//! Ticks and prices, equal to the market's own arithmetic to the last unit.
//!
//! A price is token units per second × 1e18; tick `t` costs `base × 1.02^t`. The power is the product of eight constants
//! in Q96, each step rounded down, exactly as in `libraries/Price.sol`.

use alloy::primitives::{U256, U512};

/// Number of ticks of a book.
pub const TICKS: u16 = 256;
/// Scale of a price.
pub const PRICE_SCALE: u128 = 1_000_000_000_000_000_000;

/// floor(1.02^(2^k) × 2^96) for k = 0..8, derived exactly: 1.02 = 51/50.
fn factor(bit: u32) -> U256 {
    let exponent = 1u64 << bit;
    let mut numerator = Wide::from(1u64);
    let mut denominator = Wide::from(1u64);
    for _ in 0..exponent {
        numerator *= Wide::from(51u64);
        denominator *= Wide::from(50u64);
    }
    U256::from((numerator << 96) / denominator)
}

/// Wide enough for 51^128 × 2^96.
type Wide = alloy::primitives::Uint<1024, 16>;

/// 1.02^tick in Q96.
fn growth(tick: u8) -> U256 {
    static FACTORS: std::sync::LazyLock<[U256; 8]> =
        std::sync::LazyLock::new(|| std::array::from_fn(|bit| factor(bit as u32)));
    let mut power = U256::from(1) << 96;
    for (bit, factor) in FACTORS.iter().enumerate() {
        if tick >> bit & 1 == 1 {
            power = (power * factor) >> 96;
        }
    }
    power
}

/// Price at `tick` for a class whose tick-0 price is `base`; `None` if it does not fit 128 bits.
pub fn price_at(base: u128, tick: u8) -> Option<u128> {
    let wide: U512 = U256::from(base).widening_mul(growth(tick));
    u128::try_from(wide >> 96).ok()
}

/// What `seconds` cost: ceil(price × seconds / 1e18) token units; `None` if it does not fit 96 bits. Escrow, gross pay and
/// bonds all follow from it.
pub fn cost_of(price: u128, seconds: u32) -> Option<u128> {
    let total = U256::from(price) * U256::from(seconds);
    let units = total.div_ceil(U256::from(PRICE_SCALE));
    u128::try_from(units).ok().filter(|units| units >> 96 == 0)
}

/// Highest tick whose price is at most `price`; `None` if even tick 0 costs more.
pub fn tick_at_most(base: u128, price: u128) -> Option<u8> {
    (0..=u8::MAX).rev().find(|tick| price_at(base, *tick).is_some_and(|at| at <= price))
}

/// Tick-0 price of a class whose reference price is `reference` token units per hour. The reference sits ten times
/// above the base, so that a book reaches from a tenth to fifteen times of it.
pub fn base_from_reference(reference_per_hour: u128) -> Option<u128> {
    u128::try_from(U256::from(reference_per_hour) * U256::from(PRICE_SCALE) / U256::from(36_000u64)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_tick_costs_more_than_the_one_below() {
        // A six-decimal token at 0.01 per hour: the coarsest unit we promise.
        let base = base_from_reference(10_000).unwrap();
        for tick in 1..=u8::MAX {
            assert!(price_at(base, tick) > price_at(base, tick - 1), "tick {tick}");
        }
    }

    #[test]
    fn growth_is_two_percent_a_tick() {
        let ratio = price_at(1 << 80, 35).unwrap() as f64 / (1u128 << 80) as f64;
        assert!((ratio - 1.02f64.powi(35)).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn ticks_are_found_again() {
        let base = base_from_reference(50_000_000_000_000_000).unwrap();
        for tick in [0, 1, 116, 255] {
            assert_eq!(tick_at_most(base, price_at(base, tick).unwrap()), Some(tick));
        }
        assert_eq!(tick_at_most(base, base - 1), None);
    }

    #[test]
    fn costs_round_up_and_stay_in_bounds() {
        assert_eq!(cost_of(PRICE_SCALE / 2, 3), Some(2));
        assert_eq!(cost_of(u128::MAX, u32::MAX), None);
    }
}
