// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Status} from "../interfaces/Types.sol";

/// @notice The second storage slot of an agreement, zero until it is matched; until then its status is the head's.
/// @dev From the lowest bit: offerId 64, startOrBillable 40, deadline 40, paid 96, status 8, flags 8. A word and not a
/// struct, because the compiler spends a tenth of the market's size on packing and checking one.
type Rental is uint256;

using Rentals for Rental global;

/// @notice Packs and reads `Rental`. Callers keep every value within its bits.
library Rentals {
    uint256 internal constant HAS_RECEIPTS = 1;
    uint256 internal constant PREEMPTED = 2;
    uint256 internal constant DEPOSIT_COUNTED = 4;
    uint256 internal constant CANCELLED = 8;

    uint256 private constant MASK40 = (1 << 40) - 1;
    uint256 private constant MASK96 = (1 << 96) - 1;

    /// @notice A rental as its match leaves it.
    function confirmed(uint256 offerId_, uint256 deadline_) internal pure returns (Rental) {
        return Rental.wrap(offerId_ | deadline_ << 104 | uint256(uint8(Status.Confirmed)) << 240);
    }

    function offerId(Rental self) internal pure returns (uint256) {
        return uint64(Rental.unwrap(self));
    }

    function startOrBillable(Rental self) internal pure returns (uint256) {
        return Rental.unwrap(self) >> 64 & MASK40;
    }

    function deadline(Rental self) internal pure returns (uint256) {
        return Rental.unwrap(self) >> 104 & MASK40;
    }

    function paid(Rental self) internal pure returns (uint256) {
        return Rental.unwrap(self) >> 144 & MASK96;
    }

    function status(Rental self) internal pure returns (Status) {
        return Status(uint8(Rental.unwrap(self) >> 240));
    }

    /// @dev Cheaper than comparing `status`, which checks the enum's range.
    function isIn(Rental self, Status status_) internal pure returns (bool) {
        return uint8(Rental.unwrap(self) >> 240) == uint8(status_);
    }

    function flags(Rental self) internal pure returns (uint256) {
        return Rental.unwrap(self) >> 248;
    }

    function has(Rental self, uint256 flag) internal pure returns (bool) {
        return flags(self) & flag != 0;
    }

    /// @notice The next state with its clocks and `flags_` added.
    function moved(Rental self, Status status_, uint256 startOrBillable_, uint256 deadline_, uint256 flags_)
        internal
        pure
        returns (Rental)
    {
        uint256 kept = Rental.unwrap(self) & (uint256(0xff) << 248 | type(uint64).max);
        return
            Rental.wrap(
                kept | startOrBillable_ << 64 | deadline_ << 104 | uint256(uint8(status_)) << 240 | flags_ << 248
            );
    }

    /// @notice The end, with what was taken from escrow; the clocks stay as they were.
    function closed(Rental self, Status status_, uint256 paid_) internal pure returns (Rental) {
        uint256 kept = Rental.unwrap(self) & ~(MASK96 << 144 | uint256(0xff) << 240);
        return Rental.wrap(kept | paid_ << 144 | uint256(uint8(status_)) << 240);
    }
}
