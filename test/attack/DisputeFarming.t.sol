// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, KeyAccount, Status} from "../../contracts/interfaces/Types.sol";

/// @title Dispute farming, absent and dishonest arbiter
/// @notice The attack: a consumer disputes every result for a discount; a provider delivers garbage and hopes for a
/// silent arbiter; an arbiter takes a side.
/// Why it fails: a dispute needs a deposit of what it could win, and a ruling for the claim gives it to the provider.
/// A time-out costs no deposit: with receipts the claim is paid, without them nothing. A ruling stays within [0, escrow]
/// and [0, bond], and only a dispute that a wallet filed can be ruled on.
/// Loss: false dispute: the deposit = max(claim, cost(minBilled)). Silent arbiter: the provider is paid its claim late
/// (receipts), or the provider loses its claim (none). Dishonest arbiter: the wallet at most escrow + deposit, the
/// provider at most its claim and one bond. Undisputed rentals are out of reach.
contract DisputeFarmingTest is Attack {
    function resolve(uint96 id, uint96 pay, uint96 slash) private {
        vm.prank(arbiter);
        market.resolve(id, pay, slash);
    }

    function test_AFalseDisputeNeverWins() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = disputed();
        uint96 claim = escrow(TICK, 100);
        resolve(id, claim, 0);
        assertEq(before - wealth(wallet, agent), 2 * claim, "the claim, and the deposit on top");
        assertEq(market.creditOf(provider), claim - feeOf(claim) + claim);
        // And the loss counts against the key's limits.
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), 2 * claim);
    }

    /// @dev Whatever a ruling says, disputing cannot leave the consumer better off than the escrow it had.
    function testFuzz_NoRulingPaysTheConsumerMoreThanItGave(uint96 pay, uint96 slash) external {
        uint256 before = wealth(wallet, agent);
        uint96 id = disputed();
        pay = uint96(bound(pay, 0, escrow(TICK, DURATION)));
        slash = uint96(bound(slash, 0, bond()));
        resolve(id, pay, slash);
        uint256 rest = wealth(wallet, agent);
        assertLe(rest, before);
        assertGe(rest + escrow(TICK, DURATION) + escrow(TICK, 100), before, "escrow and deposit bound the loss");
    }

    function test_ATimeOutCostsNoDepositAndPaysTheClaimWithReceipts() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = disputed();
        skip(timing.disputeTimeout);
        vm.prank(stranger);
        market.advance(id);
        uint96 claim = escrow(TICK, 100);
        assertEq(before - wealth(wallet, agent), claim);
        assertEq(market.creditOf(provider), claim - feeOf(claim));
    }

    function test_ATimeOutWithoutReceiptsPaysNothing() external {
        uint256 before = wealth(wallet, agent);
        uint96 id = running();
        skip(100);
        vm.prank(provider);
        market.submit(id, 100, RESULT, 0);
        vm.prank(agent);
        wallet.dispute(id, 0);
        skip(timing.disputeTimeout);
        market.advance(id);
        assertEq(wealth(wallet, agent), before);
        assertEq(market.creditOf(provider), 0);
        assertEq(market.offer(offerId).slots, SLOTS, "the bond is untouched: nobody ruled");
    }

    /// @dev A dispute of every result ties up as much as it delays, and delays by the time-out at most.
    function test_DelayingIsBoundedAndTiesUpAsMuch() external {
        uint96 id = submitted();
        uint256 free = wealth(wallet, agent);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(free - wealth(wallet, agent), escrow(TICK, 100));
        uint40 end = market.agreement(id).deadline;
        assertEq(end, block.timestamp + timing.disputeTimeout);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotYet.selector, id, end));
        market.advance(id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Disputed));
        vm.prank(agent);
        wallet.dispute(id, 0);
        vm.warp(end);
        market.advance(id);
        assertStatus(id, Status.Resolved);
    }

    /// @dev The deposit is never nothing, not even for a claim of nothing.
    function test_AClaimOfNothingStillNeedsADeposit() external {
        BidTerms memory t = terms();
        t.preemptible = true;
        uint96 id = running(t);
        vm.prank(provider);
        market.preempt(id, RESULT, RECEIPTS);
        uint256 before = wealth(wallet, agent);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(before - wealth(wallet, agent), escrow(TICK, timing.minBilled));
    }

    function test_RevertWhen_TheArbiterLeavesItsBounds() external {
        uint96 id = disputed();
        uint96 most = escrow(TICK, DURATION);
        uint96 slash = bond();
        vm.startPrank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.RulingOutOfRange.selector, most + 1, 0));
        market.resolve(id, most + 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.RulingOutOfRange.selector, 0, slash + 1));
        market.resolve(id, 0, slash + 1);
        vm.stopPrank();
    }

    function test_ADishonestArbiterTakesAtMostEscrowAndDepositFromTheWallet() external {
        uint256 before = wealth(wallet, agent);
        resolve(disputed(), escrow(TICK, DURATION), 0);
        assertEq(before - wealth(wallet, agent), escrow(TICK, DURATION) + escrow(TICK, 100));
    }

    function test_ADishonestArbiterTakesAtMostClaimAndBondFromTheProvider() external {
        resolve(disputed(), 0, bond());
        assertEq(market.creditOf(provider), 0);
        assertEq(market.offer(offerId).slots, SLOTS - 1);
        assertEq(market.creditOf(BURNED) + market.creditOf(treasury), bond(), "and gains nothing by it");
    }

    /// @dev Nothing but a dispute in time is an arbiter's business.
    function test_RevertGiven_NothingIsDisputed() external {
        uint96 id = submitted();
        vm.startPrank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Submitted));
        market.resolve(id, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, id, arbiter));
        market.dispute(id, 0, false);
        vm.stopPrank();
        vm.prank(agent);
        wallet.dispute(id, 0);
        uint40 end = market.agreement(id).deadline;
        vm.warp(end);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, end));
        vm.prank(arbiter);
        market.resolve(id, 0, 0);
    }

    /// @dev A stolen key that loses disputes on purpose spends within its limits, deposits included.
    function test_AStolenKeysDepositsCountAgainstItsLimits() external {
        uint96 id = submitted();
        uint96 left = wallet.availableTo(agent);
        uint96 deposit = escrow(TICK, 100);
        vm.prank(agent);
        wallet.dispute(id, 0);
        KeyAccount memory account = market.keyAccount(agent);
        assertEq(account.credit, 0);
        assertEq(wallet.keyState(agent).reserved, escrow(TICK, DURATION) + deposit);
        assertLe(wallet.availableTo(agent), left);
        vm.prank(owner);
        wallet.setPaused(true);
        vm.expectRevert(IAgentWallet.WalletPaused.selector);
        vm.prank(agent);
        wallet.dispute(id, 0);
    }
}
