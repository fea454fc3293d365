// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Status} from "../interfaces/Types.sol";

/// @notice The first storage slot of an agreement, written when it is placed and once more if it leaves its queue without
/// a match. What a match changes is in the second slot, so that neither matching nor working writes this one.
/// @dev From the lowest bit: agent 160, maxDuration 20, expiry 36, lifetime 20, feeBps 12, status 4, unused 4.
/// `lifetime` is expiry minus the time of placing, which a plain struct would have no room for.
type Head is uint256;

using Heads for Head global;

/// @notice Packs and reads `Head`.
library Heads {
    /// @notice The head of an open bid. Callers keep every value within its bits.
    function open(address agent_, uint256 maxDuration_, uint256 expiry_, uint256 placedAt_, uint256 feeBps_)
        internal
        pure
        returns (Head)
    {
        return Head.wrap(
            uint256(uint160(agent_)) | maxDuration_ << 160 | expiry_ << 180 | (expiry_ - placedAt_) << 216 | feeBps_
                << 236 | uint256(uint8(Status.Open)) << 248
        );
    }

    function agent(Head self) internal pure returns (address) {
        return address(uint160(Head.unwrap(self)));
    }

    function maxDuration(Head self) internal pure returns (uint256) {
        return Head.unwrap(self) >> 160 & 0xfffff;
    }

    function expiry(Head self) internal pure returns (uint256) {
        return Head.unwrap(self) >> 180 & 0xfffffffff;
    }

    function placedAt(Head self) internal pure returns (uint256) {
        unchecked {
            return expiry(self) - (Head.unwrap(self) >> 216 & 0xfffff);
        }
    }

    function feeBps(Head self) internal pure returns (uint256) {
        return Head.unwrap(self) >> 236 & 0xfff;
    }

    function status(Head self) internal pure returns (Status) {
        return Status(uint8(Head.unwrap(self) >> 248));
    }

    /// @dev Cheaper than comparing `status`, which checks the enum's range.
    function isOpen(Head self) internal pure returns (bool) {
        return Head.unwrap(self) >> 248 == uint8(Status.Open);
    }

    function withStatus(Head self, Status status_) internal pure returns (Head) {
        return Head.wrap(Head.unwrap(self) << 8 >> 8 | uint256(uint8(status_)) << 248);
    }
}
