// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, BidTerms, KeyAccount, KeyPolicy, Status} from "../../contracts/interfaces/Types.sol";

/// @title Uncounted spending, collect by a stranger
/// @notice The attack: what an ended bid spent is counted later, at the key's next bid or at `collect`. Find an order of
/// bids, ends and collects in which something is counted never, twice or too late, and spend more than a limit.
/// Why it fails: until it is counted all of an ended bid stays reserved, and counting moves it in one step.
/// Loss: none. Nobody counting only makes the limits stricter; anyone may count, which pays the wallet and no one else.
contract UncountedSpendingTest is Attack {
    struct Payment {
        uint256 at;
        uint256 amount;
    }

    uint96 private constant DAILY = 1 ether;
    uint96 private constant LIFETIME = 4.5 ether;

    uint96[] private live;
    Payment[] private payments;

    function setUp() public override {
        super.setUp();
        KeyPolicy memory p = policy();
        p.expiry = type(uint40).max;
        p.daily = DAILY;
        p.lifetime = LIFETIME;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.prank(provider);
        offerId = market.postOffer(CLS, 255, 500, 0, 1 ether, type(uint40).max);
    }

    /// @dev A seeded walk; after each step what really left the wallet obeys both limits, at every moment.
    function testFuzz_NoSequenceSpendsMoreThanALimit(uint256 seed) external {
        for (uint256 step; step < 80; ++step) {
            uint256 r = uint256(keccak256(abi.encode(seed, step)));
            uint256 what = r % 8;
            if (what < 4) bidOnce(r >> 8);
            else if (what < 6) end(r >> 8);
            else if (what == 6) skip((r >> 8) % 5 hours);
            else try wallet.collect(agent) {} catch {}
            check();
        }
    }

    /// @dev Control: the walk does run into the limit of a day.
    function test_TheWalkReachesTheLimit() external {
        uint256 refused;
        for (uint256 i; i < 40; ++i) {
            refused += bidOnce(595 << 16 | 199 << 8 | 3) ? 0 : 1;
            end(49 << 16);
            check();
        }
        assertGt(payments.length, 0);
        assertGt(refused, 0);
    }

    function bidOnce(uint256 r) private returns (bool placed) {
        BidTerms memory t = terms();
        t.tick = uint8(r >> 8) % 200 + 1;
        t.maxDuration = uint24(timing.minBilled + (r >> 16) % 596);
        t.expiry = uint40(block.timestamp + 1 days);
        vm.prank(agent);
        try wallet.placeBid(t) returns (uint96 id) {
            placed = true;
            live.push(id);
            if (r & 1 == 0) return true;
            vm.prank(provider);
            id = market.matchBest(offerId, BOOK(), 0, 0);
            if (r & 2 != 0 && id != 0) startAs(provider, id);
        } catch (bytes memory reason) {
            bytes4 error = bytes4(reason);
            assertTrue(
                error == IAgentWallet.DailyLimitExceeded.selector
                    || error == IAgentWallet.LifetimeLimitExceeded.selector
            );
        }
    }

    /// @dev Brings one live agreement to some end, with time passing as its way needs.
    function end(uint256 r) private {
        if (live.length == 0) return;
        uint256 index = r % live.length;
        uint96 id = live[index];
        Status status = market.agreement(id).status;
        if (status == Status.Running && r & 256 == 0) {
            skip(50);
            vm.prank(provider);
            try market.submit(id, uint40((r >> 16) % 50), RESULT, RECEIPTS) {} catch {}
        } else if (r & 512 == 0) {
            skip(timing.minBidLifetime);
            vm.prank(agent);
            try wallet.cancelBid(id) {} catch {}
        }
        status = market.agreement(id).status;
        if (status < Status.Settled) {
            uint40 at = status == Status.Open ? market.agreement(id).expiry : market.agreement(id).deadline;
            if (at > block.timestamp) vm.warp(at);
            market.advance(id);
        }
        sweep();
    }

    function sweep() private {
        for (uint256 i = live.length; i > 0; --i) {
            Agreement memory a = market.agreement(live[i - 1]);
            if (a.status < Status.Settled) continue;
            if (a.paid != 0) payments.push(Payment(block.timestamp, a.paid));
            live[i - 1] = live[live.length - 1];
            live.pop();
        }
    }

    function check() private {
        // A match may have ended bids on its way.
        sweep();
        uint256 held;
        for (uint256 i; i < live.length; ++i) {
            held += escrow(uint8(live[i] >> 64), market.agreement(live[i]).maxDuration);
        }
        KeyAccount memory account = market.keyAccount(agent);
        uint256 day;
        uint256 total;
        for (uint256 i; i < payments.length; ++i) {
            total += payments[i].amount;
            if (payments[i].at + 1 days > block.timestamp) day += payments[i].amount;
        }
        assertLe(day + held, DAILY, "a day");
        assertLe(total + held, LIFETIME, "for ever");
        assertEq(wallet.reserved(), held + account.spent + account.released, "the uncounted stays reserved");
        assertEq(wallet.lifetimeSpent() + account.spent, total, "counted once");
    }

    function test_AStrangersCollectPaysTheWalletAlone() external {
        uint96 gross = escrow(TICK, 100);
        uint256 before = token.balanceOf(address(wallet));
        uint96 id = submitted();
        skip(timing.challengeWindow);
        market.advance(id);
        uint96 credit = escrow(TICK, DURATION) - gross;
        vm.startPrank(stranger);
        assertEq(wallet.collect(agent), credit);
        assertEq(wallet.collect(agent), 0, "once");
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, stranger));
        market.collect(agent);
        vm.stopPrank();
        assertEq(token.balanceOf(stranger), 0);
        assertEq(token.balanceOf(address(wallet)), before - gross);
    }

    /// @dev Between the bids of a key a stranger collects each time: the key may bid as much as without.
    function testFuzz_AStrangersCollectNeverNarrowsTheLimits(uint256 seed, uint256 steps) external {
        steps = bound(steps, 1, 10);
        for (uint256 i; i < steps; ++i) {
            bidOnce(uint256(keccak256(abi.encode(seed, i))) | 1);
            end(uint256(keccak256(abi.encode(seed, i, "end"))));
        }
        uint96 room = wallet.availableTo(agent);
        vm.prank(stranger);
        try wallet.collect(agent) {} catch {}
        assertGe(wallet.availableTo(agent), room);
    }

    /// @dev Counting works for keys that are dead by then, or the wallet would stay narrowed for ever.
    function test_ADeadKeysSpendingCanBeCounted() external {
        uint96 id = submitted();
        vm.prank(owner);
        wallet.revokeAll();
        skip(timing.challengeWindow);
        market.advance(id);
        vm.prank(stranger);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), escrow(TICK, 100));
    }
}
