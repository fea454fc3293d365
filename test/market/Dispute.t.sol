// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Status} from "../../contracts/interfaces/Types.sol";

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

    function test_UsesTheWalletsCreditFirst() external {
        uint96 first = settled();
        uint96 credit = keyCredit();
        assertGt(credit, escrow(TICK, 100));
        // The next bid uses the credit up, but for what its own refund would leave: so refund another one.
        uint96 id = submitted();
        uint96 other = matched();
        vm.prank(provider);
        market.decline(other);
        credit = keyCredit();
        uint256 before = token.balanceOf(address(wallet));
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(keyCredit(), credit - escrow(TICK, 100));
        assertEq(token.balanceOf(address(wallet)), before);
        assertNotEq(first, id);
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
