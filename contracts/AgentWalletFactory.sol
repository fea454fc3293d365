// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {AgentWallet} from "./AgentWallet.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {IAgentWalletFactory} from "./interfaces/IAgentWalletFactory.sol";
import {KeyPolicy, WalletLimits} from "./interfaces/Types.sol";

/// @title AgentWalletFactory
/// @notice Deploys the wallet implementation and its clones.
/// @dev A clone's one immutable argument is its CREATE2 salt, the digest of all initial parameters. So `isWallet` needs
/// no storage: it derives the address from the code at hand.
contract AgentWalletFactory is IAgentWalletFactory {
    address public immutable override implementation;

    /// @dev Length of a clone's code: OpenZeppelin's proxy and one word of arguments.
    uint256 private constant CLONE_LENGTH = 0x2d + 32;

    /// @param market The market that this factory's address was given to.
    /// @param forwarder OpenZeppelin's ERC2771Forwarder, trusted by wallets alone.
    constructor(address market, address forwarder) {
        if (IAIPowerRental(market).factory() != address(this)) revert MarketMismatch(market);
        implementation = address(new AgentWallet(market, forwarder));
    }

    /// @inheritdoc IAgentWalletFactory
    function createWallet(
        address owner,
        bytes32 salt,
        WalletLimits calldata limits,
        address agent,
        KeyPolicy calldata policy
    ) external returns (address wallet) {
        if (owner == address(0)) revert ZeroOwner();
        bytes32 digest = _digest(owner, salt, limits, agent, policy);
        wallet = _addressOf(digest);
        // Somebody was faster with the same wallet: a second creation would burn nearly all gas of the transaction.
        if (wallet.code.length != 0) return wallet;
        Clones.cloneDeterministicWithImmutableArgs(implementation, abi.encode(digest), digest);
        emit AgentRegistered(wallet, owner, agent, salt);
        AgentWallet(wallet).initialize(owner, limits, agent, policy);
    }

    /// @inheritdoc IAgentWalletFactory
    function walletAddress(
        address owner,
        bytes32 salt,
        WalletLimits calldata limits,
        address agent,
        KeyPolicy calldata policy
    ) external view returns (address) {
        return _addressOf(_digest(owner, salt, limits, agent, policy));
    }

    /// @inheritdoc IAgentWalletFactory
    function isWallet(address wallet) external view returns (bool) {
        if (wallet.code.length != CLONE_LENGTH) return false;
        return _addressOf(abi.decode(Clones.fetchCloneArgs(wallet), (bytes32))) == wallet;
    }

    function _addressOf(bytes32 digest) private view returns (address) {
        return Clones.predictDeterministicAddressWithImmutableArgs(implementation, abi.encode(digest), digest);
    }

    function _digest(
        address owner,
        bytes32 salt,
        WalletLimits calldata limits,
        address agent,
        KeyPolicy calldata policy
    ) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt, limits, agent, policy));
    }
}
