// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

// ABI of contracts that are not ours, as far as Rust calls them.

/// @notice Request that OpenZeppelin's ERC2771Forwarder executes; the nonce is signed but not carried.
struct ForwardRequestData {
    address from;
    address to;
    uint256 value;
    uint256 gas;
    uint48 deadline;
    bytes data;
    bytes signature;
}

/// @notice EIP-712 form of a forward request, under the forwarder's domain.
struct ForwardRequest {
    address from;
    address to;
    uint256 value;
    uint256 gas;
    uint256 nonce;
    uint48 deadline;
    bytes data;
}

interface IERC2771Forwarder {
    event ExecutedForwardRequest(address indexed signer, uint256 nonce, bool success);

    error ERC2771ForwarderInvalidSigner(address signer, address from);
    error ERC2771ForwarderMismatchedValue(uint256 requestedValue, uint256 msgValue);
    error ERC2771ForwarderExpiredRequest(uint48 deadline);
    error ERC2771UntrustfulTarget(address target, address forwarder);
    error FailedCall();

    function execute(ForwardRequestData calldata request) external payable;
    function executeBatch(ForwardRequestData[] calldata requests, address payable refundReceiver) external payable;
    function verify(ForwardRequestData calldata request) external view returns (bool);
    function nonces(address owner) external view returns (uint256);
}

interface IERC20 {
    event Transfer(address indexed from, address indexed to, uint256 value);

    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);

    function balanceOf(address account) external view returns (uint256);
    function approve(address spender, uint256 value) external returns (bool);
    function allowance(address owner, address spender) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function decimals() external view returns (uint8);
    function symbol() external view returns (string memory);
    function mint(address to, uint256 value) external;
}
