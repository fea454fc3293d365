// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice The shape of agreement ids (uint96 at the surface) and book numbers (uint16).
/// @dev Words inside, small types at the surface: a mask at every use would cost a tenth of the market's size.
///
/// id = class 8 | bucket and pre-emptible flag 8 | tick 8 | sequence 64; book = the first two of these.
/// The id is thus the place in the queue, and no id is zero because classes start at 1.
library Ids {
    uint8 internal constant MAX_CLASS = 31;
    uint24 internal constant MAX_DURATION = 86_400;

    function bookFor(uint256 class_, bool preemptible, uint256 maxDuration) internal pure returns (uint256) {
        return class_ << 8 | bucketOf(maxDuration) << 1 | (preemptible ? 1 : 0);
    }

    function bucketOf(uint256 maxDuration) internal pure returns (uint256) {
        if (maxDuration <= 600) return 0;
        if (maxDuration <= 3600) return 1;
        if (maxDuration <= 21_600) return 2;
        return 3;
    }

    function make(uint256 book_, uint256 tick_, uint256 sequence) internal pure returns (uint256) {
        return book_ << 72 | tick_ << 64 | sequence;
    }

    function book(uint256 id) internal pure returns (uint256) {
        return id >> 72;
    }

    function cls(uint256 id) internal pure returns (uint256) {
        return id >> 80;
    }

    function tick(uint256 id) internal pure returns (uint256) {
        return id >> 64 & 0xff;
    }

    function isPreemptible(uint256 id) internal pure returns (bool) {
        return (id >> 72) & 1 == 1;
    }
}
