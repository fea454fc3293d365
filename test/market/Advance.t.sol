// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, RemovalReason, Status} from "../../contracts/interfaces/Types.sol";

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
        BidTerms memory t = terms();
        t.tick = 200;
        place(t);
        // The bond for tick 0 is smaller than the minimum bill at tick 200.
        vm.prank(provider);
        offerId = market.postOffer(CLS, 1, 1, 0, escrow0(), uint40(block.timestamp + 1 days));
        vm.prank(provider);
        uint96 id = market.matchBest(offerId, 768, 0, 0);
        skip(timing.startDeadline);
        uint96 perSlot = market.offer(offerId).bondPerSlot;
        assertLt(perSlot, escrow(200, timing.minBilled));
        uint96 burned = 2 * perSlot * 9 / 10;
        uint96 refund = escrow(200, DURATION) - perSlot;
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, 0, 0, refund, perSlot, perSlot);
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, 0, 0, uint40(NOW + 1 days), true, 0);
        vm.expectEmit();
        emit IAIPowerRental.Credited(BURNED, burned);
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, 2 * perSlot - burned);
        vm.expectEmit();
        emit IAIPowerRental.AgreementExpired(id, Status.Expired);
        market.advance(id);
        assertEq(market.agreement(id).paid, perSlot);
        assertEq(market.creditOf(provider), 0);
    }

    function escrow0() private view returns (uint96) {
        return uint96((uint256(BASE_PRICE) * timing.bondSeconds + 1e18 - 1) / 1e18);
    }

    function test_RunningFailsAndLosesTheBond() external {
        uint96 id = running();
        uint40 deadline = uint40(block.timestamp) + DURATION + timing.submitGrace;
        uint256 state = vm.snapshotState();
        vm.warp(deadline);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, 0, 0, escrow(TICK, DURATION), 0, bond());
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, SLOTS - 1, 0, uint40(NOW + 30 days), true, 0);
        vm.expectEmit();
        emit IAIPowerRental.Credited(BURNED, bond() * 9 / 10);
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, bond() - bond() * 9 / 10);
        vm.expectEmit();
        emit IAIPowerRental.AgreementExpired(id, Status.Failed);
        market.advance(id);
        vm.revertToState(state);
        advanceAt(id, deadline, Status.Failed);
        assertEq(keyCredit(), escrow(TICK, DURATION));
        assertEq(market.creditOf(BURNED), uint256(bond()) * 9 / 10);
        assertEq(market.creditOf(provider), 0);
        assertEq(market.agreement(id).paid, 0);
    }

    function test_SubmittedSettles() external {
        uint96 id = submitted();
        uint96 gross = escrow(TICK, 100);
        uint40 deadline = uint40(block.timestamp) + timing.challengeWindow;
        uint256 state = vm.snapshotState();
        vm.warp(deadline);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(
            id, provider, gross - feeOf(gross), feeOf(gross), escrow(TICK, DURATION) - gross, 0, 0
        );
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Settled);
        vm.recordLogs();
        market.advance(id);
        assertEq(vm.getRecordedLogs().length, 2);
        vm.revertToState(state);
        advanceAt(id, deadline, Status.Settled);
        assertEq(market.agreement(id).paid, gross);
        assertEq(market.creditOf(provider), gross - feeOf(gross));
        assertEq(market.creditOf(treasury), feeOf(gross));
        assertEq(market.offer(offerId).slots, SLOTS);
        assertEq(market.offer(offerId).used, 0);
    }

    function test_DisputedWithReceiptsPaysTheClaim() external {
        uint96 id = disputed();
        uint96 claimed = escrow(TICK, 100);
        uint256 state = vm.snapshotState();
        skip(timing.disputeTimeout);
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, claimed, 0, 0, true);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(
            id, provider, claimed - feeOf(claimed), feeOf(claimed), escrow(TICK, DURATION) - claimed, 0, 0
        );
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Resolved);
        market.advance(id);
        vm.revertToState(state);
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
        assertEq(uint8(market.effectiveState(5, type(uint40).max)), uint8(Status.None));
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

    /// @dev To the second: what ends later stays.
    function test_MovesFromTheDeadlineOn() external {
        uint96[] memory ids = new uint96[](2);
        ids[0] = submitted();
        uint40 deadline = market.agreement(ids[0]).deadline;
        vm.warp(deadline - 1);
        assertEq(market.prune(ids), 0);
        assertStatus(ids[0], Status.Submitted);
        vm.warp(deadline);
        assertEq(market.prune(ids), 1);
        assertStatus(ids[0], Status.Settled);
    }
}
