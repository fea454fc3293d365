// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyAccount, Status} from "../../contracts/interfaces/Types.sol";

contract DisputeTest is Base {
    function test_TakesADepositOfTheClaimedPay() external {
        uint96 id = submitted();
        uint96 deposit = escrow(TICK, 100);
        uint40 timeout = uint40(block.timestamp) + timing.disputeTimeout;
        uint256 before = token.balanceOf(address(market));
        vm.expectEmit();
        emit IAIPowerRental.DisputeFiled(id, address(wallet), "bad", deposit, 0, true, timeout);
        vm.prank(agent);
        wallet.dispute(id, "bad");
        assertStatus(id, Status.Disputed);
        assertEq(market.agreement(id).deadline, timeout);
        assertEq(token.balanceOf(address(market)), before + deposit);
        assertEq(wallet.reserved(), escrow(TICK, DURATION) + deposit);
    }

    /// @dev The key's credit first, and what its ended bids left to count with it.
    function test_UsesTheKeysCreditFirst() external {
        uint96 deposit = escrow(TICK, 100);
        uint96 id = submitted();
        BidTerms memory t = terms();
        t.maxDuration = 60;
        uint96 part = escrow(TICK, 60);
        uint96 other = place(t);
        skip(timing.minBidLifetime);
        vm.prank(agent);
        wallet.cancelBid(other);
        uint256 before = token.balanceOf(address(wallet));
        uint40 timeout = uint40(block.timestamp) + timing.disputeTimeout;
        vm.expectEmit();
        emit IAIPowerRental.DisputeFiled(id, address(wallet), "r", deposit, part, true, timeout);
        vm.expectEmit(address(wallet));
        emit IAgentWallet.MicroTransactionExecuted(id, agent, deposit, part, 0, part, escrow(TICK, DURATION) + deposit);
        vm.prank(agent);
        wallet.dispute(id, "r");
        assertEq(before - token.balanceOf(address(wallet)), deposit - part);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), 0, 0, 0)));
    }

    function test_TheRestOfTheCreditStays() external {
        uint96 id = submitted();
        uint96 other = matched();
        vm.prank(provider);
        market.decline(other);
        uint256 before = token.balanceOf(address(wallet));
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(keyCredit(), escrow(TICK, DURATION) - escrow(TICK, 100));
        assertEq(token.balanceOf(address(wallet)), before);
    }

    function test_TheOwnersIsMarkedAsNotCounted() external {
        uint96 id = submitted();
        uint96 deposit = escrow(TICK, 100);
        uint40 timeout = uint40(block.timestamp) + timing.disputeTimeout;
        vm.expectEmit();
        emit IAIPowerRental.DisputeFiled(id, address(wallet), 0, deposit, 0, false, timeout);
        vm.prank(owner);
        wallet.dispute(id, 0);
        assertEq(market.agreement(id).flags, 1);
        assertEq(market.agreement(id).startOrBillable, 100);
        assertEq(wallet.reserved(), escrow(TICK, DURATION));
    }

    function test_UntilTheLastSecondOfTheWindow() external {
        uint96 id = submitted();
        skip(timing.challengeWindow - 1);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(market.agreement(id).flags, 5);
    }

    function test_RevertWhen_CallerIsNotTheWallet() external {
        uint96 id = submitted();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, id, provider));
        vm.prank(provider);
        market.dispute(id, 0, true);
    }

    function test_RevertGiven_NotSubmitted() external {
        uint96 id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Running));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }

    function test_RevertGiven_WindowClosed() external {
        uint96 id = submitted();
        uint40 deadline = uint40(block.timestamp) + timing.challengeWindow;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }

    function test_RevertGiven_TokenKeepsAPart() external {
        uint96 id = submitted();
        uint96 deposit = escrow(TICK, 100);
        vm.mockCall(address(token), abi.encodeWithSelector(IERC20.transfer.selector), abi.encode(true));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, deposit, 0));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }
}
