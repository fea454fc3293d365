// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IAgentWallet} from "../interfaces/IAgentWallet.sol";
import {SpendWindow} from "./SpendWindow.sol";

/// @notice The limit law for one spender, be it a key or the wallet.
/// @dev spent in the window + reserved ≤ daily, and spent for ever + reserved ≤ lifetime, whenever something is
/// reserved. Limits are kept in units of the window (rounded down), amounts in token units (exact).
library Ledgers {
    using SafeCast for uint256;

    /// @param reserved Token units of live reservations; below 2^72 because `daily` units are.
    /// @param spent Token units spent for ever.
    /// @param lifetime Limit on spent + reserved, in units.
    /// @param daily Limit on the window + reserved, in units.
    struct Ledger {
        uint72 reserved;
        uint88 spent;
        uint64 lifetime;
        uint32 daily;
        uint256 window;
    }

    /// @notice Ends reservations, of which `spent` was spent and `released` was not; then reserves `amount` or reverts.
    /// @dev Without an amount it never reverts, whatever the limits are by now: what was reserved must come back.
    /// `spender` only names the ledger in errors.
    function update(Ledger storage self, address spender, uint96 amount, uint96 spent, uint96 released, uint256 unit)
        internal
    {
        uint256 window = self.window;
        uint256 held = uint256(self.reserved) - spent - released + amount;
        uint256 total = uint256(self.spent) + spent;
        if (spent != 0) {
            window = SpendWindow.add(window, block.timestamp, units(spent, unit));
            self.window = window;
            self.spent = total.toUint88();
        }
        if (amount != 0) {
            uint256 wanted = held + SpendWindow.sum(window, block.timestamp) * unit;
            uint256 limit = self.daily * unit;
            if (wanted > limit) revert IAgentWallet.DailyLimitExceeded(spender, wanted, limit.toUint96());
            wanted = held + total;
            limit = self.lifetime * unit;
            if (wanted > limit) revert IAgentWallet.LifetimeLimitExceeded(spender, wanted, limit.toUint96());
        }
        self.reserved = held.toUint72();
    }

    /// @notice Token units that count as spent in the window now.
    function windowSpent(Ledger storage self, uint256 unit) internal view returns (uint256) {
        return SpendWindow.sum(self.window, block.timestamp) * unit;
    }

    /// @notice Token units that could be reserved now, once `spent` and `released` are settled.
    function room(Ledger storage self, uint96 spent, uint96 released, uint256 unit) internal view returns (uint256) {
        uint256 held = uint256(self.reserved) - spent - released;
        uint256 byDay = _minus(self.daily * unit, held + windowSpent(self, unit) + units(spent, unit) * unit);
        uint256 byLife = _minus(self.lifetime * unit, held + self.spent + spent);
        return byDay < byLife ? byDay : byLife;
    }

    /// @notice Units that `amount` counts for, rounded up.
    function units(uint96 amount, uint256 unit) internal pure returns (uint256) {
        return (uint256(amount) + unit - 1) / unit;
    }

    function _minus(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : 0;
    }
}
