// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {SpendWindow} from "../../contracts/libraries/SpendWindow.sol";

/// @notice Proofs about the rolling window, for every stored word and every time below 2^40.
/// @dev Not here, because the solver does not get through or finds what is none: that the sum by pairs is the sum of the
/// lanes, and that it only falls with time. Both are fuzzed in test/libraries/SpendWindow.t.sol.
/// @dev That an amount counts for 24 hours follows from two of them: 24 hours cross at most six lane borders, and an amount
/// outlives six. As one statement it is beyond the solver, because the number of lanes is then a shift of unknown width;
/// so the second walks the seven cases, which are all there are.
contract SpendWindowProofs is Test {
    uint256 private constant LANE = 2 ** 14;
    uint256 private constant LANES = 7;
    uint256 private constant MAX_LANE = type(uint32).max;

    /// @dev Looking at a window in between changes nothing.
    function check_RollingTwiceIsRollingOnce(uint256 window, uint40 time, uint40 later) external pure {
        vm.assume(time <= later);
        assertEq(SpendWindow.roll(SpendWindow.roll(window, time), later), SpendWindow.roll(window, later));
    }

    /// @dev Added is what was asked for, or what a lane can still hold; never more, and to the newest lane alone.
    function check_AddingChangesTheNewestLaneAlone(uint256 window, uint40 time, uint32 units) external pure {
        uint256 before = SpendWindow.roll(window, time);
        uint256 room = MAX_LANE - (before & MAX_LANE);
        uint256 added = units < room ? units : room;
        assertEq(SpendWindow.add(window, time, units), before + added);
        assertLe((before & MAX_LANE) + added, MAX_LANE);
    }

    function check_ADayCrossesAtMostSixLanes(uint40 time, uint40 later) external pure {
        vm.assume(time <= later && later - time <= 1 days);
        assertLe(later / LANE - time / LANE, 6);
    }

    /// @dev Second within a lane never matters.
    function check_OnlyTheLaneOfATimeCounts(uint256 window, uint40 time) external pure {
        assertEq(SpendWindow.roll(window, time), SpendWindow.roll(window, time / LANE * LANE));
    }

    /// @dev Two amounts within a day both count, at the second's time.
    function check_AmountsWithinADayAddUp(uint40 time, uint40 later, uint16 first, uint16 second) external pure {
        vm.assume(time <= later && later - time <= 1 days);
        uint256 next = SpendWindow.add(SpendWindow.add(0, time, first), later, second);
        assertGe(SpendWindow.sum(next, later), uint256(first) + second);
    }
}

/// @notice What takes minutes.
contract SlowSpendWindowProofs is Test {
    uint256 private constant LANE = 2 ** 14;
    uint256 private constant LANES = 7;
    uint256 private constant MAX_LANE = type(uint32).max;

    /// @dev As long as at most six lanes began since, the lane with the amount is still there, whole.
    function check_AnAmountOutlivesSixLanes(uint224 lanes, uint16 lane, uint32 units) external pure {
        if (units > MAX_LANE - (lanes & MAX_LANE)) return;
        uint256 next = SpendWindow.add(uint256(lane) << 224 | lanes, uint256(lane) * LANE, units);
        for (uint256 steps; steps < LANES; ++steps) {
            uint256 later = SpendWindow.roll(next, (uint256(lane) + steps) * LANE);
            assertGe(later >> (32 * steps) & MAX_LANE, units);
        }
        assertEq(SpendWindow.roll(next, (uint256(lane) + LANES) * LANE) & ((1 << 224) - 1), 0);
    }
}
