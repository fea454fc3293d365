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

    /// @notice Reserves `amount` or reverts; `spender` only names the ledger in errors.
    function reserve(Ledger storage self, address spender, uint96 amount, uint256 unit) internal {
        uint256 held = uint256(self.reserved) + amount;
        uint256 wanted = held + windowSpent(self, unit);
        uint256 limit = self.daily * unit;
        if (wanted > limit) revert IAgentWallet.DailyLimitExceeded(spender, wanted, limit.toUint96());
        wanted = held + self.spent;
        limit = self.lifetime * unit;
        if (wanted > limit) revert IAgentWallet.LifetimeLimitExceeded(spender, wanted, limit.toUint96());
        self.reserved = held.toUint72();
    }

    /// @notice Ends a reservation of `amount`, of which `spent` was spent.
    function settle(Ledger storage self, uint96 amount, uint96 spent, uint256 unit) internal {
        self.reserved = (uint256(self.reserved) - amount).toUint72();
        if (spent == 0) return;
        self.spent = (uint256(self.spent) + spent).toUint88();
        self.window = SpendWindow.add(self.window, block.timestamp, (uint256(spent) + unit - 1) / unit);
    }

    /// @notice Token units that count as spent in the window now.
    function windowSpent(Ledger storage self, uint256 unit) internal view returns (uint256) {
        return SpendWindow.sum(self.window, block.timestamp) * unit;
    }

    /// @notice Token units that could still be reserved now.
    function room(Ledger storage self, uint256 unit) internal view returns (uint256) {
        uint256 byDay = _minus(self.daily * unit, self.reserved + windowSpent(self, unit));
        uint256 byLife = _minus(self.lifetime * unit, uint256(self.reserved) + self.spent);
        return byDay < byLife ? byDay : byLife;
    }

    function _minus(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : 0;
    }
}
