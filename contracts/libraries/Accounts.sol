// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice What the market holds for a session key, in one slot.
/// @dev From the lowest bit: credit 104, spent 72, released 72, known 8. spent + released never exceeds what the wallet
/// holds reserved, which is below 2^72. Bids and deposits use credit before tokens, so that credit stays below what was
/// ever escrowed at once for the key: no field can run into the next. `known` keeps the slot from becoming zero again, so
/// that no settlement pays for a fresh one.
type Account is uint256;

using Accounts for Account global;

/// @notice Packs and reads `Account`.
library Accounts {
    uint256 private constant MASK72 = (1 << 72) - 1;

    /// @notice An account with nothing left to count.
    function counted(uint256 credit_) internal pure returns (Account) {
        return Account.wrap(credit_ | 1 << 248);
    }

    function credit(Account self) internal pure returns (uint256) {
        return Account.unwrap(self) & ((1 << 104) - 1);
    }

    function spent(Account self) internal pure returns (uint256) {
        return Account.unwrap(self) >> 104 & MASK72;
    }

    function released(Account self) internal pure returns (uint256) {
        return Account.unwrap(self) >> 176 & MASK72;
    }

    function plus(Account self, uint256 credit_, uint256 spent_, uint256 released_) internal pure returns (Account) {
        return Account.wrap(Account.unwrap(self) + (credit_ | spent_ << 104 | released_ << 176));
    }
}
