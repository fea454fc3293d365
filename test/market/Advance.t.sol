// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {RemovalReason, Status} from "../../contracts/interfaces/Types.sol";

contract AdvanceTest is Base {
    /// @dev One second early must fail, on the second anyone may do it.
    function advanceAt(uint96 id, uint40 deadline, Status expected) private {
        assertEq(uint8(market.effectiveState(id, deadline)), uint8(expected));
        assertEq(uint8(market.effectiveState(id, deadline - 1)), uint8(market.agreement(id).status));
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotYet.selector, id, deadline));
        market.advance(id);
        vm.warp(deadline);
        vm.prank(stranger);
        assertEq(uint8(market.advance(id)), uint8(expected));
        assertStatus(id, expected);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, expected));
        market.advance(id);
        assertEq(uint8(market.effectiveState(id, type(uint40).max)), uint8(expected));
    }

    function test_OpenExpires() external {
        uint96 id = place();
        advanceAt(id, terms().expiry, Status.Expired);
        assertEq(keyCredit(), escrow(TICK, DURATION));
        assertEq(market.bitmap(BOOK()), 0);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
    }

    function test_ConfirmedExpiresAtTheCostOfBothSides() external {
        uint96 id = matched();
        uint96 each = escrow(TICK, timing.minBilled);
        advanceAt(id, market.agreement(id).deadline, Status.Expired);
        uint96 lost = 2 * each;
        assertEq(keyCredit(), escrow(TICK, DURATION) - each);
        assertEq(market.creditOf(provider), bond() - each);
        assertEq(market.creditOf(BURNED), uint256(lost) * 9 / 10);
        assertEq(market.creditOf(treasury), lost - uint256(lost) * 9 / 10);
        assertEq(market.agreement(id).paid, each);
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), each);
        assertEq(market.offer(offerId).slots, SLOTS - 1);
    }

    function test_NoShowTakesNoMoreThanTheBond() external {
        place();
        vm.prank(provider);
        // A bond for tick 0 is smaller than the minimum bill at tick 255 would be.
        offerId = market.postOffer(CLS, 1, 1, 0, escrow0(), uint40(block.timestamp + 1 days));
        vm.prank(provider);
        uint96 id = market.matchBest(offerId, 768, 0, 0);
        skip(timing.startDeadline);
        uint96 each = escrow(TICK, timing.minBilled);
        uint96 perSlot = market.offer(offerId).bondPerSlot;
        vm.expectEmit();
        emit IAIPowerRental.AgreementExpired(id, Status.Expired);
        market.advance(id);
        assertEq(market.agreement(id).paid, each < perSlot ? each : perSlot);
    }

    function escrow0() private view returns (uint96) {
        return uint96((uint256(BASE_PRICE) * timing.bondSeconds + 1e18 - 1) / 1e18);
    }

    function test_RunningFailsAndLosesTheBond() external {
        uint96 id = running();
        advanceAt(id, uint40(block.timestamp) + DURATION + timing.submitGrace, Status.Failed);
        assertEq(keyCredit(), escrow(TICK, DURATION));
        assertEq(market.creditOf(BURNED), uint256(bond()) * 9 / 10);
        assertEq(market.creditOf(provider), 0);
        assertEq(market.agreement(id).paid, 0);
    }

    function test_SubmittedSettles() external {
        uint96 id = submitted();
        advanceAt(id, uint40(block.timestamp) + timing.challengeWindow, Status.Settled);
        assertEq(market.agreement(id).paid, escrow(TICK, 100));
        assertEq(market.offer(offerId).slots, SLOTS);
        assertEq(market.offer(offerId).used, 0);
    }

    function test_DisputedWithReceiptsPaysTheClaim() external {
        uint96 id = disputed();
        uint96 claimed = escrow(TICK, 100);
        advanceAt(id, uint40(block.timestamp) + timing.disputeTimeout, Status.Resolved);
        assertEq(market.agreement(id).paid, claimed);
        // The deposit comes back whatever the default is.
        assertEq(keyCredit(), escrow(TICK, DURATION));
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), claimed);
    }

    function test_DisputedWithoutReceiptsPaysNothing() external {
        uint96 id = running();
        skip(100);
        vm.prank(provider);
        market.submit(id, 100, RESULT, 0);
        vm.prank(agent);
        wallet.dispute(id, 0);
        skip(timing.disputeTimeout);
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, 0, 0, 0, true);
        market.advance(id);
        assertEq(market.agreement(id).paid, 0);
        assertEq(keyCredit(), escrow(TICK, DURATION) + escrow(TICK, 100));
    }

    function test_RevertWhen_AgreementIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, 5, Status.None));
        market.advance(5);
    }
}

contract PruneTest is Base {
    function test_MovesWhatCanMoveAndSkipsTheRest() external {
        uint96[] memory ids = new uint96[](4);
        ids[0] = submitted();
        ids[1] = matched();
        ids[2] = 99;
        ids[3] = place();
        skip(timing.challengeWindow);
        assertEq(market.prune(ids), 2);
        assertStatus(ids[0], Status.Settled);
        assertStatus(ids[1], Status.Expired);
        assertStatus(ids[3], Status.Open);
        assertEq(market.prune(ids), 0);
    }

    function test_FreesABookOfDeadBids() external {
        uint96[] memory ids = new uint96[](20);
        for (uint256 i; i < 20; ++i) {
            ids[i] = place();
        }
        skip(1 days);
        vm.expectEmit();
        emit IAIPowerRental.BidRemoved(ids[0], RemovalReason.Expired, escrow(TICK, DURATION));
        assertEq(market.prune(ids), 20);
        assertEq(market.bitmap(BOOK()), 0);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
    }
}
