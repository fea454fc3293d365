// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, Funding} from "../../contracts/interfaces/Types.sol";

/// @notice Pretends to be a wallet: says yes to everything, funds nothing and counts how often it was asked.
contract HostileWallet {
    uint256 public asked;

    function placeBid(address market, BidTerms calldata terms, address agent) external returns (uint96) {
        return IAIPowerRental(market).placeBid(terms, agent);
    }

    function fund(uint96, address, Funding calldata) external {
        ++asked;
    }

    function mayStart(address, address, address) external pure returns (bool) {
        return true;
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

/// @notice An owner that acts when told to and answers every other call with a mountain of bytes.
contract BombOwner {
    function act(address target, bytes calldata data) external returns (bytes memory) {
        (bool ok, bytes memory result) = target.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(result, 0x20), mload(result))
            }
        }
        return result;
    }

    fallback() external {
        assembly ("memory-safe") {
            revert(0, 1000000)
        }
    }
}
