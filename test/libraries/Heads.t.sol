// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Status} from "../../contracts/interfaces/Types.sol";
import {Head, Heads} from "../../contracts/libraries/Heads.sol";

contract HeadsTest is Test {
    function testFuzz_KeepsEveryField(
        address wallet,
        uint256 duration,
        uint256 placedAt,
        uint256 lifetime,
        uint256 fee,
        uint8 status,
        uint8 flags
    ) external pure {
        duration = bound(duration, 0, 86_400);
        lifetime = bound(lifetime, 0, 7 days);
        placedAt = bound(placedAt, 0, 2 ** 35);
        fee = bound(fee, 0, 1000);
        Status state = Status(bound(status, 0, 11));
        flags = uint8(bound(flags, 0, 7));
        Head head = Heads.open(wallet, duration, placedAt + lifetime, placedAt, fee);
        assertTrue(head.isIn(Status.Open));
        assertEq(head.flags(), 0);
        head = head.withFlags(flags).withStatus(state);
        assertEq(head.wallet(), wallet);
        assertEq(head.maxDuration(), duration);
        assertEq(head.expiry(), placedAt + lifetime);
        assertEq(head.placedAt(), placedAt);
        assertEq(head.feeBps(), fee);
        assertEq(uint8(head.status()), uint8(state));
        assertTrue(head.isIn(state));
        assertEq(head.flags(), flags);
        assertEq(head.has(Heads.PREEMPTED), flags & 2 != 0);
    }
}
