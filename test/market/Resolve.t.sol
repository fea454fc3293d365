// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {KeyAccount, Status} from "../../contracts/interfaces/Types.sol";

contract ResolveTest is Base {
    uint96 private id;
    uint96 private claimed;
    uint96 private held;

    function setUp() public override {
        super.setUp();
        id = disputed();
        claimed = escrow(TICK, 100);
        held = escrow(TICK, DURATION);
    }

    function resolve(uint96 pay, uint96 slash) private {
        vm.prank(arbiter);
        market.resolve(id, pay, slash);
    }

    function test_ForTheProviderForfeitsTheDeposit() external {
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, claimed, 0, claimed, false);
        vm.expectEmit();
        emit IAIPowerRental.Credited(provider, claimed);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Resolved);
        resolve(claimed, 0);
        assertEq(market.agreement(id).paid, claimed);
        assertEq(market.agreement(id).flags, 1 | 4);
        assertEq(market.creditOf(provider), 2 * claimed - feeOf(claimed));
        assertEq(keyCredit(), held - claimed);
        // The key and the wallet spent both.
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), 2 * claimed);
        assertEq(wallet.reserved(), 0);
    }

    function test_ForTheConsumerReturnsTheDeposit() external {
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, claimed - 1, 0, 0, false);
        resolve(claimed - 1, 0);
        assertEq(keyCredit(), held - (claimed - 1) + claimed);
        wallet.collect(agent);
        assertEq(wallet.lifetimeSpent(), claimed - 1);
    }

    function test_ASlashReturnsTheDepositToo() external {
        uint96 slash = bond();
        uint96 burned = slash * 9 / 10;
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, held, slash, 0, false);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(id, provider, held - feeOf(held), feeOf(held), 0, 0, slash);
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, SLOTS - 1, 0, uint40(NOW + 30 days), true, 0);
        vm.expectEmit();
        emit IAIPowerRental.Credited(BURNED, burned);
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, slash - burned);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Resolved);
        resolve(held, slash);
        assertEq(keyCredit(), claimed);
        assertEq(market.creditOf(BURNED), uint256(slash) * 9 / 10);
        assertEq(market.creditOf(provider), held - feeOf(held));
        assertEq(market.creditOf(treasury), feeOf(held) + slash - uint256(slash) * 9 / 10);
        assertEq(market.offer(offerId).slots, SLOTS - 1);
    }

    function test_RevertWhen_CallerIsNotArbiter() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotArbiter.selector, admin));
        vm.prank(admin);
        market.resolve(id, 0, 0);
    }

    function test_RevertWhen_RulingIsOutOfRange() external {
        uint96 perSlot = bond();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.RulingOutOfRange.selector, held + 1, 0));
        resolve(held + 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.RulingOutOfRange.selector, 0, perSlot + 1));
        resolve(0, perSlot + 1);
    }

    function test_RevertGiven_NotDisputed() external {
        uint96 other = submitted();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, other, Status.Submitted));
        vm.prank(arbiter);
        market.resolve(other, 0, 0);
    }

    function test_RevertGiven_TimedOut() external {
        uint40 deadline = market.agreement(id).deadline;
        uint256 state = vm.snapshotState();
        vm.warp(deadline - 1);
        resolve(0, 0);
        vm.revertToState(state);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        resolve(0, 0);
    }

    /// @dev The smallest fault returns the deposit; so small a slash is the treasury's alone.
    function test_ASlashOfOneUnitReturnsTheDeposit() external {
        vm.expectEmit();
        emit IAIPowerRental.DisputeResolved(id, claimed, 1, 0, false);
        vm.expectEmit();
        emit IAIPowerRental.PaymentProcessed(
            id, provider, claimed - feeOf(claimed), feeOf(claimed), held - claimed, 0, 1
        );
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, SLOTS - 1, 0, uint40(NOW + 30 days), true, bond() - 1);
        vm.expectEmit();
        emit IAIPowerRental.Credited(treasury, 1);
        vm.expectEmit();
        emit IAIPowerRental.AgreementCompleted(id, Status.Resolved);
        resolve(claimed, 1);
        assertEq(market.creditOf(BURNED), 0);
        assertEq(market.creditOf(treasury), feeOf(claimed) + 1);
        assertEq(market.creditOf(provider), claimed - feeOf(claimed) + bond() - 1);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), held, claimed, held)));
    }

    /// @dev Which side of the limits each kind of deposit stands on, won and lost.
    function test_OnlyAKeysDepositIsCounted() external {
        resolve(claimed, 0);
        assertEq(
            abi.encode(market.keyAccount(agent)),
            abi.encode(KeyAccount(address(wallet), held - claimed, 2 * claimed, held - claimed))
        );
        wallet.collect(agent);
        id = submitted();
        vm.prank(owner);
        wallet.dispute(id, 0);
        resolve(claimed, 0);
        assertEq(
            abi.encode(market.keyAccount(agent)),
            abi.encode(KeyAccount(address(wallet), held - claimed, claimed, held - claimed))
        );
    }
}
