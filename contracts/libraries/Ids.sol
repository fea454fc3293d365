// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice The shape of agreement ids and book numbers.
/// @dev id = class 8 | bucket and pre-emptible flag 8 | tick 8 | sequence 64; book = the first two of these.
/// The id is thus the place in the queue, and no id is zero because classes start at 1.
library Ids {
    uint8 internal constant MAX_CLASS = 31;
    uint24 internal constant MAX_DURATION = 86_400;

    function bookFor(uint8 class_, bool preemptible, uint24 maxDuration) internal pure returns (uint16) {
        return uint16(class_) << 8 | uint16(bucketOf(maxDuration)) << 1 | (preemptible ? 1 : 0);
    }

    function bucketOf(uint24 maxDuration) internal pure returns (uint8) {
        if (maxDuration <= 600) return 0;
        if (maxDuration <= 3600) return 1;
        if (maxDuration <= 21_600) return 2;
        return 3;
    }

    function make(uint16 book_, uint8 tick_, uint64 sequence) internal pure returns (uint96) {
        return uint96(book_) << 72 | uint96(tick_) << 64 | sequence;
    }

    function book(uint96 id) internal pure returns (uint16) {
        return uint16(id >> 72);
    }

    function cls(uint96 id) internal pure returns (uint8) {
        return uint8(id >> 80);
    }

    function tick(uint96 id) internal pure returns (uint8) {
        return uint8(id >> 64);
    }

    function isPreemptible(uint96 id) internal pure returns (bool) {
        return (id >> 72) & 1 == 1;
    }
}
