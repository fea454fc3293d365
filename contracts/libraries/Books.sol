// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Level} from "../interfaces/Types.sol";

/// @notice A book: 256 price levels, each a FIFO queue, and a bitmap of the levels that hold an open bid.
/// @dev Invariant: the bit of a tick is set exactly when its level has live > 0, and live == 0 implies head == tail.
library Books {
    struct Book {
        uint256 bitmap;
        mapping(uint256 tick => Level) levels;
    }

    /// @notice Appends a bid; returns its place in the queue.
    function push(Book storage self, uint256 tick) internal returns (uint64 sequence) {
        Level storage level = self.levels[tick];
        sequence = level.tail;
        uint64 live = level.live;
        level.tail = sequence + 1;
        level.live = live + 1;
        if (live == 0) self.bitmap |= 1 << tick;
    }

    /// @notice Takes the live bid at the head out of its queue.
    function pop(Book storage self, uint256 tick) internal {
        self.levels[tick].head += 1;
        drop(self, tick);
    }

    /// @notice Counts out a live bid anywhere in the queue; its place stays behind as a gap.
    function drop(Book storage self, uint256 tick) internal {
        Level storage level = self.levels[tick];
        uint64 live = level.live - 1;
        level.live = live;
        if (live == 0) {
            // Every gap that is left is swept at once.
            level.head = level.tail;
            self.bitmap &= ~(1 << tick);
        }
    }

    /// @notice Steps over a gap at the head of a level that still has live bids.
    function skip(Book storage self, uint256 tick) internal {
        self.levels[tick].head += 1;
    }

    /// @notice Highest tick at or above `minTick` in `bitmap`.
    function best(uint256 bitmap, uint256 minTick) internal pure returns (bool found, uint256 tick) {
        uint256 candidates = bitmap >> minTick << minTick;
        return (candidates != 0, Math.log2(candidates));
    }
}
