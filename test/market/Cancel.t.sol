// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, KeyAccount, Level, RemovalReason, Status} from "../../contracts/interfaces/Types.sol";

contract CancelTest is Base {
    function cancel(uint96 id) private {
        vm.prank(agent);
        wallet.cancelBid(id);
    }

    function test_OpenBidIsRefundedInFull() external {
        uint96 id = place();
        uint96 held = escrow(TICK, DURATION);
        skip(timing.minBidLifetime);
        vm.expectEmit();
        emit IAIPowerRental.BidRemoved(id, RemovalReason.Cancelled, held);
        cancel(id);
        assertStatus(id, Status.Cancelled);
        assertEq(keyCredit(), held);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(market.bitmap(BOOK()), 0);
        assertEq(abi.encode(market.level(BOOK(), TICK)), abi.encode(Level(1, 1, 0)));
    }

    function test_ABidInTheMiddleLeavesAGap() external {
        uint96 first = place();
        uint96 second = place();
        uint96 third = place();
        skip(timing.minBidLifetime);
        cancel(second);
        assertEq(abi.encode(market.level(BOOK(), TICK)), abi.encode(Level(0, 3, 2)));
        post();
        vm.startPrank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, 0), first);
        assertEq(market.matchBest(offerId, BOOK(), 0, 0), third);
        assertEq(market.bitmap(BOOK()), 0);
    }

    function test_LastCancelSweepsTheLevel() external {
        uint96[3] memory ids = [place(), place(), place()];
        skip(timing.minBidLifetime);
        for (uint256 i; i < 3; ++i) {
            cancel(ids[i]);
        }
        assertEq(abi.encode(market.level(BOOK(), TICK)), abi.encode(Level(3, 3, 0)));
    }

    function test_ExpiredBidIsRemovedAsExpired() external {
        uint96 id = place();
        skip(1 days);
        vm.expectEmit();
        emit IAIPowerRental.BidRemoved(id, RemovalReason.Expired, escrow(TICK, DURATION));
        cancel(id);
        assertStatus(id, Status.Expired);
    }

    /// @dev Half of what silence would cost, and nobody gains by it.
    function test_ConfirmedBurnsHalfTheNoShowPenalty() external {
        uint96 id = matched();
        uint96 penalty = (escrow(TICK, timing.minBilled) + 1) / 2;
        uint96 burned = penalty * 9 / 10;
        uint96 held = escrow(TICK, DURATION);
        skip(timing.startDeadline - 1);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, 0, 0, held - penalty, penalty, 0);
        vm.expectEmit();
        emit IAIPowerRental.Credited(BURNED, burned);
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, penalty - burned);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCancelled(id, Status.Cancelled);
        vm.recordLogs();
        cancel(id);
        assertEq(vm.getRecordedLogs().length, 4, "the slot stays: no OfferUpdated");
        assertStatus(id, Status.Cancelled);
        assertEq(market.agreement(id).paid, penalty);
        assertEq(market.creditOf(provider), 0);
        assertEq(market.creditOf(BURNED), burned);
        assertEq(market.creditOf(treasury), penalty - burned);
        assertEq(
            abi.encode(market.keyAccount(agent)),
            abi.encode(KeyAccount(address(wallet), held - penalty, penalty, held - penalty))
        );
        assertEq(market.offer(offerId).used, 0);
        assertEq(market.offer(offerId).slots, SLOTS);
    }

    /// @dev The bill waits for the challenge window like any other, with the mark of a cancel and of receipts.
    function test_RunningBillsElapsedTimeThroughTheChallenge() external {
        uint96 id = running();
        skip(77);
        uint40 end = uint40(block.timestamp) + timing.challengeWindow;
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(id, 77, 0, 0, end, 9);
        cancel(id);
        assertStatus(id, Status.Submitted);
        Agreement memory a = market.agreement(id);
        assertEq(a.startOrBillable, 77);
        assertEq(a.deadline, end);
        assertEq(a.flags, 9);
        assertEq(a.paid, 0);
        assertEq(uint8(market.effectiveState(id, end)), uint8(Status.Cancelled));
        vm.warp(end);
        uint96 gross = escrow(TICK, 77);
        uint96 refund = escrow(TICK, DURATION) - gross;
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, gross - feeOf(gross), feeOf(gross), refund, 0, 0);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCancelled(id, Status.Cancelled);
        assertEq(uint8(market.advance(id)), uint8(Status.Cancelled));
        assertEq(market.agreement(id).paid, gross);
        assertEq(market.offer(offerId).slots, SLOTS);
    }

    function test_RunningBillsWithinBounds() external {
        uint96 young = running();
        uint96 atMinimum = running();
        uint96 old = running();
        skip(timing.minBilled - 1);
        cancel(young);
        assertEq(market.agreement(young).startOrBillable, timing.minBilled);
        skip(2);
        cancel(atMinimum);
        assertEq(market.agreement(atMinimum).startOrBillable, timing.minBilled + 1);
        // Past the paid time but within the grace, to its last second.
        vm.warp(NOW + DURATION + timing.submitGrace - 1);
        cancel(old);
        assertEq(market.agreement(old).startOrBillable, DURATION);
    }

    /// @dev A dispute of a cancel's own bill: without a ruling the bill stands.
    function test_ACancelMayBeDisputedAndStandsByDefault() external {
        uint96 id = running();
        skip(50);
        cancel(id);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(market.agreement(id).flags, 1 | 4 | 8);
        skip(timing.disputeTimeout);
        market.advance(id);
        assertStatus(id, Status.Resolved);
        assertEq(market.agreement(id).paid, escrow(TICK, 50));
    }

    function test_RevertWhen_CallerIsNotTheWallet() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, id, agent));
        vm.prank(agent);
        market.cancel(id);
    }

    function test_RevertWhen_BidIsTooYoung() external {
        uint96 id = place();
        uint40 at = uint40(block.timestamp) + timing.minBidLifetime;
        skip(timing.minBidLifetime - 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidTooYoung.selector, id, at));
        cancel(id);
    }

    function test_RevertGiven_StartDeadlinePassed() external {
        uint96 id = matched();
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        cancel(id);
    }

    function test_RevertGiven_RunDeadlinePassed() external {
        uint96 id = running();
        uint40 deadline = uint40(block.timestamp) + DURATION + timing.submitGrace;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        cancel(id);
    }

    function test_RevertGiven_Submitted() external {
        uint96 id = submitted();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        cancel(id);
    }

    /// @dev The reason changes with the second of expiry.
    function test_IsCancelledBeforeTheExpiryAndExpiredFromIt() external {
        uint96 first = place();
        uint96 second = place();
        uint96 held = escrow(TICK, DURATION);
        vm.warp(terms().expiry - 1);
        vm.expectEmit();
        emit IAIPowerRental.BidRemoved(first, RemovalReason.Cancelled, held);
        cancel(first);
        skip(1);
        vm.expectEmit();
        emit IAIPowerRental.BidRemoved(second, RemovalReason.Expired, held);
        cancel(second);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), 2 * held, 0, 2 * held)));
    }

    function test_RevertWhen_AgreementIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, 5, address(wallet)));
        vm.prank(address(wallet));
        market.cancel(5);
    }

    function test_RevertGiven_Ended() external {
        uint96 id = settled();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Settled));
        cancel(id);
        id = place();
        skip(timing.minBidLifetime);
        cancel(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Cancelled));
        cancel(id);
    }
}
