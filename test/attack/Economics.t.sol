// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyAccount, Status, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @title Poison bid, no-show, false dispute, dodged challenge, faked depth
/// @notice The attack: make the other side pay by playing within the rules. A bid whose work cannot be done, a match or a
/// bid that is never followed up, a dispute of good work, a pre-emption in place of a result, a cancel just before a match.
/// Why it fails: whoever breaks off pays at least as much as it costs the other side, and what is taken is burned, so that
/// there is nothing to win.
/// Loss: the price of `minBilled` seconds a side and rental.
contract EconomicsTest is Attack {
    function noShow() private view returns (uint96) {
        return escrow(TICK, timing.minBilled);
    }

    /// @dev The provider declines what it cannot do for half of a no-show, and the consumer gains nothing by it.
    function test_APoisonBidCostsHalfANoShowAndEarnsNothing() external {
        place();
        uint96 had = market.keyAccount(agent).credit;
        post();
        vm.startPrank(provider);
        uint96 id = market.matchBest(offerId, BOOK(), 0, 0);
        market.decline(id);
        vm.stopPrank();
        assertEq(market.creditOf(provider), bond() - (noShow() + 1) / 2, "what is left of the bond");
        assertEq(market.keyAccount(agent).credit, had + escrow(TICK, DURATION), "the escrow alone comes back");
    }

    /// @dev Silence costs both sides the same, whoever is at fault, since the chain cannot tell.
    function test_ANoShowCostsBothSidesTheSame() external {
        uint96 id = matched();
        skip(timing.startDeadline);
        market.advance(id);
        assertStatus(id, Status.Expired);
        assertEq(market.creditOf(provider), bond() - noShow());
        assertEq(market.keyAccount(agent).credit, escrow(TICK, DURATION) - noShow());
        assertEq(market.creditOf(BURNED), uint256(noShow()) * 2 * 9 / 10, "and most of it is burned");
    }

    /// @dev A false dispute that is ruled loses its deposit to the provider it kept waiting.
    function test_AFalseDisputeLosesItsDeposit() external {
        uint96 id = disputed();
        uint96 claimed = escrow(TICK, 100);
        vm.prank(arbiter);
        market.resolve(id, claimed, 0);
        assertEq(market.creditOf(provider), claimed - feeOf(claimed) + claimed, "pay and deposit");
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), claimed * 2, "the deposit counts as spent");
    }

    /// @dev Disputing and waiting for a silent arbiter never pays less than the bill when receipts were given.
    function test_ADisputeThatTimesOutIsNoDiscount() external {
        uint96 id = disputed();
        skip(timing.disputeTimeout);
        market.advance(id);
        uint96 claimed = escrow(TICK, 100);
        assertEq(market.creditOf(provider), claimed - feeOf(claimed));
    }

    /// @dev A pre-empted rental is billed in whole checkpoints, and the bill can be disputed as any other.
    function test_APreemptionCanBeChallenged() external {
        BidTerms memory t = terms();
        t.preemptible = true;
        uint96 id = running(t);
        skip(timing.checkpoint + 1);
        vm.prank(provider);
        market.preempt(id, RESULT, RECEIPTS);
        assertEq(market.creditOf(provider), 0, "nothing is paid yet");
        vm.prank(agent);
        wallet.dispute(id, "garbage");
        vm.prank(arbiter);
        market.resolve(id, 0, 1);
        assertEq(market.creditOf(provider), bond() - 1, "and nothing ever");
    }

    /// @dev Depth cannot be shown and taken away: a bid rests for its minimum lifetime, in which anyone can match it.
    function test_RevertGiven_TheBidIsYoungerThanItsLifetime() external {
        uint96 id = place();
        skip(timing.minBidLifetime - 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidTooYoung.selector, id, uint40(block.timestamp + 1)));
        vm.prank(agent);
        wallet.cancelBid(id);
    }

    function test_RevertWhen_TheAmountsAreZero() external {
        BidTerms memory t = terms();
        t.maxDuration = 0;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidDuration.selector, uint24(0)));
        vm.prank(agent);
        wallet.placeBid(t);
        t = terms();
        t.specHash = 0;
        vm.expectRevert(IAIPowerRental.ZeroSpecHash.selector);
        vm.prank(agent);
        wallet.placeBid(t);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NothingToWithdraw.selector, stranger));
        vm.prank(stranger);
        market.withdraw(stranger);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(0, 0, 0));
        vm.expectRevert(
            abi.encodeWithSelector(
                IAgentWallet.PerBidLimitExceeded.selector, address(wallet), escrow(TICK, DURATION), uint96(0)
            )
        );
        place();
    }
}

/// @title Double spending at the edge of a day, and by spending that nobody counted
/// @notice The attack: use the whole limit just before a window ends and again just after; or end bids without having them
/// counted, so that the wallet does not know that they were spent.
/// Why it fails: an amount counts for at least 24 hours from when it is counted, and until then it stays reserved.
/// Loss: none beyond the limit.
contract DayEdgeTest is Attack {
    /// @dev Whatever the phase of the lanes: spend all, wait less than a day, and nothing more can be spent.
    function testFuzz_NoSecondSpendWithinADay(uint256 phase, uint256 wait, bool collected) external {
        skip(bound(phase, 0, 2 days));
        WalletLimits memory l = limits();
        l.daily = l.perBid = escrow(TICK, DURATION) / 1e12 * 1e12 + 1e12;
        vm.prank(owner);
        wallet.setLimits(l);
        uint96 id = running();
        skip(DURATION);
        submitAs(provider, id, DURATION);
        skip(timing.challengeWindow);
        market.advance(id);
        uint256 settledAt = block.timestamp;
        if (collected) wallet.collect(agent);
        skip(bound(wait, 0, 1 days - 1));
        BidTerms memory t = terms();
        vm.expectPartialRevert(IAgentWallet.DailyLimitExceeded.selector);
        vm.prank(agent);
        wallet.placeBid(t);
        // Uncounted, the day begins when somebody counts.
        if (!collected) wallet.collect(agent);
        uint256 countedAt = collected ? settledAt : block.timestamp;
        vm.warp(countedAt + 7 * 2 ** 14);
        place();
    }

    /// @dev Bids that ended uncounted hold what they spent and what they did not.
    function test_UncountedSpendingStaysReserved() external {
        uint96 id = submitted();
        skip(timing.challengeWindow);
        market.advance(id);
        KeyAccount memory account = market.keyAccount(agent);
        assertEq(account.spent, escrow(TICK, 100));
        assertEq(wallet.reserved(), account.spent + account.released);
        vm.prank(stranger);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), escrow(TICK, 100));
    }
}
