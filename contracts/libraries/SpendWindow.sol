// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice What was spent in the last 24 hours or a little more, in one storage slot.
/// @dev Seven 32-bit lanes of 2^14 s each, newest in the lowest bits, and above them the number of the newest lane.
/// 24 h touch at most seven lanes, so that an amount counts for at least 24 h and for less than 7 × 2^14 s (31.9 h).
/// Amounts are in the caller's units; a lane saturates, which is safe while no limit exceeds a lane.
library SpendWindow {
    uint256 internal constant LANE_SECONDS_LOG2 = 14;
    uint256 internal constant LANE_MAX = type(uint32).max;
    uint256 private constant LANES_MASK = (1 << 224) - 1;
    uint256 private constant PAIRS = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;

    /// @notice The window as of `timestamp` (Unix s): lanes that fell out are gone.
    function roll(uint256 window, uint256 timestamp) internal pure returns (uint256) {
        uint256 last = window >> 224;
        uint256 lane = timestamp >> LANE_SECONDS_LOG2;
        if (lane <= last) return window;
        uint256 steps = lane - last;
        uint256 lanes = steps < 7 ? (window << (steps * 32)) & LANES_MASK : 0;
        return lane << 224 | lanes;
    }

    /// @notice Units that count against a limit at `timestamp`.
    function sum(uint256 window, uint256 timestamp) internal pure returns (uint256 total) {
        uint256 lanes = roll(window, timestamp) & LANES_MASK;
        unchecked {
            // Seven lanes in four pairs, each pair in 64 bits, then two times two.
            total = (lanes & PAIRS) + (lanes >> 32 & PAIRS);
            total += total >> 128;
            total = (total + (total >> 64)) & type(uint64).max;
        }
    }

    /// @notice Adds `units` spent at `timestamp`.
    function add(uint256 window, uint256 timestamp, uint256 units) internal pure returns (uint256) {
        uint256 rolled = roll(window, timestamp);
        uint256 room = LANE_MAX - (rolled & LANE_MAX);
        return rolled + (units < room ? units : room);
    }
}
