// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Status} from "../../contracts/interfaces/Types.sol";
import {Account as Slot, Accounts} from "../../contracts/libraries/Accounts.sol";
import {Head, Heads} from "../../contracts/libraries/Heads.sol";
import {Rental, Rentals} from "../../contracts/libraries/Rentals.sol";

/// @notice Proofs that packed words give back what was put in, and that no field runs into the next.
contract PackingProofs is Test {
    function check_Head(address agent, uint24 duration, uint40 expiry, uint24 lifetime, uint16 fee) external pure {
        if (duration >= 2 ** 20 || expiry >= 2 ** 36 || lifetime >= 2 ** 20 || lifetime > expiry || fee >= 2 ** 12) {
            return;
        }
        Head head = Heads.open(agent, duration, expiry, expiry - lifetime, fee);
        assertEq(head.agent(), agent);
        assertEq(head.maxDuration(), duration);
        assertEq(head.expiry(), expiry);
        assertEq(head.placedAt(), expiry - lifetime);
        assertEq(head.feeBps(), fee);
        assertTrue(head.isOpen());
        Head gone = head.withStatus(Status.Cancelled);
        assertEq(Head.unwrap(gone) << 8, Head.unwrap(head) << 8);
        assertFalse(gone.isOpen());
    }

    function check_Rental(uint64 offer, uint40 deadline, uint40 start, uint40 end, uint96 paid) external pure {
        Rental rental = Rentals.confirmed(offer, deadline);
        assertEq(rental.offerId(), offer);
        assertEq(rental.deadline(), deadline);
        assertTrue(rental.isIn(Status.Confirmed));
        rental = rental.moved(Status.Running, start, end, Rentals.PREEMPTED);
        rental = rental.moved(Status.Disputed, start, end, Rentals.DEPOSIT_COUNTED);
        assertEq(rental.offerId(), offer);
        assertEq(rental.startOrBillable(), start);
        assertEq(rental.deadline(), end);
        assertEq(rental.flags(), Rentals.PREEMPTED | Rentals.DEPOSIT_COUNTED);
        rental = rental.closed(Status.Resolved, paid);
        assertEq(rental.paid(), paid);
        assertEq(rental.offerId(), offer);
        assertEq(rental.startOrBillable(), start);
        assertEq(rental.deadline(), end);
        assertEq(rental.flags(), Rentals.PREEMPTED | Rentals.DEPOSIT_COUNTED);
        assertTrue(rental.isIn(Status.Resolved));
    }

    /// @dev Under the bounds that the library states.
    function check_Account(uint96 credit, uint96 more, uint72 spent, uint72 again, uint72 released, uint72 further)
        external
        pure
    {
        if (uint256(spent) + again >= 1 << 72 || uint256(released) + further >= 1 << 72) return;
        Slot account = Accounts.counted(credit).plus(more, spent, released).plus(0, again, further);
        assertEq(account.credit(), uint256(credit) + more);
        assertEq(account.spent(), uint256(spent) + again);
        assertEq(account.released(), uint256(released) + further);
        assertEq(Slot.unwrap(account) >> 248, 1);
    }
}
