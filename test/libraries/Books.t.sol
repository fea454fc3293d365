// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {stdError} from "forge-std/StdError.sol";
import {Books} from "../../contracts/libraries/Books.sol";
import {Ids} from "../../contracts/libraries/Ids.sol";

contract BooksTest is Test {
    using Books for Books.Book;

    Books.Book private book;

    function drop(uint256 tick) external {
        book.drop(tick);
    }

    function check(uint256 tick, uint256 head, uint256 tail, uint256 live) private view {
        assertEq(book.levels[tick].head, head, "head");
        assertEq(book.levels[tick].tail, tail, "tail");
        assertEq(book.levels[tick].live, live, "live");
        assertEq(book.bitmap >> tick & 1 == 1, live != 0, "bit");
    }

    function test_PushPopDropAndSkip() external {
        book.push(9);
        assertEq(book.push(7), 0);
        assertEq(book.push(7), 1);
        assertEq(book.push(7), 2);
        check(7, 0, 3, 3);
        book.drop(7);
        check(7, 0, 3, 2);
        book.skip(7);
        check(7, 1, 3, 2);
        book.pop(7);
        check(7, 2, 3, 1);
        book.pop(7);
        check(7, 3, 3, 0);
        // Places are never given twice.
        assertEq(book.push(7), 3);
        book.push(7);
        book.drop(7);
        book.drop(7);
        check(7, 5, 5, 0);
        check(9, 0, 1, 1);
    }

    function test_RevertGiven_NothingIsLive() external {
        vm.expectRevert(stdError.arithmeticError);
        this.drop(3);
    }

    /// @dev Against a plain loop from the top.
    function testFuzz_BestIsTheHighestAtOrAbove(uint256 bitmap, uint8 minTick) external pure {
        (bool found, uint256 tick) = Books.best(bitmap, minTick);
        for (uint256 i; i < 256 - uint256(minTick); ++i) {
            uint256 each = 255 - i;
            if (bitmap >> each & 1 == 0) continue;
            assertTrue(found);
            assertEq(tick, each);
            return;
        }
        assertFalse(found);
    }

    function test_BestAtTheEdges() external pure {
        (bool found, uint256 tick) = Books.best(1, 0);
        assertTrue(found);
        assertEq(tick, 0);
        (found,) = Books.best(1, 1);
        assertFalse(found);
        (found, tick) = Books.best(1 << 255, 255);
        assertTrue(found);
        assertEq(tick, 255);
    }

    function testFuzz_IdsKeepTheirParts(uint8 cls, bool preemptible, uint24 duration, uint8 tick, uint64 sequence)
        external
        pure
    {
        uint256 number = Ids.bookFor(cls, preemptible, duration);
        uint256 id = Ids.make(number, tick, sequence);
        assertEq(Ids.cls(id), cls);
        assertEq(Ids.book(id), number);
        assertEq(Ids.tick(id), tick);
        assertEq(uint64(id), sequence);
        assertEq(Ids.isPreemptible(id), preemptible);
        assertEq(number & 0xff, Ids.bucketOf(duration) * 2 + (preemptible ? 1 : 0));
        assertLe(id, type(uint96).max);
    }

    function test_BucketsIncludeTheirBounds() external pure {
        uint24[8] memory durations = [uint24(0), 600, 601, 3600, 3601, 21_600, 21_601, 86_400];
        for (uint256 i; i < 8; ++i) {
            assertEq(Ids.bucketOf(durations[i]), i / 2);
        }
    }
}
