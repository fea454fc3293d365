// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Test} from "forge-std/Test.sol";
import {stdError} from "forge-std/StdError.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Ledgers} from "../../contracts/libraries/Ledgers.sol";
import {SpendWindow} from "../../contracts/libraries/SpendWindow.sol";

contract LedgersTest is Test {
    using Ledgers for Ledgers.Ledger;

    address private constant SPENDER = address(0xbeef);
    uint256 private constant UNIT = 1e12;
    Ledgers.Ledger private ledger;

    function setUp() public {
        vm.warp(1_700_000_000);
        ledger.daily = 100;
        ledger.lifetime = 1000;
    }

    /// @dev External, so that a revert can be expected.
    function update(uint96 amount, uint96 spent, uint96 released) external {
        ledger.update(SPENDER, amount, spent, released, UNIT);
    }

    function check(uint256 reserved, uint256 spent, uint256 windowUnits) private view {
        assertEq(ledger.reserved, reserved, "reserved");
        assertEq(ledger.spent, spent, "spent");
        assertEq(ledger.windowSpent(UNIT), windowUnits * UNIT, "window");
    }

    function test_ReservesSpendsAndReleases() external {
        this.update(50e12, 0, 0);
        check(50e12, 0, 0);
        this.update(7, 20e12 + 1, 10e12);
        // Rounded up in the window, exact elsewhere.
        check(20e12 + 6, 20e12 + 1, 21);
        this.update(0, 0, 20e12 + 6);
        check(0, 20e12 + 1, 21);
    }

    function test_WithoutAnySpendingTheWindowIsNotTouched() external {
        ledger.window = SpendWindow.add(0, block.timestamp - 30 days, 5);
        uint256 before = ledger.window;
        this.update(5, 0, 0);
        this.update(0, 0, 5);
        assertEq(ledger.window, before);
    }

    function test_DailyLimitIsInclusive() external {
        this.update(100e12, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, SPENDER, 100e12 + 1, 100e12));
        this.update(1, 0, 0);
        this.update(0, 30e12, 0);
        // 30 spent, 70 reserved: full; what is released makes room in the same step.
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, SPENDER, 100e12 + 1, 100e12));
        this.update(10e12 + 1, 0, 10e12);
        this.update(10e12, 0, 10e12);
        check(70e12, 30e12, 30);
    }

    function test_LifetimeLimitIsInclusive() external {
        ledger.lifetime = 60;
        this.update(50e12, 0, 0);
        this.update(0, 40e12, 0);
        this.update(10e12, 0, 0);
        check(20e12, 40e12, 40);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, SPENDER, 60e12 + 1, 60e12));
        this.update(1, 0, 0);
        // What was spent in the same step counts.
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, SPENDER, 60e12 + 1, 60e12));
        this.update(1, 20e12, 0);
        this.update(5e12, 15e12, 5e12);
        check(5e12, 55e12, 55);
    }

    /// @dev Spending stops counting by the day and never by the lifetime.
    function test_TheWindowForgetsAndTheLifetimeDoesNot() external {
        ledger.lifetime = 120;
        this.update(100e12, 0, 0);
        this.update(0, 100e12, 0);
        vm.expectPartialRevert(IAgentWallet.DailyLimitExceeded.selector);
        this.update(1, 0, 0);
        skip(7 * 2 ** 14);
        this.update(20e12, 0, 0);
        vm.expectPartialRevert(IAgentWallet.LifetimeLimitExceeded.selector);
        this.update(1, 0, 0);
    }

    /// @dev Lowered limits hinder what is new, never what is to be counted.
    function testFuzz_CountingNeverReverts(uint64 reserved, uint256 spent, uint256 released, uint32 daily, uint64 life)
        external
    {
        spent = bound(spent, 0, reserved);
        released = bound(released, 0, reserved - spent);
        ledger.reserved = reserved;
        ledger.daily = daily;
        ledger.lifetime = life;
        this.update(0, uint96(spent), uint96(released));
        check(reserved - spent - released, spent, (spent + UNIT - 1) / UNIT);
    }

    function test_RevertWhen_MoreEndsThanIsReserved() external {
        this.update(10, 0, 0);
        vm.expectRevert(stdError.arithmeticError);
        this.update(0, 6, 5);
        this.update(0, 6, 4);
    }

    /// @dev Sums that do not fit never wrap.
    function test_RevertWhen_ASumDoesNotFit() external {
        ledger.reserved = type(uint72).max;
        ledger.daily = type(uint32).max;
        ledger.lifetime = type(uint64).max;
        vm.expectPartialRevert(IAgentWallet.DailyLimitExceeded.selector);
        this.update(1, 0, 0);
        ledger.spent = type(uint88).max;
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 88, uint256(type(uint88).max) + 1)
        );
        this.update(0, 1, 0);
    }

    /// @dev Room is exactly what `update` then takes: so much, and not a unit more.
    function testFuzz_RoomIsWhatUpdateTakes(
        uint256 reserved,
        uint256 spentBefore,
        uint256 spent,
        uint256 released,
        uint32 daily,
        uint64 lifetime
    ) external {
        reserved = bound(reserved, 0, 2 ** 70);
        spent = bound(spent, 0, reserved);
        released = bound(released, 0, reserved - spent);
        ledger.reserved = uint72(reserved);
        ledger.daily = daily;
        ledger.lifetime = uint64(bound(lifetime, 0, 2 ** 40));
        ledger.spent = uint88(bound(spentBefore, 0, 2 ** 60));
        ledger.window = SpendWindow.add(0, block.timestamp, Ledgers.units(uint96(ledger.spent), UNIT));
        uint256 room = ledger.room(uint96(spent), uint96(released), UNIT);
        uint256 state = vm.snapshotState();
        if (room != 0) this.update(uint96(room), uint96(spent), uint96(released));
        vm.revertToState(state);
        vm.expectRevert();
        this.update(uint96(room + 1), uint96(spent), uint96(released));
    }

    function testFuzz_UnitsRoundUp(uint96 amount, uint64 unit) external pure {
        vm.assume(unit != 0);
        uint256 units = Ledgers.units(amount, unit);
        assertGe(units * unit, amount);
        assertLt(units * unit, uint256(amount) + unit);
    }
}
