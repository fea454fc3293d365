// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";

/// @notice Proof that the split of an escrow leaves no rest.
/// @dev That a longer time never costs less is a division by 1e18 too wide for the solver; it is fuzzed with the market.
contract SettlementProofs is Test {
    /// @dev As the market splits: gross in pay and fee, the rest of the escrow in penalty and refund.
    function check_TheSplitLeavesNoRest(uint96 escrow, uint96 gross, uint96 penalty, uint16 feeBps) external pure {
        if (uint256(gross) + penalty > escrow || feeBps > 1000) return;
        uint256 fee = uint256(gross) * feeBps / 10_000;
        uint256 refund = uint256(escrow) - (uint256(gross) + penalty);
        assertLe(fee, gross);
        assertEq((gross - fee) + fee + penalty + refund, escrow);
    }
}
