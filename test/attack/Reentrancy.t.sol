// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Attack} from "./Attack.t.sol";
import {HookToken} from "../mocks/HostileTokens.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, StartItem, Status, SubmitItem} from "../../contracts/interfaces/Types.sol";

/// @title Re-entrant token, re-entrant wallet
/// @notice The attack: the market's token calls out in the middle of every transfer, before or after the balances
/// change, and enters market or wallet again: withdraws twice, collects while counting, bids while funding.
/// Why it fails: whatever moves money in the market shares one guard, state is written before each transfer, and the
/// wallet reserves before it pays. A wallet cannot be hostile: only the factory's clones may bid (see KeySquatting).
/// Loss: none. Only what needs no guard goes through: registering, an offer's terms, the owner's own wallet.
contract ReentrancyTest is Attack {
    HookToken private hook;

    function setUp() public override {
        super.setUp();
        hook = new HookToken();
        redeploy(address(hook));
    }

    /// @dev Every guarded entry point, called from inside.
    function guarded() private returns (bytes[] memory calls) {
        calls = new bytes[](16);
        StartItem[] memory starts;
        SubmitItem[] memory results;
        Bid memory b = bid();
        calls[0] = abi.encodeCall(IAIPowerRental.placeBid, (terms(), agent));
        calls[1] = abi.encodeCall(IAIPowerRental.placeBidWithSignature, (b, signBid(agentKey, b)));
        calls[2] = abi.encodeCall(IAIPowerRental.cancel, (1));
        calls[3] = abi.encodeCall(IAIPowerRental.dispute, (1, 0, true));
        calls[4] = abi.encodeCall(IAIPowerRental.collect, (agent));
        calls[5] = abi.encodeCall(IAIPowerRental.postOffer, (CLS, 255, 1, 0, 1 ether, type(uint40).max));
        calls[6] = abi.encodeCall(IAIPowerRental.closeOffer, (1));
        calls[7] = abi.encodeCall(IAIPowerRental.matchBest, (1, BOOK(), 0, 0));
        calls[8] = abi.encodeCall(IAIPowerRental.matchBestBatch, (1, BOOK(), 0, 1));
        calls[9] = abi.encodeCall(IAIPowerRental.start, (1, SPEC, IMAGE, ""));
        calls[10] = abi.encodeCall(IAIPowerRental.startBatch, (starts));
        calls[11] = abi.encodeCall(IAIPowerRental.decline, (1));
        calls[12] = abi.encodeCall(IAIPowerRental.submit, (1, 0, 0, 0));
        calls[13] = abi.encodeCall(IAIPowerRental.submitBatch, (results));
        calls[14] = abi.encodeCall(IAIPowerRental.advance, (1));
        calls[15] = abi.encodeCall(IAIPowerRental.withdraw, (address(hook)));
    }

    function assertGuarded() private view {
        assertEq(hook.calls(), 1, "the hook ran");
        assertFalse(hook.succeeded());
        assertEq(
            hook.returned(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
            "stopped by the guard"
        );
    }

    /// @dev Through each call of the market that moves tokens.
    function test_EveryGuardedEntryIsClosedFromWithin() external {
        settled();
        bytes[] memory calls = guarded();
        for (uint256 i; i < calls.length; ++i) {
            uint256 state = vm.snapshotState();
            bool after_ = i & 1 == 0;
            hook.arm(address(market), calls[i], after_);
            vm.prank(provider);
            market.withdraw(provider);
            assertGuarded();
            hook.arm(address(market), calls[i], after_);
            wallet.collect(agent);
            assertGuarded();
            hook.arm(address(market), calls[i], after_);
            place();
            assertGuarded();
            hook.arm(address(market), calls[i], after_);
            uint96 perSlot = bond();
            vm.prank(provider);
            market.postOffer(CLS, 255, SLOTS, 0, perSlot, type(uint40).max);
            assertGuarded();
            vm.revertToState(state);
        }
    }

    /// @dev The wallet's doors lead through the market's guard.
    function test_TheWalletIsClosedFromWithin() external {
        settled();
        bytes[2] memory calls =
            [abi.encodeCall(IAgentWallet.collect, (agent)), abi.encodeCall(IAgentWallet.placeBid, (terms()))];
        for (uint256 i; i < 4; ++i) {
            hook.arm(address(wallet), calls[i / 2], i & 1 == 0);
            uint256 state = vm.snapshotState();
            wallet.collect(agent);
            assertGuarded();
            vm.revertToState(state);
        }
    }

    /// @dev The owner, re-entering while its wallet funds a bid, gets what the wallet has and no more.
    function test_TheOwnersWithdrawalFromWithinCostsNobodyElse() external {
        // The owner is the token's hook, the most power a re-entrant owner can have.
        vm.prank(owner);
        wallet.transferOwnership(address(hook));
        vm.prank(address(hook));
        wallet.acceptOwnership();
        uint96 held = escrow(TICK, DURATION);
        uint96 rest = uint96(token.balanceOf(address(wallet))) - held;
        hook.arm(address(wallet), abi.encodeCall(IAgentWallet.withdraw, (stranger, rest)), true);
        uint96 id = place();
        assertTrue(hook.succeeded());
        assertEq(token.balanceOf(address(market)), held, "the escrow is there");
        assertEq(token.balanceOf(stranger), rest);
        assertStatus(id, Status.Open);
    }

    /// @dev A withdrawal in the escrow's way fails the bid, not the market.
    function test_RevertWhen_TheEscrowIsTakenFromWithin() external {
        vm.prank(owner);
        wallet.transferOwnership(address(hook));
        vm.prank(address(hook));
        wallet.acceptOwnership();
        uint96 all = uint96(token.balanceOf(address(wallet)));
        hook.arm(address(wallet), abi.encodeCall(IAgentWallet.withdraw, (stranger, all)), false);
        vm.expectRevert();
        vm.prank(agent);
        wallet.placeBid(terms());
        assertEq(market.level(BOOK(), TICK).tail, 0);
        assertEq(wallet.reserved(), 0);
    }

    /// @dev What has no guard changes no balance: control that the hook does get through.
    function test_WhatNeedsNoGuardGoesThrough() external {
        settled();
        hook.arm(address(market), abi.encodeCall(IAIPowerRental.registerProvider, ("http://hook")), true);
        vm.prank(provider);
        market.withdraw(provider);
        assertTrue(hook.succeeded());
        assertTrue(market.isProvider(address(hook)));
    }

    /// @dev Tokens sent to the market from within are a gift, and make the bid fail that they came with.
    function test_RevertWhen_TheHookAddsTokensWhileFunding() external {
        hook.mint(address(hook), 1);
        hook.arm(address(hook), abi.encodeWithSignature("transfer(address,uint256)", address(market), 1), true);
        uint96 held = escrow(TICK, DURATION);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, held, held + 1));
        vm.prank(agent);
        wallet.placeBid(terms());
    }
}
