// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy} from "../../contracts/interfaces/Types.sol";

/// @title Day-edge double spend
/// @notice The attack: spend the whole daily limit just before a boundary of the window and again just after it.
/// Why it fails: there is no day: the window rolls in lanes of 2^14 s, and an amount counts for at least 24 h and less
/// than 7 × 2^14 s (31.9 h) after it was counted; until then it counts as reserved.
/// Loss: none; at any phase of day and lane the second spend fails for 24 h.
contract DayEdgeTest is Attack {
    uint256 private constant KEPT = 7 * 2 ** 14;

    /// @dev A key whose daily limit is exactly one rental.
    function setUp() public override {
        super.setUp();
        KeyPolicy memory p = policy();
        p.expiry = type(uint40).max;
        p.daily = limit();
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.prank(provider);
        offerId = market.postOffer(CLS, 255, SLOTS, 0, 1 ether, type(uint40).max);
    }

    function limit() private view returns (uint96) {
        return (escrow(TICK, DURATION) + 1e12 - 1) / 1e12 * 1e12;
    }

    /// @dev Spends the limit to the last second and returns when.
    function spendAll() private returns (uint256 at) {
        uint96 id = running();
        skip(DURATION);
        submitAs(provider, id, DURATION);
        skip(timing.challengeWindow);
        market.advance(id);
        return block.timestamp;
    }

    function smallest() private view returns (BidTerms memory t) {
        t = terms();
        t.tick = 0;
        t.maxDuration = uint24(timing.minBilled);
    }

    function expectRefused() private {
        uint96 more = escrow(0, timing.minBilled);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, agent, uint256(limit()) + more, limit())
        );
        vm.prank(agent);
        wallet.placeBid(smallest());
    }

    function test_AtMidnightNothingIsNew() external {
        uint256 midnight = (uint256(NOW) / 1 days + 1) * 1 days;
        vm.warp(midnight - 60 - DURATION - timing.challengeWindow);
        assertEq(spendAll(), midnight - 60);
        wallet.collect(agent);
        vm.warp(midnight + 60);
        expectRefused();
        // The same time a day later.
        vm.warp(midnight - 61 + 1 days);
        expectRefused();
    }

    function testFuzz_NoPhaseOfTheWindowGivesASecondLimit(uint256 phase, uint256 wait) external {
        vm.warp(uint256(NOW) + bound(phase, 0, KEPT));
        uint256 at = spendAll();
        wallet.collect(agent);
        wait = bound(wait, 0, 1 days - 1);
        vm.warp(at + wait);
        expectRefused();
    }

    /// @dev Control: the limit does come back, at every phase, before KEPT seconds have passed.
    function testFuzz_TheLimitComesBack(uint256 phase) external {
        vm.warp(uint256(NOW) + bound(phase, 0, KEPT));
        uint256 at = spendAll();
        wallet.collect(agent);
        vm.warp(at + KEPT);
        assertEq(wallet.availableTo(agent), limit());
        spendAll();
    }

    /// @dev Left uncounted, what was spent stays reserved, however late: nothing falls out of the window unseen.
    function testFuzz_UncountedSpendingNeverAgesOut(uint256 wait) external {
        spendAll();
        skip(bound(wait, 0, 300 days));
        expectRefused();
        assertEq(wallet.availableTo(agent), 0);
    }
}
