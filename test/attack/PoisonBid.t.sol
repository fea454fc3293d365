// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

/// @title Poison bid
/// @notice The attack: a bid at the dearest tick whose spec nobody can run. A provider matches it, cannot start it
/// honestly, and loses bond; the bidder gets its escrow back.
/// Why it fails: a bid must name a registered template that bounds its spec; a provider may decline for half of the
/// minimum bill; whatever a bond loses is burned or the treasury's, so that the bidder never gains.
/// Loss: ceil(min(cost(minBilled), bond) / 2) per declined match to the provider, and the slot must be posted again.
contract PoisonBidTest is Attack {
    function poison() private returns (uint96 id) {
        BidTerms memory t = terms();
        t.tick = 200;
        t.specHash = keccak256("a planet's worth of memory");
        return matched(t);
    }

    function test_DecliningCostsTheProviderHalfTheMinimumAndPaysTheBidderNothing() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = poison();
        uint96 noShow = escrow(200, timing.minBilled);
        uint96 cost = (noShow + 1) / 2;
        vm.prank(provider);
        market.decline(id);
        assertEq(wealth(wallet, agent), before, "no profit for the bidder");
        assertEq(market.creditOf(provider), bond() - cost);
        assertEq(market.creditOf(BURNED) + market.creditOf(treasury), cost);
        assertGe(market.creditOf(BURNED), uint256(cost) * 9 / 10);
        assertEq(market.offer(offerId).slots, SLOTS - 1);
    }

    /// @dev Slot after slot at the dearest tick: the same small cost each time.
    function test_TheCostIsBoundedByTheBondWhateverTheTick() external {
        BidTerms memory t = terms();
        t.tick = 200;
        t.maxDuration = uint24(timing.minBilled);
        post();
        for (uint256 i; i < SLOTS; ++i) {
            place(t);
            vm.startPrank(provider);
            market.decline(market.matchBest(offerId, bookOf(t), 0, 0));
            vm.stopPrank();
        }
        uint96 cost = (escrow(200, timing.minBilled) + 1) / 2;
        assertEq(market.creditOf(provider), SLOTS * (bond() - cost));
        assertLe(cost, bond());
    }

    /// @dev Silence costs the bidder as much as the provider, so that poisoning by not countersigning is no free lunch.
    function test_ABidderThatNeverCountersignsPaysAsMuch() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = poison();
        skip(timing.startDeadline);
        market.advance(id);
        uint96 noShow = escrow(200, timing.minBilled);
        assertEq(before - wealth(wallet, agent), noShow);
        assertEq(bond() - market.creditOf(provider), noShow);
        assertStatus(id, Status.Expired);
    }

    function test_RevertWhen_NoTemplateBoundsTheSpec() external {
        BidTerms memory t = terms();
        uint16[3] memory unknown = [2, 127, type(uint16).max];
        for (uint256 i; i < unknown.length; ++i) {
            t.templateId = unknown[i];
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, unknown[i], CLS));
            vm.prank(agent);
            wallet.placeBid(t);
        }
    }

    /// @dev A provider that started such a bid and cannot deliver gives its whole bond, and still nobody gains by it.
    function test_NotEvenAFailedRentalPaysTheBidder() external {
        uint256 before = wealth(wallet, agent);
        BidTerms memory t = terms();
        t.tick = 200;
        uint96 id = running(t);
        skip(uint256(DURATION) + timing.submitGrace);
        market.advance(id);
        assertStatus(id, Status.Failed);
        assertEq(wealth(wallet, agent), before);
        assertEq(market.creditOf(BURNED) + market.creditOf(treasury), bond());
    }
}
