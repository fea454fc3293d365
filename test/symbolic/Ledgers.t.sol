// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {Ledgers} from "../../contracts/libraries/Ledgers.sol";
import {SpendWindow} from "../../contracts/libraries/SpendWindow.sol";

/// @notice Proofs about the limit law, from any storage at all. Units are token units here, as for a token of six decimals;
/// the rounding of finer tokens is fuzzed in test/libraries.
contract LedgersProofs is Test {
    using Ledgers for Ledgers.Ledger;

    Ledgers.Ledger private ledger;

    function set(uint72 reserved, uint88 spent, uint64 lifetime, uint32 daily, uint256 window) private {
        ledger.reserved = reserved;
        ledger.spent = spent;
        ledger.lifetime = lifetime;
        ledger.daily = daily;
        ledger.window = window;
    }

    /// @dev Whatever was stored, and whatever is counted first: a reservation that succeeds keeps both limits.
    function check_AReservationKeepsEveryLimit(
        uint72 reserved,
        uint88 spent,
        uint64 lifetime,
        uint32 daily,
        uint256 window,
        uint72 amount,
        uint72 ended,
        uint72 released
    ) external {
        if (amount == 0) return;
        vm.warp(1_700_000_000);
        set(reserved, spent, lifetime, daily, window);
        ledger.update(address(1), amount, ended, released, 1);
        assertLe(ledger.reserved + SpendWindow.sum(ledger.window, block.timestamp), daily);
        assertLe(uint256(ledger.reserved) + ledger.spent, lifetime);
    }

    /// @dev Counting ends exactly what it is told, and adds exactly what was spent.
    function check_CountingIsExact(
        uint72 reserved,
        uint80 spent,
        uint64 lifetime,
        uint32 daily,
        uint256 window,
        uint72 ended,
        uint72 released
    ) external {
        if (uint256(ended) + released > reserved) return;
        vm.warp(1_700_000_000);
        set(reserved, spent, lifetime, daily, window);
        // Whatever the limits are by now, this must not revert.
        try this.count(ended, released) {}
        catch {
            assert(false);
        }
        assertEq(ledger.reserved, reserved - ended - released);
        assertEq(ledger.spent, uint256(spent) + ended);
        assertEq(ledger.lifetime, lifetime);
        assertEq(ledger.daily, daily);
    }

    function count(uint96 ended, uint96 released) external {
        ledger.update(address(1), 0, ended, released, 1);
    }
}
