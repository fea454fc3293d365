// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

/// @title No-show of either side, dead provider
/// @notice The attack: a provider matches bids and never starts them, or a bidder never countersigns, to tie up or cost
/// the other; a provider starts and goes silent.
/// Why it is bounded: the market cannot tell who was absent before the start, so both lose the same small amount, none
/// of which either gets. After the start the provider alone is at fault: the escrow returns and the bond is burned.
/// Loss: min(cost(minBilled), bondPerSlot) each per match; a dead provider costs the wallet nothing but
/// maxDuration + submitGrace of waiting.
contract NoShowTest is Attack {
    function test_BothLoseTheSameAndNobodyGains() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = matched();
        skip(timing.startDeadline);
        vm.prank(stranger);
        market.advance(id);
        uint96 penalty = escrow(TICK, timing.minBilled);
        assertStatus(id, Status.Expired);
        assertEq(before - wealth(wallet, agent), penalty);
        assertEq(bond() - market.creditOf(provider), penalty);
        assertEq(market.creditOf(BURNED), uint256(2 * penalty) * 9 / 10);
        assertEq(market.creditOf(BURNED) + market.creditOf(treasury), 2 * penalty);
    }

    /// @dev Slot after slot: the loss per slot never exceeds its bond, whatever the tick of the bid.
    function testFuzz_TheLossIsEqualAtEveryTickAndDuration(uint8 tick, uint24 duration) external {
        BidTerms memory t = terms();
        t.tick = uint8(bound(tick, 0, 200));
        t.maxDuration = uint24(bound(duration, timing.minBilled, 3600));
        uint256 before = wealth(wallet, agent);
        uint96 id = matched(t);
        skip(timing.startDeadline);
        market.advance(id);
        uint96 penalty = escrow(t.tick, timing.minBilled);
        if (penalty > bond()) penalty = bond();
        assertEq(before - wealth(wallet, agent), penalty);
        assertEq(bond() - market.creditOf(provider), penalty);
    }

    /// @dev With a countersignature in hand a provider's slot still ends at the deadline, and so does the bidder's wait.
    function test_RevertGiven_TheStartComesLate() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        uint40 end = market.agreement(id).deadline;
        vm.warp(end);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, end));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, end));
        vm.prank(provider);
        market.decline(id);
    }

    function test_ADeadProviderGivesTheEscrowBackAndLosesItsBond() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = running();
        uint40 end = market.agreement(id).deadline;
        assertEq(end, block.timestamp + DURATION + timing.submitGrace);
        vm.warp(end - 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotYet.selector, id, end));
        market.advance(id);
        vm.warp(end);
        vm.prank(stranger);
        market.advance(id);
        assertStatus(id, Status.Failed);
        assertEq(wealth(wallet, agent), before);
        assertEq(market.creditOf(provider), 0);
        assertEq(market.creditOf(BURNED) + market.creditOf(treasury), bond());
    }

    /// @dev An agent that dies after the start costs its wallet the rental it asked for, never more.
    function test_ADeadAgentPaysForWhatItStarted() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = running();
        skip(DURATION);
        submitAs(provider, id, DURATION);
        skip(timing.challengeWindow);
        vm.prank(stranger);
        market.advance(id);
        assertEq(before - wealth(wallet, agent), escrow(TICK, DURATION));
    }

    /// @dev A dead agent's open bid comes back by anyone's hand at its expiry.
    function test_ADeadAgentsOpenBidComesBack() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = place();
        skip(1 days);
        vm.startPrank(stranger);
        market.advance(id);
        wallet.collect(agent);
        vm.stopPrank();
        assertEq(token.balanceOf(address(wallet)), before);
        assertEq(wallet.reserved(), 0);
    }

    /// @dev A market that asks for no bond has no penalty either: then a match alone costs neither side anything.
    function test_WithoutABondNobodyLoses() external {
        timing.bondSeconds = 0;
        redeploy(address(token));
        vm.prank(provider);
        uint64 free = market.postOffer(CLS, 255, 1, 0, 0, type(uint40).max);
        uint256 before = wealth(wallet, agent);
        place();
        vm.prank(provider);
        uint96 id = market.matchBest(free, BOOK(), 0, 0);
        skip(timing.startDeadline);
        market.advance(id);
        assertEq(wealth(wallet, agent), before);
        assertEq(market.agreement(id).paid, 0);
    }
}
