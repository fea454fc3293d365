// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";

/// @notice Deployable, with room for a fix.
contract SizeTest is Base {
    function test_RuntimeSizesLeaveRoom() external view {
        assertLt(address(market).code.length, 23_500);
        assertLt(factory.implementation().code.length, 23_500);
    }
}
