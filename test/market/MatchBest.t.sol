// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Vm} from "forge-std/Vm.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, BidTerms, RemovalReason, Status} from "../../contracts/interfaces/Types.sol";

contract MatchBestTest is Base {
    function at(uint8 tick) private returns (uint96) {
        BidTerms memory t = terms();
        t.tick = tick;
        t.maxDuration = 60;
        return place(t);
    }

    function dead(uint256 count, bool expire) private returns (uint96[] memory ids) {
        BidTerms memory t = terms();
        t.maxDuration = 60;
        t.expiry = uint40(block.timestamp) + timing.minBidLifetime;
        ids = new uint96[](count);
        for (uint256 i; i < count; ++i) {
            ids[i] = place(t);
        }
        uint96 live = at(TICK);
        skip(timing.minBidLifetime);
        if (!expire) {
            for (uint256 i; i < count; ++i) {
                vm.prank(agent);
                wallet.cancelBid(ids[i]);
            }
        }
        assertEq(live, idOf(BOOK(), TICK, uint64(count)));
    }

    function match_(uint8 minTick, uint96 expected) private returns (uint96) {
        vm.prank(provider);
        return market.matchBest(offerId, BOOK(), minTick, expected);
    }

    function test_TakesTheBestTickInOrder() external {
        post();
        uint96 low = at(0);
        uint96 high = at(200);
        uint96 high2 = at(200);
        uint96 middle = at(100);
        assertEq(match_(0, 0), high);
        assertEq(match_(0, 0), high2);
        assertEq(match_(0, 0), middle);
        assertEq(match_(0, 0), low);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferFull.selector, offerId));
        market.matchBest(offerId, 769, 0, 0);
    }

    function test_ConfirmsTheHead() external {
        uint96 id = place();
        post();
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        vm.expectEmit();
        emit IAIPowerRental.AgreementCreated(id, offerId, provider, deadline);
        assertEq(match_(0, id), id);
        Agreement memory a = market.agreement(id);
        assertEq(uint8(a.status), uint8(Status.Confirmed));
        assertEq(a.offerId, offerId);
        assertEq(a.deadline, deadline);
        assertEq(a.startOrBillable, 0);
        assertEq(market.offer(offerId).used, 1);
        assertEq(market.bitmap(BOOK()), 0);
    }

    function test_ReturnsZeroWhen_NothingReachesTheReserve() external {
        at(99);
        post(255, 100);
        assertEq(match_(0, 0), 0);
        assertEq(market.offer(offerId).used, 0);
        vm.prank(provider);
        market.updateOffer(offerId, 99, uint40(block.timestamp + 1));
        assertEq(match_(100, 0), 0);
        assertNotEq(match_(99, 0), 0);
    }

    function test_ReturnsZeroWhen_ExpectedIsNotTheHead() external {
        post();
        uint96 first = at(50);
        uint96 second = at(50);
        assertEq(match_(0, second), 0);
        assertStatus(first, Status.Open);
        assertEq(market.offer(offerId).used, 0);
        assertEq(match_(0, first), first);
    }

    function test_StepsOverEightCancelledHeads() external {
        dead(8, false);
        post();
        assertEq(match_(0, 0), idOf(BOOK(), TICK, 8));
    }

    /// @dev Nine dead heads: the first call finds nothing yet keeps what it pruned; the next one goes on from there.
    function test_KeepsItsProgressOverNineCancelledHeads() external {
        dead(9, false);
        post();
        assertEq(match_(0, 0), 0);
        assertEq(market.level(BOOK(), TICK).head, 8);
        assertEq(match_(0, 0), idOf(BOOK(), TICK, 9));
    }

    function test_RefundsExpiredHeadsOnTheWay() external {
        uint96[] memory ids = dead(8, true);
        uint96 held = escrow(TICK, 60);
        post();
        vm.recordLogs();
        assertEq(match_(0, 0), idOf(BOOK(), TICK, 8));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 removed;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == IAIPowerRental.BidRemoved.selector) ++removed;
        }
        assertEq(removed, 8);
        for (uint256 i; i < 8; ++i) {
            assertStatus(ids[i], Status.Expired);
        }
        assertEq(keyCredit(), 8 * held);
        wallet.collect(agent);
        assertEq(wallet.reserved(), held);
    }

    /// @dev The ninth dead head ends the call, but what was refunded before stays refunded.
    function test_KeepsItsProgressOverNineExpiredHeads() external {
        uint96[] memory ids = dead(9, true);
        post();
        assertEq(match_(0, 0), 0);
        assertStatus(ids[7], Status.Expired);
        assertStatus(ids[8], Status.Open);
        assertEq(market.level(BOOK(), TICK).head, 8);
        assertEq(market.offer(offerId).used, 0);
        assertEq(match_(0, 0), idOf(BOOK(), TICK, 9));
    }

    function test_MatchesUntilTheLastSecondOfABid() external {
        uint96 id = place();
        post();
        vm.warp(terms().expiry - 1);
        assertEq(market.bestBid(BOOK(), 0), id);
        assertEq(match_(0, 0), id);
    }

    function test_AnExpiredBookGivesNothing() external {
        place();
        skip(1 days);
        post();
        assertEq(match_(0, 0), 0);
        assertEq(market.bitmap(BOOK()), 0);
    }

    function test_RevertWhen_OfferIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferUnknown.selector, 77));
        market.matchBest(77, 769, 0, 0);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        post();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.matchBest(offerId, 769, 0, 0);
    }

    function test_RevertWhen_BookIsNotServed() external {
        post(1, 0);
        uint16[4] memory books = [BOOK() + 1, BOOK() + 2, BOOK() + 8, (uint16(CLS) + 1) << 8];
        vm.startPrank(provider);
        for (uint256 i; i < books.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BookNotServed.selector, offerId, books[i]));
            market.matchBest(offerId, books[i], 0, 0);
        }
    }

    /// @dev Each bit of the mask serves the one book it stands for.
    function test_EachBitOfTheMaskServesItsBook() external {
        for (uint8 bit; bit < 8; ++bit) {
            post(uint8(1) << bit, 0);
            vm.startPrank(provider);
            for (uint16 each; each < 8; ++each) {
                uint16 book = uint16(CLS) << 8 | each;
                if (each != bit) {
                    vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BookNotServed.selector, offerId, book));
                }
                market.matchBest(offerId, book, 0, 0);
            }
            vm.stopPrank();
        }
    }

    function test_RevertGiven_OfferRanOut() external {
        post();
        skip(30 days - 1);
        assertEq(match_(0, 0), 0);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferInactive.selector, offerId));
        vm.prank(provider);
        market.matchBest(offerId, 769, 0, 0);
    }

    function test_RevertGiven_OfferIsClosed() external {
        post();
        vm.startPrank(provider);
        market.closeOffer(offerId);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferInactive.selector, offerId));
        market.matchBest(offerId, 769, 0, 0);
    }
}

contract MatchBestBatchTest is Base {
    function test_TakesWhatThereIs() external {
        uint96 first = place();
        uint96 second = place();
        post();
        vm.prank(operator);
        uint96[] memory ids = market.matchBestBatch(offerId, 768, 0, 10);
        assertEq(ids.length, 2);
        assertEq(ids[0], first);
        assertEq(ids[1], second);
        assertEq(market.offer(offerId).used, 2);
    }

    function test_NeverTakesMoreThanFreeSlots() external {
        for (uint256 i; i < SLOTS + 1; ++i) {
            place();
        }
        post();
        vm.prank(operator);
        assertEq(market.matchBestBatch(offerId, 768, 0, type(uint256).max).length, SLOTS);
        assertEq(market.level(768, TICK).live, 1);
    }

    function test_NeverTakesMoreThanAsked() external {
        place();
        place();
        post();
        vm.prank(operator);
        assertEq(market.matchBestBatch(offerId, 768, 0, 1).length, 1);
        assertEq(market.offer(offerId).used, 1);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        post();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.matchBestBatch(offerId, 768, 0, 1);
    }

    function test_RevertGiven_OfferIsFull() external {
        for (uint256 i; i < SLOTS; ++i) {
            place();
        }
        post();
        vm.startPrank(operator);
        market.matchBestBatch(offerId, 768, 0, SLOTS);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferFull.selector, offerId));
        market.matchBestBatch(offerId, 768, 0, 1);
    }

    /// @dev Every match of a batch is an agreement of the offer, announced as one.
    function test_ConfirmsEach() external {
        uint96[2] memory placed = [place(), place()];
        post();
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        for (uint256 i; i < 2; ++i) {
            vm.expectEmit();
            emit IAIPowerRental.AgreementCreated(placed[i], offerId, provider, deadline);
        }
        vm.prank(operator);
        market.matchBestBatch(offerId, 768, TICK, 3);
        for (uint256 i; i < 2; ++i) {
            assertStatus(placed[i], Status.Confirmed);
            assertEq(market.agreement(placed[i]).offerId, offerId);
        }
        place();
        vm.prank(operator);
        assertEq(market.matchBestBatch(offerId, 768, TICK + 1, 3).length, 0);
    }
}
