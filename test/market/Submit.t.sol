// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, Status, SubmitItem} from "../../contracts/interfaces/Types.sol";

contract SubmitTest is Base {
    function test_RecordsTheClaim() external {
        uint96 id = running();
        skip(100);
        uint40 end = uint40(block.timestamp) + timing.challengeWindow;
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(id, 90, RESULT, RECEIPTS, end, 1);
        submitAs(operator, id, 90);
        Agreement memory a = market.agreement(id);
        assertEq(uint8(a.status), uint8(Status.Submitted));
        assertEq(a.startOrBillable, 90);
        assertEq(a.deadline, end);
        assertEq(a.flags, 1);
    }

    function test_BillsWithinBounds() external {
        uint96 short = running();
        uint96 long = running();
        submitAs(provider, short, 0);
        assertEq(market.agreement(short).startOrBillable, timing.minBilled);
        uint96 middle = running();
        skip(timing.minBilled + 1);
        submitAs(provider, middle, timing.minBilled + 1);
        assertEq(market.agreement(middle).startOrBillable, timing.minBilled + 1);
        skip(DURATION);
        submitAs(provider, long, DURATION + 1);
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
        uint256 state = vm.snapshotState();
        vm.warp(deadline - 1);
        submitAs(provider, id, DURATION);
        vm.revertToState(state);
        for (uint256 late; late < 2; ++late) {
            vm.warp(deadline + late);
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
            submitAs(provider, id, 0);
        }
    }
}

contract SubmitBatchTest is Base {
    function test_SkipsWhatTheConsumerCancelledAndWhatIsLate() external {
        SubmitItem[] memory items = new SubmitItem[](3);
        items[2] = SubmitItem(running(), 1, RESULT, RECEIPTS);
        uint40 deadline = market.agreement(items[2].agreementId).deadline;
        skip(100);
        items[0] = SubmitItem(running(), 50, RESULT, RECEIPTS);
        items[1] = SubmitItem(running(), 50, "other", RECEIPTS);
        skip(50);
        vm.prank(agent);
        wallet.cancelBid(items[0].agreementId);
        vm.warp(deadline);
        vm.expectEmit();
        emit IAIPowerRental.PerformanceSubmitted(
            items[1].agreementId, 50, "other", RECEIPTS, deadline + timing.challengeWindow, 1
        );
        vm.prank(operator);
        market.submitBatch(items);
        // The cancelled one keeps the bill of its cancel.
        assertEq(market.agreement(items[0].agreementId).flags, 9);
        assertStatus(items[1].agreementId, Status.Submitted);
        assertStatus(items[2].agreementId, Status.Running);
        assertEq(market.agreement(items[1].agreementId).startOrBillable, 50);
        assertEq(market.agreement(items[1].agreementId).flags, 1);
        vm.warp(deadline - 1);
        vm.prank(operator);
        market.submitBatch(items);
        assertStatus(items[2].agreementId, Status.Submitted);
    }

    function test_RevertWhen_AClaimIsTooLong() external {
        SubmitItem[] memory items = new SubmitItem[](1);
        items[0] = SubmitItem(running(), 1, RESULT, RECEIPTS);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClaimTooLong.selector, items[0].agreementId, 1, 0));
        vm.prank(provider);
        market.submitBatch(items);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        SubmitItem[] memory items = new SubmitItem[](1);
        items[0] = SubmitItem(running(), 0, RESULT, RECEIPTS);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.submitBatch(items);
    }
}
