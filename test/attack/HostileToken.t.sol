// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Attack} from "./Attack.t.sol";
import {BlockListToken, BombToken, FeeToken} from "../mocks/HostileTokens.sol";
import {BombOwner} from "../mocks/HostileAccounts.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

/// @title Return bomb
/// @notice The attack: whoever the market or a wallet calls answers with so many bytes that copying them burns the
/// caller's gas: the token, or an owner that is a contract.
/// Why it fails: answers of the token are read by their first word, and nobody ever calls an owner.
/// Loss: none.
contract ReturnBombTest is Attack {
    function test_ABombInTheTokenIsNotCopied() external {
        BombToken bomb = new BombToken();
        redeploy(address(bomb));
        uint256[2] memory used;
        for (uint256 i; i < 2; ++i) {
            uint256 state = vm.snapshotState();
            bomb.arm(i == 0 ? 0 : 200_000);
            uint256 before = gasleft();
            settled();
            vm.prank(provider);
            market.withdraw(provider);
            wallet.collect(agent);
            used[i] = before - gasleft();
            vm.revertToState(state);
        }
        // Four transfers. The token itself pays some 100,000 gas for so much memory; a copy would cost as much again.
        uint256 one = costOfOneBomb(bomb);
        assertGt(one, 80_000, "the bomb is one");
        assertLt(used[1] - used[0], 4 * one + 40_000, "nobody else paid");
    }

    function costOfOneBomb(BombToken bomb) private returns (uint256 used) {
        bomb.mint(address(this), 10);
        bytes memory data = abi.encodeCall(IERC20.transfer, (stranger, 1));
        address target = address(bomb);
        // The first call only makes the storage warm.
        for (uint256 i; i < 3; ++i) {
            bomb.arm(i < 2 ? 0 : 200_000);
            if (i == 1) used = 0;
            uint256 before = gasleft();
            assembly ("memory-safe") {
                pop(call(gas(), target, 0, add(data, 0x20), mload(data), 0, 0))
            }
            used = (before - gasleft()) - used;
        }
    }

    /// @dev An owner whose every answer is a bomb: a whole rental never asks it anything.
    function test_AnOwnerIsNeverCalled() external {
        BombOwner bomb = new BombOwner();
        vm.prank(owner);
        wallet.transferOwnership(address(bomb));
        bomb.act(address(wallet), abi.encodeCall(IAgentWallet.acceptOwnership, ()));
        assertEq(wallet.owner(), address(bomb));
        vm.expectCall(address(bomb), "", 0);
        settled();
        uint96 id = disputed();
        vm.prank(arbiter);
        market.resolve(id, 0, 0);
        market.placeBidWithSignature(bid(), signBid(agentKey, bid()));
        wallet.collect(agent);
    }
}

/// @title Block-listed payee, frozen token
/// @notice The attack: the token refuses to pay one account, or to move at all, so that what pays that account fails
/// and, in a loop or a shared step, everything after it.
/// Why it fails: every end of a bid or rental only books credits; each account pulls its own, to any address it names.
/// Loss: what a blocked wallet holds stays where it is until the token relents; its credit still funds its bids. While
/// all is frozen nobody is paid, and nobody's share changes: but who needs tokens for a dispute cannot dispute.
contract BlockListTest is Attack {
    BlockListToken private list;

    function setUp() public override {
        super.setUp();
        list = new BlockListToken();
        redeploy(address(list));
    }

    function test_ABlockedProviderHindersNobodyAndIsPaidElsewhere() external {
        uint96 id = submitted();
        list.setBlocked(provider, true);
        skip(timing.challengeWindow);
        assertEq(uint8(market.advance(id)), uint8(Status.Settled));
        wallet.collect(agent);
        vm.prank(treasury);
        market.withdraw(treasury);
        uint96 credit = market.creditOf(provider);
        vm.expectRevert(abi.encodeWithSelector(BlockListToken.Blocked.selector, provider));
        vm.prank(provider);
        market.withdraw(provider);
        assertEq(market.creditOf(provider), credit, "a failed withdrawal keeps the credit");
        vm.prank(provider);
        market.withdraw(operator);
        assertEq(token.balanceOf(operator), credit);
    }

    function test_ABlockedWalletHindersNobodyAndStillBidsOnCredit() external {
        settled();
        list.setBlocked(address(wallet), true);
        vm.expectRevert(abi.encodeWithSelector(BlockListToken.Blocked.selector, address(wallet)));
        wallet.collect(agent);
        vm.prank(provider);
        market.withdraw(provider);
        // What the first rental gave back is enough for a shorter one, which counts what was spent as well.
        uint96 spent = escrow(TICK, 100);
        vm.prank(agent);
        uint96 id = wallet.placeBid(shorter());
        assertEq(wallet.lifetimeSpent(), spent);
        skip(1 days);
        market.advance(id);
        list.setBlocked(address(wallet), false);
        wallet.collect(agent);
        assertEq(token.balanceOf(address(wallet)), 1000 ether - spent);
    }

    function shorter() private view returns (BidTerms memory t) {
        t = terms();
        t.maxDuration = 400;
    }

    function test_AFrozenTokenStopsNoEnd() external {
        uint96 running_ = running();
        uint96 result = submitted();
        uint96 confirmed = matched();
        uint96 open = place();
        list.setFrozen(true);
        vm.expectRevert(BlockListToken.Frozen.selector);
        vm.prank(owner);
        wallet.dispute(result, 0);
        vm.startPrank(owner);
        wallet.cancelBid(running_);
        wallet.revokeAll();
        vm.stopPrank();
        skip(1 days);
        market.advance(running_);
        market.advance(result);
        market.advance(confirmed);
        market.advance(open);
        assertStatus(result, Status.Settled);
        list.setFrozen(false);
        wallet.collect(agent);
        vm.prank(provider);
        market.withdraw(provider);
        assertEq(wallet.reserved(), 0);
    }

    /// @dev With credit at the market a dispute needs no token to move.
    function test_CreditPaysADisputeWhileFrozen() external {
        uint96 other = place();
        skip(timing.minBidLifetime);
        uint96 id = submittedAtTop();
        vm.prank(agent);
        wallet.cancelBid(other);
        list.setFrozen(true);
        vm.prank(owner);
        wallet.dispute(id, 0);
        assertStatus(id, Status.Disputed);
    }

    function submittedAtTop() private returns (uint96 id) {
        BidTerms memory t = terms();
        t.tick = TICK + 1;
        id = running(t);
        skip(100);
        submitAs(provider, id, 100);
    }
}

/// @title Fee on transfer
/// @notice The attack: a token that keeps a part of each transfer, so that the market owes more than it got.
/// Why it fails: the market measures what came in, and refuses anything but the exact amount.
/// Loss: none; entries stop. What is owed by then is paid, less the token's own fee, which falls on the payee.
contract FeeOnTransferTest is Attack {
    FeeToken private fees;

    function setUp() public override {
        super.setUp();
        fees = new FeeToken();
        redeploy(address(fees));
    }

    function test_RevertWhen_TheTokenKeepsAPart() external {
        uint96 id = submitted();
        uint96 held = escrow(TICK, DURATION);
        uint96 deposit = escrow(TICK, 100);
        uint96 bonds = SLOTS * bond();
        uint96 perSlot = bond();
        fees.setTaking(true);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, held, held - held / 100));
        vm.prank(agent);
        wallet.placeBid(terms());
        vm.expectRevert(
            abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, deposit, deposit - deposit / 100)
        );
        vm.prank(agent);
        wallet.dispute(id, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, bonds, bonds - bonds / 100));
        vm.prank(provider);
        market.postOffer(CLS, 255, SLOTS, 0, perSlot, type(uint40).max);
        // Exits go on: the market pays exactly what it owes.
        skip(timing.challengeWindow);
        market.advance(id);
        uint256 before = token.balanceOf(address(market));
        uint96 credit = market.creditOf(provider);
        vm.prank(provider);
        market.withdraw(provider);
        assertEq(before - token.balanceOf(address(market)), credit);
    }
}
