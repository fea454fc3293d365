// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IAIPowerRental} from "../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../contracts/interfaces/IAgentWallet.sol";

// Tests see the contracts by interfaces alone and deploy them from their artifacts: so what is tested is the bytecode
// that ships, and tests compile without the slow pipeline.

/// @notice The market with what it inherits.
interface IMarket is IAIPowerRental {
    function owner() external view returns (address);
    function paused() external view returns (bool);
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory);
}

/// @notice A wallet with what it inherits.
interface IWallet is IAgentWallet {
    function isTrustedForwarder(address forwarder) external view returns (bool);
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory);
}

/// @notice AIT for tests.
interface IToken is IERC20 {
    function mint(address to, uint256 amount) external;
    function decimals() external view returns (uint8);
}

/// @notice OpenZeppelin's ERC2771Forwarder.
interface IForwarder {
    struct ForwardRequestData {
        address from;
        address to;
        uint256 value;
        uint256 gas;
        uint48 deadline;
        bytes data;
        bytes signature;
    }

    event ExecutedForwardRequest(address indexed signer, uint256 nonce, bool success);

    error ERC2771ForwarderInvalidSigner(address signer, address from);
    error ERC2771ForwarderExpiredRequest(uint48 deadline);
    error ERC2771UntrustfulTarget(address target, address forwarder);

    function execute(ForwardRequestData calldata request) external payable;
    function executeBatch(ForwardRequestData[] calldata requests, address payable refundReceiver) external payable;
    function verify(ForwardRequestData calldata request) external view returns (bool);
    function nonces(address signer) external view returns (uint256);
}
