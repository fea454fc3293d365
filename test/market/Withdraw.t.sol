// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";

contract WithdrawTest is Base {
    function test_SendsTheWholeCreditAnywhere() external {
        settled();
        uint96 credit = market.creditOf(provider);
        assertGt(credit, 0);
        vm.expectEmit();
        emit IAIPowerRental.Withdrawn(provider, stranger, credit);
        vm.prank(provider);
        assertEq(market.withdraw(stranger), credit);
        assertEq(token.balanceOf(stranger), credit);
        assertEq(market.creditOf(provider), 0);
    }

    /// @dev What it earned as treasury and what it was credited before go out together, and once.
    function test_TheTreasuryWithdrawsOnce() external {
        settled();
        uint96 earned = market.creditOf(treasury);
        assertGt(earned, 0);
        vm.startPrank(treasury);
        assertEq(market.withdraw(treasury), earned);
        assertEq(market.creditOf(treasury), 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NothingToWithdraw.selector, treasury));
        market.withdraw(treasury);
    }

    function test_RevertWhen_ReceiverIsZero() external {
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        market.withdraw(address(0));
    }

    function test_RevertGiven_NoCredit() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NothingToWithdraw.selector, stranger));
        vm.prank(stranger);
        market.withdraw(stranger);
    }
}
