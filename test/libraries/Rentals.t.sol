// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Status} from "../../contracts/interfaces/Types.sol";
import {Rental, Rentals} from "../../contracts/libraries/Rentals.sol";

contract RentalsTest is Test {
    /// @dev Every word with a valid status takes part, so that no field is zero by chance.
    function anyRental(uint256 word, uint8 status) private pure returns (Rental) {
        return Rental.wrap(word & ~(uint256(0xff) << 240) | bound(status, 0, 11) << 240);
    }

    /// @dev By another route than the library: shifts from the top instead of masks.
    function field(Rental rental, uint256 offset, uint256 width) private pure returns (uint256) {
        return Rental.unwrap(rental) << (256 - offset - width) >> (256 - width);
    }

    function testFuzz_ReadsEveryField(uint256 word, uint8 status) external pure {
        Rental rental = anyRental(word, status);
        assertEq(rental.offerId(), field(rental, 0, 64));
        assertEq(rental.startOrBillable(), field(rental, 64, 40));
        assertEq(rental.deadline(), field(rental, 104, 40));
        assertEq(rental.paid(), field(rental, 144, 96));
        assertEq(uint8(rental.status()), field(rental, 240, 8));
        assertEq(rental.flags(), field(rental, 248, 8));
        for (uint8 each; each < 12; ++each) {
            assertEq(rental.isIn(Status(each)), each == uint8(rental.status()));
        }
        for (uint256 bit; bit < 8; ++bit) {
            assertEq(rental.has(1 << bit), field(rental, 248 + bit, 1) == 1);
        }
    }

    function testFuzz_ConfirmedHoldsOfferAndDeadlineAlone(uint64 offerId, uint40 deadline) external pure {
        Rental rental = Rentals.confirmed(offerId, deadline);
        assertEq(rental.offerId(), offerId);
        assertEq(rental.deadline(), deadline);
        assertEq(uint8(rental.status()), uint8(Status.Confirmed));
        assertEq(rental.startOrBillable(), 0);
        assertEq(rental.paid(), 0);
        assertEq(rental.flags(), 0);
    }

    /// @dev The clocks are replaced, flags are added, the offer stays.
    function testFuzz_MovedReplacesClocksAndAddsFlags(
        uint256 word,
        uint8 status,
        uint8 next,
        uint40 start,
        uint40 deadline,
        uint8 flags
    ) external pure {
        Rental before = anyRental(word, status);
        Status state = Status(bound(next, 0, 11));
        Rental rental = before.moved(state, start, deadline, flags);
        assertEq(rental.offerId(), before.offerId());
        assertEq(rental.startOrBillable(), start);
        assertEq(rental.deadline(), deadline);
        assertEq(rental.paid(), 0);
        assertEq(uint8(rental.status()), uint8(state));
        assertEq(rental.flags(), before.flags() | flags);
    }

    /// @dev Only status and what was paid change.
    function testFuzz_ClosedChangesStatusAndPaidAlone(uint256 word, uint8 status, uint8 next, uint96 paid)
        external
        pure
    {
        Rental before = anyRental(word, status);
        Status state = Status(bound(next, 0, 11));
        Rental rental = before.closed(state, paid);
        assertEq(rental.offerId(), before.offerId());
        assertEq(rental.startOrBillable(), before.startOrBillable());
        assertEq(rental.deadline(), before.deadline());
        assertEq(rental.paid(), paid);
        assertEq(uint8(rental.status()), uint8(state));
        assertEq(rental.flags(), before.flags());
    }

    /// @dev The numbers of flags are part of the interface.
    function test_FlagsAreDistinctBits() external pure {
        assertEq(Rentals.HAS_RECEIPTS, 1);
        assertEq(Rentals.PREEMPTED, 2);
        assertEq(Rentals.DEPOSIT_COUNTED, 4);
        assertEq(Rentals.CANCELLED, 8);
    }
}
