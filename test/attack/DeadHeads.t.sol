// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {BidTerms, Level, Status} from "../../contracts/interfaces/Types.sol";

/// @title A queue of dead bids
/// @notice The attack: bury a book under cancelled or expired bids at its best tick, so that a match runs out of gas or
/// reverts, undoes its own pruning and never gets through.
/// Why it fails: a match steps over at most eight dead bids and then returns zero instead of reverting, so that each call
/// keeps its progress; anyone may prune; a level whose bids are all cancelled is swept at once.
/// Loss: one more call for each eight dead bids, of bounded gas; the attacker paid to place each bid, and to cancel it.
contract DeadHeadsTest is Attack {
    uint24 private constant SHORT = 60;

    function setUp() public override {
        super.setUp();
        post();
    }

    function bury(uint256 count, uint8 tick) private returns (uint96[] memory ids) {
        BidTerms memory t = terms();
        t.tick = tick;
        t.maxDuration = SHORT;
        t.expiry = uint40(block.timestamp) + timing.minBidLifetime;
        ids = new uint96[](count);
        for (uint256 i; i < count; ++i) {
            ids[i] = place(t);
        }
    }

    function cancelAll(uint96[] memory ids) private {
        vm.startPrank(agent);
        for (uint256 i; i < ids.length; ++i) {
            wallet.cancelBid(ids[i]);
        }
        vm.stopPrank();
    }

    function behind(uint8 tick) private returns (uint96) {
        BidTerms memory t = terms();
        t.tick = tick;
        t.maxDuration = SHORT;
        return place(t);
    }

    /// @dev Matches until something is found; returns how many calls that took and checks that each got on.
    function matchThrough(uint8 tick) private returns (uint96 id, uint256 calls) {
        while (id == 0) {
            uint64 head = market.level(BOOK(), tick).head;
            vm.prank(provider);
            uint256 before = gasleft();
            id = market.matchBest(offerId, BOOK(), 0, 0);
            assertLt(before - gasleft(), 500_000, "bounded gas");
            ++calls;
            if (id == 0) assertEq(market.level(BOOK(), tick).head, head + 8, "eight further each time");
        }
    }

    function testFuzz_AnyNumberOfDeadHeadsIsPassed(uint256 count, bool expired) external {
        count = bound(count, 0, 40);
        uint96[] memory ids = bury(count, 150);
        uint96 live = behind(150);
        skip(timing.minBidLifetime);
        if (!expired) cancelAll(ids);
        (uint96 id, uint256 calls) = matchThrough(150);
        assertEq(id, live);
        assertEq(calls, count / 8 + (count % 8 == 0 && count != 0 ? 0 : 1));
    }

    function test_AHundredAtTheTopTick() external {
        bury(100, 200);
        uint96 live = behind(100);
        skip(timing.minBidLifetime);
        (uint96 id, uint256 calls) = matchThrough(200);
        assertEq(id, live, "a bid on a lower tick is reached as well");
        assertEq(calls, 13);
    }

    /// @dev Looking for a bid by its id keeps its progress as well, though it returns nothing.
    function test_AWrongIdKeepsTheProgress() external {
        bury(20, 200);
        behind(200);
        skip(timing.minBidLifetime);
        vm.startPrank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, 1), 0);
        assertEq(market.matchBest(offerId, BOOK(), 0, 1), 0);
        vm.stopPrank();
        assertEq(market.level(BOOK(), 200).head, 16);
    }

    function test_AnyoneMayPrune() external {
        uint96[] memory ids = bury(100, 200);
        uint96 live = behind(200);
        skip(timing.minBidLifetime);
        assertEq(market.bestBid(BOOK(), 0), 0, "the view looks no deeper than a match");
        vm.prank(stranger);
        assertEq(market.prune(ids), 100);
        vm.prank(stranger);
        assertEq(market.prune(ids), 0, "once each");
        // The places stay behind as gaps, and are passed as before.
        (uint96 id,) = matchThrough(200);
        assertEq(id, live);
    }

    /// @dev With nothing alive behind them, a level of cancelled bids costs no call at all.
    function test_ALevelOfCancelledBidsIsSweptAtOnce() external {
        uint96[] memory ids = bury(30, 200);
        uint96 live = behind(100);
        skip(timing.minBidLifetime - 1);
        vm.warp(block.timestamp + 1);
        cancelAll(ids);
        Level memory level = market.level(BOOK(), 200);
        assertEq(level.head, level.tail);
        assertEq(market.bitmap(BOOK()), 1 << 100);
        (uint96 id, uint256 calls) = matchThrough(100);
        assertEq(id, live);
        assertEq(calls, 1);
        assertStatus(live, Status.Confirmed);
    }

    /// @dev Expired heads met by a match are refunded on the way.
    function test_ExpiredHeadsAreRefundedOnTheWay() external {
        uint256 before = wealth(wallet, agent);
        bury(8, 200);
        skip(timing.minBidLifetime);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, 0), 0);
        assertEq(wealth(wallet, agent), before);
    }
}
