// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

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

    /// @dev What ended and was not counted is foreseen: released again free, spent as gone.
    function test_ForeseesWhatIsToBeCounted() external {
        settled();
        uint96 held = escrow(TICK, DURATION);
        uint96 paid = escrow(TICK, 100);
        uint96 counted = (paid + 1e12 - 1) / 1e12 * 1e12;
        vm.prank(owner);
        wallet.setLimits(WalletLimits(10 ether, 50 ether, 1000 ether));
        assertEq(wallet.reserved(), held);
        assertEq(wallet.availableTo(agent), 10 ether - counted);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(100 ether, 50 ether, 10 ether));
        assertEq(wallet.availableTo(agent), 10 ether - paid);
        wallet.collect(agent);
        assertEq(wallet.availableTo(agent), 10 ether - paid);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(10 ether, 50 ether, 1000 ether));
        assertEq(wallet.availableTo(agent), 10 ether - counted);
    }

    /// @dev Of a key with ancestors it is the least of them all, per bid as in sum.
    function test_GoesByEveryAncestor() external {
        (address[4] memory keys,) = lineage();
        assertEq(wallet.availableTo(keys[3]), 20 ether);
        KeyPolicy memory p = policy();
        p.perBid = 9 ether;
        vm.prank(keys[0]);
        wallet.authorizeAgent(keys[1], p);
        assertEq(wallet.availableTo(keys[3]), 9 ether);
        assertEq(wallet.availableTo(keys[0]), 20 ether);
        p.daily = 8 ether;
        vm.prank(owner);
        wallet.authorizeAgent(keys[0], p);
        assertEq(wallet.availableTo(keys[3]), 8 ether);
        BidTerms memory t = terms();
        vm.prank(keys[0]);
        wallet.placeBid(t);
        assertEq(wallet.availableTo(keys[3]), 8 ether - escrow(TICK, DURATION));
    }

    /// @dev A bid of so much goes through; the wallet's funds and the key's credit together give it.
    function test_IsWhatABidMayCost() external {
        uint96 held = escrow(TICK, DURATION);
        uint96 rounded = held / 1e12 * 1e12;
        vm.prank(owner);
        wallet.setLimits(WalletLimits(rounded, 50 ether, 1000 ether));
        assertEq(wallet.availableTo(agent), rounded);
        vm.expectPartialRevert(IAgentWallet.DailyLimitExceeded.selector);
        place();
        vm.startPrank(owner);
        wallet.setLimits(WalletLimits(rounded + 1e12, 50 ether, 1000 ether));
        wallet.withdraw(owner, 1000 ether - held);
        vm.stopPrank();
        assertEq(wallet.availableTo(agent), held);
        place();
        assertEq(wallet.availableTo(agent), 0);
    }

    function test_IsNothingGiven_PausedOrNoRightToBid() external {
        vm.prank(owner);
        wallet.setPaused(true);
        assertEq(wallet.availableTo(agent), 0);
        KeyPolicy memory p = policy();
        p.permissions = 14;
        vm.startPrank(owner);
        wallet.setPaused(false);
        assertEq(wallet.availableTo(agent), 20 ether);
        wallet.authorizeAgent(agent, p);
        assertEq(wallet.availableTo(agent), 0);
    }
}
