// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {KeyPolicy, WalletLimits} from "./Types.sol";

/// @title IAgentWalletFactory
/// @notice Creates wallets as clones at CREATE2 addresses that commit to every initial parameter.
/// @dev Deploy the market first, with the address this factory will have; the constructor takes (market, forwarder).
interface IAgentWalletFactory {
    /// @notice A wallet was created; its first key's AgentAuthorized follows from the wallet itself.
    event AgentRegistered(address indexed wallet, address indexed owner, address indexed agent, bytes32 salt);

    error ZeroOwner();
    error MarketMismatch(address market);

    /// @notice Creates a wallet, or returns the one there is. Anyone may send it: the address commits to all arguments.
    function createWallet(
        address owner,
        bytes32 salt,
        WalletLimits calldata limits,
        address agent,
        KeyPolicy calldata policy
    ) external returns (address wallet);
    /// @notice Address that `createWallet` with the same arguments yields.
    function walletAddress(
        address owner,
        bytes32 salt,
        WalletLimits calldata limits,
        address agent,
        KeyPolicy calldata policy
    ) external view returns (address);
    /// @notice Whether this factory created `wallet`.
    function isWallet(address wallet) external view returns (bool);
    function implementation() external view returns (address);
}
