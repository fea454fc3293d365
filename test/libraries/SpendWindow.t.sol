// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {SpendWindow} from "../../contracts/libraries/SpendWindow.sol";

contract SpendWindowTest is Test {
    uint256 private constant LANE = 2 ** 14;

    /// @dev A day after it was spent an amount still counts; seven lanes after, never.
    function testFuzz_AnAmountCountsForADayAndNotForEver(uint40 at, uint32 units, uint256 later) external pure {
        uint256 window = SpendWindow.add(0, at, units);
        assertEq(SpendWindow.sum(window, uint256(at) + bound(later, 0, 1 days)), units);
        assertEq(SpendWindow.sum(window, uint256(at) + 7 * LANE + bound(later, 0, 365 days)), 0);
    }

    /// @dev The last second of a lane is the hardest to keep: a day on, six lanes have begun since.
    function test_TheEndOfALaneCountsForADay() external pure {
        uint256 window = SpendWindow.add(0, 3 * LANE - 1, 9);
        assertEq(SpendWindow.sum(window, 3 * LANE - 1 + 1 days), 9);
        assertEq(SpendWindow.sum(window, 9 * LANE - 1), 9);
        assertEq(SpendWindow.sum(window, 9 * LANE), 0);
    }

    /// @dev Against a plain list of payments: never less than the last 24 hours, never more than seven lanes.
    function testFuzz_BoundsTheTrueSum(uint256 seed, uint16[40] memory gaps) external pure {
        uint256[40] memory times;
        uint256[40] memory amounts;
        uint256 window;
        uint256 time = 1_700_000_000;
        for (uint256 i; i < 40; ++i) {
            time += gaps[i];
            times[i] = time;
            amounts[i] = uint256(keccak256(abi.encode(seed, i))) % 1e7;
            window = SpendWindow.add(window, time, amounts[i]);
            uint256 day;
            uint256 lanes;
            for (uint256 j; j <= i; ++j) {
                if (times[j] + 1 days >= time) day += amounts[j];
                if (times[j] + 7 * LANE > time) lanes += amounts[j];
            }
            uint256 sum = SpendWindow.sum(window, time);
            assertGe(sum, day);
            assertLe(sum, lanes);
        }
    }

    function testFuzz_TheSumOnlyFallsWithTime(uint256 window, uint40 time, uint40 later) external pure {
        window = window & ((1 << 224) - 1) | uint256(time >> 14) << 224;
        assertLe(SpendWindow.sum(window, uint256(time) + later), SpendWindow.sum(window, time));
    }

    /// @dev The pairwise sum against a plain loop over lanes of any content, at any age.
    function testFuzz_TheSumEqualsAPlainLoop(uint256 lanes, uint24 newest, uint256 age) external pure {
        age = bound(age, 0, 9);
        uint256 window = uint256(newest) << 224 | lanes & ((1 << 224) - 1);
        uint256 total;
        for (uint256 i; i + age < 7; ++i) {
            total += lanes >> (32 * i) & type(uint32).max;
        }
        assertEq(SpendWindow.sum(window, (uint256(newest) + age) * LANE), total);
        assertEq(SpendWindow.sum(window, (uint256(newest) + age + 1) * LANE - 1), total);
    }

    function test_SevenFullLanesDoNotOverflow() external pure {
        assertEq(SpendWindow.sum((1 << 224) - 1, 0), 7 * uint256(type(uint32).max));
    }

    /// @dev Rolling moves lanes up by as many as began since, and notes the newest.
    function testFuzz_RollMovesLanesUp(uint256 lanes, uint24 newest, uint256 steps) external pure {
        lanes = lanes & ((1 << 224) - 1);
        steps = bound(steps, 0, 8);
        uint256 rolled = SpendWindow.roll(uint256(newest) << 224 | lanes, (uint256(newest) + steps) * LANE);
        assertEq(rolled >> 224, uint256(newest) + steps);
        for (uint256 i; i < 7; ++i) {
            uint256 expected = i < steps ? 0 : lanes >> (32 * (i - steps)) & type(uint32).max;
            assertEq(rolled >> (32 * i) & type(uint32).max, expected);
        }
    }

    function test_ALaneSaturates() external pure {
        uint256 max = type(uint32).max;
        uint256 window = SpendWindow.add(0, LANE, max - 1);
        window = SpendWindow.add(window, LANE, 5);
        assertEq(SpendWindow.sum(window, LANE), max);
        window = SpendWindow.add(0, LANE, max - 1);
        assertEq(SpendWindow.sum(SpendWindow.add(window, LANE, 1), LANE), max);
        window = SpendWindow.add(window, LANE, 2);
        window = SpendWindow.add(window, 2 * LANE, 7);
        assertEq(SpendWindow.sum(window, 2 * LANE), max + 7);
    }

    /// @dev A clock that stands still or runs back loses nothing.
    function test_AnEarlierTimeIsCountedNow() external pure {
        uint256 window = SpendWindow.add(0, 10 * LANE, 3);
        window = SpendWindow.add(window, 9 * LANE, 4);
        assertEq(SpendWindow.sum(window, 9 * LANE), 7);
        assertEq(SpendWindow.sum(window, 10 * LANE), 7);
    }
}
