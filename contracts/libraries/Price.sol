// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice Prices of ticks: base × 1.02^tick, in token units per second × 1e18.
/// @dev r = 2^96; for every set bit k of the tick, lowest first, r = r × FACTORk >> 96; price = base × r >> 96.
library Price {
    /// @dev FACTORk = floor(1.02^(2^k) × 2^96).
    uint256 private constant FACTOR0 = 80812725764549624345414829342;
    uint256 private constant FACTOR1 = 82428980279840616832323125929;
    uint256 private constant FACTOR2 = 85759111083146177752348980217;
    uint256 private constant FACTOR3 = 92828419849409856780219051730;
    uint256 private constant FACTOR4 = 108763288940177978078420930166;
    uint256 private constant FACTOR5 = 149308688295716207610359189854;
    uint256 private constant FACTOR6 = 281378283846651968136255703355;
    uint256 private constant FACTOR7 = 999313073886227070516307415030;

    /// @notice Price of `tick` over `base` (below 2^128), both in token units per second × 1e18, rounded down.
    function ofTick(uint256 base, uint256 tick) internal pure returns (uint256) {
        uint256 r = 1 << 96;
        unchecked {
            // r stays below 157 × 2^96, so that no product reaches 2^233.
            if (tick & 1 != 0) r = r * FACTOR0 >> 96;
            if (tick & 2 != 0) r = r * FACTOR1 >> 96;
            if (tick & 4 != 0) r = r * FACTOR2 >> 96;
            if (tick & 8 != 0) r = r * FACTOR3 >> 96;
            if (tick & 16 != 0) r = r * FACTOR4 >> 96;
            if (tick & 32 != 0) r = r * FACTOR5 >> 96;
            if (tick & 64 != 0) r = r * FACTOR6 >> 96;
            if (tick & 128 != 0) r = r * FACTOR7 >> 96;
            return base * r >> 96;
        }
    }

    /// @notice Token units for `duration` seconds, rounded up.
    /// @dev Below 2^96 for prices below 2^128 and durations below 2^24.
    function cost(uint256 price, uint256 duration) internal pure returns (uint256) {
        unchecked {
            // At most 128 + 24 bits.
            return (price * duration + 1e18 - 1) / 1e18;
        }
    }
}
