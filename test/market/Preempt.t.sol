// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

contract PreemptTest is Base {
    function runningPreemptible() private returns (uint96) {
        BidTerms memory t = terms();
        t.preemptible = true;
        return running(t);
    }

    function preempt(uint96 id) private {
        vm.prank(operator);
        market.preempt(id, RESULT, RECEIPTS);
    }

    function test_PaysWholeCheckpointsThroughTheChallenge() external {
        uint96 id = runningPreemptible();
        skip(119);
        uint40 end = uint40(block.timestamp) + timing.challengeWindow;
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(id, 60, RESULT, RECEIPTS, end, 3);
        preempt(id);
        assertEq(market.agreement(id).flags, 3);
        vm.warp(end);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Preempted);
        market.advance(id);
        assertEq(market.agreement(id).paid, escrow(TICK, 60));
    }

    function test_PaysNothingBeforeTheFirstCheckpoint() external {
        uint96 id = runningPreemptible();
        skip(59);
        preempt(id);
        skip(timing.challengeWindow);
        market.advance(id);
        assertEq(market.agreement(id).paid, 0);
        assertEq(keyCredit(), escrow(TICK, DURATION));
    }

    function test_PaysAtMostTheEscrow() external {
        BidTerms memory t = terms();
        t.preemptible = true;
        // A second short of a checkpoint: rounding down alone would not keep the grace out of the bill.
        t.maxDuration = DURATION - 1;
        uint96 id = running(t);
        skip(DURATION + timing.submitGrace - 2);
        preempt(id);
        assertEq(market.agreement(id).startOrBillable, DURATION - 60);
    }

    function test_MayBeDisputed() external {
        uint96 id = runningPreemptible();
        preempt(id);
        // Nothing is claimed, yet a dispute is not free.
        uint96 deposit = escrow(TICK, timing.minBilled);
        uint256 before = token.balanceOf(address(wallet));
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(before - token.balanceOf(address(wallet)), deposit);
    }

    function test_RevertWhen_BookIsNotPreemptible() external {
        uint96 id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotPreemptible.selector, id));
        preempt(id);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96 id = runningPreemptible();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.preempt(id, RESULT, RECEIPTS);
    }

    function test_RevertGiven_NotRunning() external {
        uint96 id = runningPreemptible();
        preempt(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        preempt(id);
    }

    function test_RevertGiven_DeadlinePassed() external {
        uint96 id = runningPreemptible();
        uint40 deadline = uint40(block.timestamp) + DURATION + timing.submitGrace;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        preempt(id);
    }

    function test_CountsACheckpointFromItsLastSecond() external {
        uint96 id = runningPreemptible();
        skip(60);
        uint40 end = uint40(block.timestamp) + timing.challengeWindow;
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(id, 60, RESULT, 0, end, 2);
        vm.prank(provider);
        market.preempt(id, RESULT, 0);
        assertEq(market.agreement(id).deadline, end);
    }

    /// @dev A claim of nothing that a ruling confirms still earns the deposit.
    function test_ADisputeOfNothingForfeitsTheLeastDeposit() external {
        uint96 id = runningPreemptible();
        preempt(id);
        vm.prank(agent);
        wallet.dispute(id, 0);
        uint96 deposit = escrow(TICK, timing.minBilled);
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, 0, 0, deposit, false);
        vm.prank(arbiter);
        market.resolve(id, 0, 0);
        assertEq(market.creditOf(provider), deposit);
    }
}
