// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract AvailableToTest is Base {
    function test_IsTheSmallestOfAllLimitsAndFunds() external {
        assertEq(wallet.availableTo(agent), 20 ether);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(15 ether, 50 ether, 1000 ether));
        assertEq(wallet.availableTo(agent), 15 ether);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(15 ether, 14 ether, 1000 ether));
        assertEq(wallet.availableTo(agent), 14 ether);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(15 ether, 14 ether, 13 ether));
        assertEq(wallet.availableTo(agent), 13 ether);
        KeyPolicy memory p = policy();
        p.lifetime = 12 ether;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertEq(wallet.availableTo(agent), 12 ether);
        p.daily = 11 ether;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertEq(wallet.availableTo(agent), 11 ether);
        vm.prank(owner);
        wallet.withdraw(owner, 990 ether);
        assertEq(wallet.availableTo(agent), 10 ether);
    }

    function test_CountsTheWalletsCreditAsFunds() external {
        settled();
        vm.startPrank(owner);
        wallet.withdraw(owner, uint96(token.balanceOf(address(wallet))));
        assertEq(wallet.availableTo(agent), keyCredit());
        assertGt(keyCredit(), 0);
    }

    function test_IsNothingForOthers() external {
        assertEq(wallet.availableTo(stranger), 0);
        vm.prank(owner);
        wallet.revokeAgent(agent);
        assertEq(wallet.availableTo(agent), 0);
    }
}
