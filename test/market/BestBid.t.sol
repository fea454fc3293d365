// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {BidTerms} from "../../contracts/interfaces/Types.sol";

contract BestBidTest is Base {
    function placeShort(uint8 tick, uint40 lifetime) private returns (uint96) {
        BidTerms memory t = terms();
        t.tick = tick;
        t.maxDuration = 60;
        t.expiry = uint40(block.timestamp) + lifetime;
        return place(t);
    }

    function test_SkipsExpiredHeadsAndLevels() external {
        assertEq(market.bestBid(BOOK(), 0), 0);
        uint96 low = placeShort(10, 1 days);
        placeShort(20, 10);
        placeShort(20, 10);
        assertEq(market.bestBid(BOOK(), 0), idOf(BOOK(), 20, 0));
        skip(10);
        assertEq(market.bestBid(BOOK(), 0), low);
        assertEq(market.bestBid(BOOK(), 10), low);
        assertEq(market.bestBid(BOOK(), 11), 0);
    }

    function test_LooksAtEightDeadBidsAtMost() external {
        for (uint256 i; i < 8; ++i) {
            placeShort(20, 10);
        }
        uint96 live = placeShort(20, 1 days);
        skip(10);
        assertEq(market.bestBid(BOOK(), 0), live);
        vm.warp(NOW);
        placeShort(21, 10);
        skip(10);
        assertEq(market.bestBid(BOOK(), 0), 0);
    }

    /// @dev The view and the match agree on every mix of live, expired and cancelled bids.
    function testFuzz_AgreesWithMatchBest(uint256 seed) external {
        post();
        for (uint256 i; i < 12; ++i) {
            uint256 r = uint256(keccak256(abi.encode(seed, i)));
            uint96 id = placeShort(uint8(r % 3), r >> 8 & 1 == 0 ? 10 : 20);
            if (r >> 9 & 3 == 0) {
                skip(timing.minBidLifetime);
                vm.prank(agent);
                wallet.cancelBid(id);
            }
        }
        skip(5);
        uint96 best = market.bestBid(BOOK(), 0);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, 768, 0, 0), best);
    }
}
