// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Offer, Status} from "../../contracts/interfaces/Types.sol";

contract DeclineTest is Base {
    function test_RefundsTheEscrowForAPartOfTheBond() external {
        uint96 id = matched();
        uint96 held = escrow(TICK, DURATION);
        uint96 fee = (escrow(TICK, timing.minBilled) + 1) / 2;
        uint96 rest = bond() - fee;
        vm.expectEmit();
        emit IAIPowerRental.AgreementDeclined(id, fee);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, 0, 0, held, 0, fee);
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, SLOTS - 1, 0, uint40(block.timestamp + 30 days), true, rest);
        vm.expectEmit();
        emit IAIPowerRental.Credited(BURNED, uint96(uint256(fee) * 9 / 10));
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, fee - uint96(uint256(fee) * 9 / 10));
        vm.expectEmit();
        emit IAIPowerRental.AgreementCancelled(id, Status.Cancelled);
        vm.prank(operator);
        market.decline(id);

        assertEq(market.agreement(id).paid, 0);
        assertEq(keyCredit(), held);
        assertEq(market.creditOf(provider), rest);
        Offer memory o = market.offer(offerId);
        assertEq(o.slots, SLOTS - 1);
        assertEq(o.used, 0);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), 0);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96 id = matched();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.decline(id);
    }

    function test_RevertGiven_NotConfirmed() external {
        uint96 id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Running));
        vm.prank(provider);
        market.decline(id);
    }

    function test_RevertGiven_DeadlinePassed() external {
        uint96 id = matched();
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        uint256 state = vm.snapshotState();
        vm.warp(deadline - 1);
        vm.prank(provider);
        market.decline(id);
        vm.revertToState(state);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        vm.prank(provider);
        market.decline(id);
    }

    /// @dev An agreement without an offer has no operator to be.
    function test_RevertGiven_Open() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Open));
        market.decline(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, 5, Status.None));
        market.decline(5);
    }
}
