// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, Status} from "../../contracts/interfaces/Types.sol";

contract SubmitTest is Base {
    function test_RecordsTheClaim() external {
        uint96 id = running();
        skip(100);
        uint40 end = uint40(block.timestamp) + timing.challengeWindow;
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(id, 90, RESULT, RECEIPTS, end, false);
        submitAs(operator, id, 90);
        Agreement memory a = market.agreement(id);
        assertEq(uint8(a.status), uint8(Status.Submitted));
        assertEq(a.startOrBillable, 90);
        assertEq(a.deadline, end);
        assertEq(a.flags, 1);
        assertEq(a.evidence, keccak256(abi.encode(SPEC, RESULT, RECEIPTS)));
    }

    function test_BillsWithinBounds() external {
        uint96 short = running();
        uint96 long = running();
        submitAs(provider, short, 0);
        assertEq(market.agreement(short).startOrBillable, timing.minBilled);
        skip(DURATION + 30);
        submitAs(provider, long, DURATION + 30);
        assertEq(market.agreement(long).startOrBillable, DURATION);
    }

    function test_WithoutReceiptsNoFlagIsSet() external {
        uint96 id = running();
        vm.prank(provider);
        market.submit(id, 0, RESULT, 0);
        assertEq(market.agreement(id).flags, 0);
    }

    function test_RevertWhen_ClaimExceedsElapsedTime() external {
        uint96 id = running();
        skip(9);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClaimTooLong.selector, id, 10, 9));
        submitAs(provider, id, 10);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96 id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        submitAs(stranger, id, 0);
    }

    function test_RevertGiven_NotRunning() external {
        uint96 id = matched();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Confirmed));
        submitAs(provider, id, 0);
        startAs(provider, id);
        submitAs(provider, id, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        submitAs(provider, id, 0);
    }

    function test_RevertGiven_DeadlinePassed() external {
        uint96 id = running();
        uint40 deadline = uint40(block.timestamp) + DURATION + timing.submitGrace;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        submitAs(provider, id, 0);
    }
}

contract SubmitBatchTest is Base {
    function batch(uint256 count)
        private
        pure
        returns (uint96[] memory ids, uint40[] memory claims, bytes32[] memory results, bytes32[] memory receipts)
    {
        return (new uint96[](count), new uint40[](count), new bytes32[](count), new bytes32[](count));
    }

    function test_SkipsWhatTheConsumerCancelled() external {
        (uint96[] memory ids, uint40[] memory claims, bytes32[] memory results, bytes32[] memory receipts) = batch(2);
        ids[0] = running();
        ids[1] = running();
        skip(50);
        claims[1] = 50;
        receipts[1] = RECEIPTS;
        vm.prank(agent);
        wallet.cancelBid(ids[0]);
        vm.prank(operator);
        market.submitBatch(ids, claims, results, receipts);
        assertStatus(ids[0], Status.Cancelled);
        assertStatus(ids[1], Status.Submitted);
        assertEq(market.agreement(ids[1]).startOrBillable, 50);
        assertEq(market.agreement(ids[1]).flags, 1);
    }

    function test_RevertWhen_AClaimIsTooLong() external {
        (uint96[] memory ids, uint40[] memory claims, bytes32[] memory results, bytes32[] memory receipts) = batch(1);
        ids[0] = running();
        claims[0] = 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClaimTooLong.selector, ids[0], 1, 0));
        vm.prank(provider);
        market.submitBatch(ids, claims, results, receipts);
    }

    function test_RevertWhen_LengthsDiffer() external {
        (uint96[] memory ids, uint40[] memory claims, bytes32[] memory results, bytes32[] memory receipts) = batch(1);
        vm.expectRevert(IAIPowerRental.LengthMismatch.selector);
        market.submitBatch(ids, new uint40[](2), results, receipts);
        vm.expectRevert(IAIPowerRental.LengthMismatch.selector);
        market.submitBatch(ids, claims, new bytes32[](2), receipts);
        vm.expectRevert(IAIPowerRental.LengthMismatch.selector);
        market.submitBatch(ids, claims, results, new bytes32[](2));
    }
}
