// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Status} from "../../contracts/interfaces/Types.sol";
import {Head, Heads} from "../../contracts/libraries/Heads.sol";

contract HeadsTest is Test {
    function testFuzz_KeepsEveryField(
        address agent,
        uint256 duration,
        uint256 placedAt,
        uint256 lifetime,
        uint256 fee,
        uint8 status
    ) external pure {
        duration = bound(duration, 0, 86_400);
        lifetime = bound(lifetime, 0, 7 days);
        placedAt = bound(placedAt, 0, 2 ** 36 - 1 - 7 days);
        fee = bound(fee, 0, 1000);
        Status state = Status(bound(status, 0, 11));
        Head head = Heads.open(agent, duration, placedAt + lifetime, placedAt, fee);
        assertTrue(head.isOpen());
        assertEq(uint8(head.status()), uint8(Status.Open));
        head = head.withStatus(state);
        assertEq(head.agent(), agent);
        assertEq(head.maxDuration(), duration);
        assertEq(head.expiry(), placedAt + lifetime);
        assertEq(head.placedAt(), placedAt);
        assertEq(head.feeBps(), fee);
        assertEq(uint8(head.status()), uint8(state));
        assertEq(head.isOpen(), state == Status.Open);
    }

    /// @dev Each field at its greatest with all others zero: none reaches into a neighbour, and each is whole.
    function test_NoFieldReachesIntoAnother() external pure {
        check(Heads.open(address(type(uint160).max), 0, 0, 0, 0), [uint256(type(uint160).max), 0, 0, 0, 0]);
        check(Heads.open(address(0), 2 ** 20 - 1, 0, 0, 0), [uint256(0), 2 ** 20 - 1, 0, 0, 0]);
        check(Heads.open(address(0), 0, 2 ** 36 - 1, 2 ** 36 - 1, 0), [uint256(0), 0, 2 ** 36 - 1, 2 ** 36 - 1, 0]);
        check(Heads.open(address(0), 0, 2 ** 20 - 1, 0, 0), [uint256(0), 0, 2 ** 20 - 1, 0, 0]);
        check(Heads.open(address(0), 0, 0, 0, 2 ** 12 - 1), [uint256(0), 0, 0, 0, 2 ** 12 - 1]);
    }

    /// @param fields agent, maxDuration, expiry, placedAt, feeBps.
    function check(Head head, uint256[5] memory fields) private pure {
        assertEq(uint160(head.agent()), fields[0], "agent");
        assertEq(head.maxDuration(), fields[1], "maxDuration");
        assertEq(head.expiry(), fields[2], "expiry");
        assertEq(head.placedAt(), fields[3], "placedAt");
        assertEq(head.feeBps(), fields[4], "feeBps");
        assertTrue(head.isOpen(), "status");
    }
}
