// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Level, RemovalReason, Status} from "../../contracts/interfaces/Types.sol";

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

    function test_ConfirmedBillsTheMinimum() external {
        uint96 id = matched();
        uint96 gross = escrow(TICK, timing.minBilled);
        uint96 held = escrow(TICK, DURATION);
        skip(timing.startDeadline - 1);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, gross - feeOf(gross), feeOf(gross), held - gross, 0, 0);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCancelled(id, Status.Cancelled);
        cancel(id);
        assertEq(market.agreement(id).paid, gross);
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), gross);
        assertEq(market.offer(offerId).used, 0);
        assertEq(market.offer(offerId).slots, SLOTS);
    }

    function test_RunningBillsElapsedTimeWithinBounds() external {
        uint96 id = running();
        uint96 young = running();
        uint96 old = running();
        cancel(young);
        assertEq(market.agreement(young).paid, escrow(TICK, timing.minBilled));
        skip(77);
        cancel(id);
        assertEq(market.agreement(id).paid, escrow(TICK, 77));
        skip(DURATION);
        // Past the paid time but within the grace.
        vm.warp(block.timestamp - 77);
        cancel(old);
        assertEq(market.agreement(old).paid, escrow(TICK, DURATION));
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
}
