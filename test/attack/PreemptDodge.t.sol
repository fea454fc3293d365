// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

/// @title Pre-emption that dodges the challenge
/// @notice The attack: a provider that ran nothing pre-empts its own rental, to be paid without a result that could be
/// challenged, or to be paid for time that did not pass.
/// Why it fails: pre-emption goes through Submitted, with the same window and the same deposit; it pays whole
/// checkpoints of elapsed time, at most the longest duration; only bids that agreed to it can be pre-empted.
/// Loss: none beyond that of any result: an undisputed claim of at most the elapsed time.
contract PreemptDodgeTest is Attack {
    function preemptible() private returns (uint96) {
        BidTerms memory t = terms();
        t.preemptible = true;
        return running(t);
    }

    function preempt(uint96 id) private {
        vm.prank(provider);
        market.preempt(id, RESULT, RECEIPTS);
    }

    function test_ThePreemptedCanBeDisputedAndPaysNothingThen() external {
        uint96 id = preemptible();
        skip(200);
        preempt(id);
        assertStatus(id, Status.Submitted);
        assertEq(market.creditOf(provider), 0, "nothing is paid yet");
        uint40 end = market.agreement(id).deadline;
        assertEq(end, block.timestamp + timing.challengeWindow);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotYet.selector, id, end));
        market.advance(id);
        vm.prank(owner);
        wallet.dispute(id, "ran nothing");
        uint96 slash = bond();
        vm.prank(arbiter);
        market.resolve(id, 0, slash);
        assertEq(market.creditOf(provider), 0);
    }

    function testFuzz_ItPaysWholeCheckpointsOfElapsedTime(uint256 elapsed) external {
        uint96 id = preemptible();
        elapsed = bound(elapsed, 0, uint256(DURATION) + timing.submitGrace - 1);
        skip(elapsed);
        preempt(id);
        skip(timing.challengeWindow);
        market.advance(id);
        uint256 counted = elapsed < DURATION ? elapsed : DURATION;
        uint96 gross = escrow(TICK, counted / timing.checkpoint * timing.checkpoint);
        assertStatus(id, Status.Preempted);
        assertEq(market.agreement(id).paid, gross);
        assertEq(market.creditOf(provider), gross - feeOf(gross));
    }

    function test_RevertWhen_TheBidDidNotAgree() external {
        uint96 id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotPreemptible.selector, id));
        preempt(id);
    }

    function test_RevertGiven_ItWasPreempted() external {
        uint96 id = preemptible();
        skip(120);
        preempt(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        preempt(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        submitAs(provider, id, 120);
    }
}
