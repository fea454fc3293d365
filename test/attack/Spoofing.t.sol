// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Status} from "../../contracts/interfaces/Types.sol";

/// @title Spoofing
/// @notice The attack: show depth that is not meant, and take it back just before somebody matches it.
/// Why it fails: an open bid stays for `minBidLifetime`, in which any provider may take it; a cancel that a match
/// overtakes burns half of the no-show penalty, so that neither side gains by racing.
/// Loss: to the spoofer the risk of being matched; to a provider nothing, since `expectedId` takes that bid or none.
contract SpoofingTest is Attack {
    function test_RevertGiven_TheBidIsYounger() external {
        uint96 id = place();
        uint40 end = uint40(block.timestamp) + timing.minBidLifetime;
        for (uint256 i; i < timing.minBidLifetime; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidTooYoung.selector, id, end));
            vm.prank(i & 1 == 0 ? agent : owner);
            wallet.cancelBid(id);
            skip(1);
        }
        vm.prank(agent);
        wallet.cancelBid(id);
        assertStatus(id, Status.Cancelled);
    }

    /// @dev Nor does a short expiry undo the minimum.
    function test_RevertWhen_TheExpiryIsSooner() external {
        BidTerms memory t = terms();
        uint40 least = uint40(block.timestamp) + timing.minBidLifetime;
        t.expiry = least - 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidLifetimeTooShort.selector, least - 1, least));
        vm.prank(agent);
        wallet.placeBid(t);
    }

    function test_WhoeverIsMatchedMeanwhileIsHeldToIt() external {
        uint96 id = place();
        post();
        skip(timing.minBidLifetime - 1);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, id), id);
        skip(1);
        uint256 before = wealth(wallet, agent);
        vm.prank(agent);
        wallet.cancelBid(id);
        uint96 cost = (escrow(TICK, timing.minBilled) + 1) / 2;
        assertEq(wealth(wallet, agent) - before, escrow(TICK, DURATION) - cost);
        assertEq(market.creditOf(provider), 0, "racing the cancel earns nothing");
    }

    function test_AProviderLosesNothingToACancelledBid() external {
        uint96 id = place();
        post();
        skip(timing.minBidLifetime);
        vm.prank(agent);
        wallet.cancelBid(id);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, id), 0);
        assertEq(market.offer(offerId).used, 0);
    }
}
