// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, Status} from "../../contracts/interfaces/Types.sol";

/// @title Key theft, self-deal
/// @notice The attack: a thief holds a session key, bids at the dearest tick, matches with a provider of its own,
/// countersigns and bills whole rentals for no work.
/// Why it is bounded: every bid is reserved under the limits of the key, its ancestors and the wallet. A provider list
/// makes the countersignature void. After `revokeAll` nothing starts. While a rental runs the owner's cancel pays
/// elapsed time only, and in the challenge window the owner may dispute.
/// Loss: at most min(daily of key and ancestors, daily of the wallet) in any 24 h, at most the least lifetime limit in
/// all. Rentals matched but not started when the owner steps in lose cost(minBilled) each, which is burned.
contract KeyTheftTest is Attack {
    function setUp() public override {
        super.setUp();
        postRogue(200);
    }

    /// @dev Top tick that the key may bid, `duration` long.
    function dear(uint24 duration) private view returns (BidTerms memory t) {
        t = terms();
        t.tick = 200;
        t.maxDuration = duration;
    }

    function useList(bool on) private {
        KeyPolicy memory p = policy();
        p.providerList = on;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
    }

    function startAsRogue(uint96 id) private {
        bytes memory signature = countersign(agentKey, id);
        vm.prank(rogue);
        market.start(id, SPEC, IMAGE, signature);
    }

    function selfDeal(BidTerms memory t) private returns (uint96 id) {
        vm.prank(agent);
        wallet.placeBid(t);
        id = matchAsRogue(t);
        startAsRogue(id);
        skip(t.maxDuration);
        vm.prank(rogue);
        market.submit(id, t.maxDuration, RESULT, RECEIPTS);
    }

    /// @dev The thief works without a pause until a limit stops it.
    function test_TheLossOfADayIsTheKeysDailyLimit() external {
        BidTerms memory t = dear(3600);
        uint96 held = escrow(200, 3600);
        uint256 before = wealth(wallet, agent);
        uint256 rentals = policy().daily / held;
        for (uint256 i; i < rentals; ++i) {
            uint96 id = selfDeal(t);
            skip(timing.challengeWindow);
            market.advance(id);
            t.expiry = uint40(block.timestamp + 1 days);
        }
        assertGt(rentals, 10, "the attack works at all");
        uint256 counted = rentals * roundedUp(held) + held;
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, agent, counted, policy().daily)
        );
        vm.prank(agent);
        wallet.placeBid(t);
        assertEq(before - wealth(wallet, agent), rentals * held);
        assertLe(rentals * held, policy().daily);
        assertEq(market.creditOf(rogue), rentals * (held - feeOf(held)));
    }

    function test_TheLossForEverIsTheLifetimeLimit() external {
        KeyPolicy memory p = policy();
        p.lifetime = 60 ether;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        BidTerms memory t = dear(3600);
        uint256 before = wealth(wallet, agent);
        bool stopped;
        for (uint256 day; day < 4 && !stopped; ++day) {
            for (uint256 i; i < 15; ++i) {
                t.expiry = uint40(block.timestamp + 1 days);
                vm.prank(agent);
                try wallet.placeBid(t) {
                    uint96 id = matchAsRogue(t);
                    startAsRogue(id);
                    skip(3600);
                    vm.prank(rogue);
                    market.submit(id, 3600, RESULT, RECEIPTS);
                    skip(timing.challengeWindow);
                    market.advance(id);
                } catch (bytes memory reason) {
                    stopped = bytes4(reason) == IAgentWallet.LifetimeLimitExceeded.selector;
                    break;
                }
            }
            skip(2 days);
        }
        assertTrue(stopped, "the lifetime limit is what ends it");
        uint256 stolen = before - wealth(wallet, agent);
        assertGt(stolen, p.daily, "more than a day's worth");
        assertLe(stolen, p.lifetime);
    }

    /// @dev Two stolen keys of one wallet share the wallet's limit.
    function test_TheWalletsLimitHoldsForAllKeysTogether() external {
        KeyPolicy memory p = policy();
        p.daily = 100 ether;
        address[3] memory keys = [agent, makeAddr("second"), makeAddr("third")];
        for (uint256 i; i < keys.length; ++i) {
            vm.prank(owner);
            wallet.authorizeAgent(keys[i], p);
        }
        uint256 placed;
        uint96 held = escrow(200, 3600);
        for (uint256 i; i < keys.length; ++i) {
            vm.startPrank(keys[i]);
            while (wallet.availableTo(keys[i]) >= held) {
                wallet.placeBid(dear(3600));
                placed += held;
            }
            uint256 wanted = placed + held;
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAgentWallet.DailyLimitExceeded.selector, i == 0 ? keys[0] : address(wallet), wanted, 100 ether
                )
            );
            wallet.placeBid(dear(3600));
            vm.stopPrank();
        }
        assertLe(placed, limits().daily);
        assertGt(placed + held, limits().daily);
    }

    function test_AProviderListLeavesTheThiefNothing() external {
        useList(true);
        vm.prank(owner);
        wallet.allowProvider(provider, true);
        BidTerms memory t = dear(3600);
        vm.prank(agent);
        wallet.placeBid(t);
        uint96 id = matchAsRogue(t);
        bytes memory signature = countersign(agentKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, agent));
        vm.prank(rogue);
        market.start(id, SPEC, IMAGE, signature);
        skip(timing.startDeadline);
        market.advance(id);
        assertEq(market.creditOf(rogue), bond() - escrow(200, timing.minBilled), "it even lost a part of its bond");
        // The same with a listed provider works: the list is what stopped it.
        vm.prank(owner);
        wallet.allowProvider(rogue, true);
        startAsRogue(nextMatch(t));
    }

    function test_AfterRevokeAllNothingStarts() external {
        BidTerms memory t = dear(3600);
        vm.prank(agent);
        wallet.placeBid(t);
        uint96 id = matchAsRogue(t);
        uint256 before = wealth(wallet, agent);
        vm.prank(owner);
        wallet.revokeAll();
        bytes memory signature = countersign(agentKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, agent));
        vm.prank(rogue);
        market.start(id, SPEC, IMAGE, signature);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        vm.prank(agent);
        wallet.cancelBid(id);
        skip(timing.startDeadline);
        market.advance(id);
        uint96 penalty = escrow(200, timing.minBilled);
        assertEq(wealth(wallet, agent) - before, escrow(200, 3600) - penalty, "all but the minimum comes back");
        assertEq(market.creditOf(rogue), bond() - penalty, "and the thief lost as much");
        vm.expectRevert(IAgentWallet.WalletPaused.selector);
        vm.prank(agent);
        wallet.placeBid(t);
    }

    function test_TheOwnersCancelWhileRunningPaysElapsedOnly(uint256 elapsed) external {
        elapsed = bound(elapsed, 0, 3599);
        BidTerms memory t = dear(3600);
        vm.prank(agent);
        wallet.placeBid(t);
        uint256 before = wealth(wallet, agent);
        uint96 id = matchAsRogue(t);
        startAsRogue(id);
        skip(elapsed);
        vm.prank(owner);
        wallet.cancelBid(id);
        skip(timing.challengeWindow);
        market.advance(id);
        uint96 lost = escrow(200, elapsed < timing.minBilled ? timing.minBilled : elapsed);
        assertEq(wealth(wallet, agent) - before, escrow(200, 3600) - lost);
        assertEq(market.creditOf(rogue), lost - feeOf(lost));
    }

    /// @dev With all limits used up by the thief the owner can dispute none the less.
    function test_TheOwnersDisputeInTheWindowTakesItBack() external {
        BidTerms memory t = dear(3600);
        uint256 before = wealth(wallet, agent);
        uint96 id = selfDeal(t);
        useUpLimits();
        vm.prank(owner);
        wallet.dispute(id, "stolen");
        assertStatus(id, Status.Disputed);
        uint96 slash = bond();
        vm.prank(arbiter);
        market.resolve(id, 0, slash);
        vm.startPrank(owner);
        wallet.revokeAll();
        vm.stopPrank();
        skip(2 days);
        uint96[] memory open = new uint96[](20);
        for (uint64 i; i < 20; ++i) {
            open[i] = idOf(bookOf(t), 200, i);
        }
        market.prune(open);
        assertEq(wealth(wallet, agent), before, "nothing is lost");
        assertEq(market.creditOf(rogue), 0, "and the bond is gone");
    }

    function useUpLimits() private {
        BidTerms memory t = dear(3600);
        vm.startPrank(agent);
        while (true) {
            try wallet.placeBid(t) {}
            catch {
                break;
            }
        }
        vm.stopPrank();
    }

    function nextMatch(BidTerms memory t) private returns (uint96 id) {
        vm.prank(agent);
        wallet.placeBid(t);
        return matchAsRogue(t);
    }

    /// @dev As the window counts: millionths of a token, rounded up.
    function roundedUp(uint96 amount) private pure returns (uint256) {
        return (uint256(amount) + 1e12 - 1) / 1e12 * 1e12;
    }
}
