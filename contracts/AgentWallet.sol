// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ERC2771Context} from "@openzeppelin/contracts/metatx/ERC2771Context.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ERC7739Utils} from "@openzeppelin/contracts/utils/cryptography/draft-ERC7739Utils.sol";
import {ERC7739} from "@openzeppelin/contracts/utils/cryptography/signers/draft-ERC7739.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {WalletKeys} from "./WalletKeys.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "./interfaces/IAgentWallet.sol";
import {Agreement, BidTerms, KeyPolicy, Status, WalletLimits} from "./interfaces/Types.sol";
import {Heads} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";
import {Ledgers} from "./libraries/Ledgers.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title AgentWallet
/// @notice An agent's purse; see `WalletKeys` for keys and limits.
/// @dev Three kinds of callers, never mixed: owner and session keys by the ERC-2771 sender, the market's hooks and
/// EIP-1271 by the raw sender, the factory once. There is no delegatecall, no arbitrary call and no approval.
contract AgentWallet is WalletKeys, ERC7739 {
    using Ledgers for Ledgers.Ledger;
    using SafeERC20 for IERC20;

    /// @param amount Token units reserved on the key, its ancestors and the wallet.
    /// @param ownerDeposit The owner disputed: the deposit stands outside all limits and is not in `amount`.
    struct Reservation {
        address agent;
        uint88 amount;
        bool ownerDeposit;
    }

    bytes4 private constant INVALID_SIGNATURE = 0xffffffff;

    address public immutable override market;
    address public immutable override token;
    address private immutable FACTORY;

    mapping(uint96 bidId => Reservation) private _reservations;
    /// @dev Set while the owner's dispute is being filed, for `fundDeposit` to see.
    bool private transient _ownerDisputes;

    modifier onlyMarket() {
        if (msg.sender != market) revert NotMarket(msg.sender);
        _;
    }

    /// @dev Deployed by the factory, as the implementation behind all its clones.
    constructor(address market_, address forwarder)
        WalletKeys(_unitOf(IAIPowerRental(market_).token()))
        ERC2771Context(forwarder)
        EIP712("AgentWallet", "1")
    {
        market = market_;
        token = IAIPowerRental(market_).token();
        FACTORY = msg.sender;
        // The implementation itself can never be initialised.
        _setOwner(address(this));
    }

    /// @inheritdoc IAgentWallet
    function initialize(address owner_, WalletLimits calldata limits_, address agent, KeyPolicy calldata policy)
        external
    {
        if (msg.sender != FACTORY) revert NotFactory(msg.sender);
        if (owner() != address(0)) revert AlreadyInitialized();
        _setOwner(owner_);
        _setLimits(limits_);
        if (agent != address(0)) _authorize(agent, address(0), 0, policy);
    }

    // --- session keys ---

    /// @inheritdoc IAgentWallet
    function placeBid(BidTerms calldata terms) external returns (uint96 bidId) {
        // `fundBid` checks the key, so that bids by signature meet the same checks.
        return IAIPowerRental(market).placeBid(terms, _msgSender());
    }

    /// @inheritdoc IAgentWallet
    function cancelBid(uint96 bidId) external {
        _checkActor(bidId, CANCEL);
        IAIPowerRental(market).cancel(bidId);
    }

    /// @inheritdoc IAgentWallet
    function dispute(uint96 bidId, bytes32 reasonHash) external {
        _ownerDisputes = _checkActor(bidId, DISPUTE);
        IAIPowerRental(market).dispute(bidId, reasonHash);
        _ownerDisputes = false;
    }

    // --- money ---

    /// @inheritdoc IAgentWallet
    function withdraw(address to, uint96 amount) external onlyOwner {
        _checkFunds(amount);
        emit FundsWithdrawn(to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IAgentWallet
    function collect() external returns (uint96 amount) {
        return IAIPowerRental(market).withdraw(address(this));
    }

    /// @inheritdoc IAgentWallet
    function reconcile(uint96 bidId) external {
        Reservation memory held = _reservations[bidId];
        if (held.agent == address(0)) revert BidUnknown(bidId);
        Agreement memory a = IAIPowerRental(market).agreement(bidId);
        if (a.status < Status.Settled) revert NotReconcilable(bidId);
        uint96 spent = a.paid;
        if (a.flags & Heads.DEPOSIT_FORFEITED != 0 && !held.ownerDeposit) {
            // What is reserved beyond the escrow is the deposit.
            spent += held.amount
            - IAIPowerRental(market).escrowOf(uint8(Ids.cls(bidId)), uint8(Ids.tick(bidId)), a.maxDuration);
        }
        _settle(bidId, held, spent);
    }

    // --- the market's hooks ---

    /// @inheritdoc IAgentWallet
    function fundBid(uint96 bidId, address agent, uint8 cls, uint8 tick, uint96 amount, uint96 creditUsed)
        external
        onlyMarket
    {
        uint96 reservedAfter = _reserveBid(agent, cls, tick, amount);
        _reservations[bidId] = Reservation(agent, SafeCast.toUint88(amount), false);
        emit MicroTransactionExecuted(bidId, agent, amount, creditUsed, reservedAfter);
        _fund(amount - creditUsed);
    }

    /// @inheritdoc IAgentWallet
    function fundDeposit(uint96 bidId, uint96 amount, uint96 creditUsed) external onlyMarket {
        Reservation memory held = _reservations[bidId];
        if (held.agent == address(0)) revert BidUnknown(bidId);
        if (_ownerDisputes) {
            _reservations[bidId].ownerDeposit = true;
        } else {
            uint96 reservedAfter = _reserveDeposit(held.agent, amount);
            _reservations[bidId].amount = SafeCast.toUint88(uint256(held.amount) + amount);
            emit MicroTransactionExecuted(bidId, held.agent, amount, creditUsed, reservedAfter);
        }
        _fund(amount - creditUsed);
    }

    /// @inheritdoc IAgentWallet
    function onBidClosed(uint96 bidId, uint96 spent) external onlyMarket {
        Reservation memory held = _reservations[bidId];
        if (held.agent == address(0)) revert BidUnknown(bidId);
        // `spent` includes a forfeited deposit, which is no key's spending when the owner gave it.
        if (held.ownerDeposit) spent = IAIPowerRental(market).agreement(bidId).paid;
        _settle(bidId, held, spent);
    }

    /// @inheritdoc IAgentWallet
    function mayStart(uint96 bidId, address key, address provider) external view returns (bool) {
        address agent = _reservations[bidId].agent;
        if (agent == address(0)) return false;
        return key == owner() || _mayStart(agent, key, provider);
    }

    /// @inheritdoc IAgentWallet
    function isValidSignature(bytes32 hash, bytes calldata signature)
        public
        view
        override(ERC7739, IAgentWallet)
        returns (bytes4)
    {
        if (msg.sender != market) return INVALID_SIGNATURE;
        // Only the nested typed bid will do: neither another type nor a personal message.
        (,,, string calldata description) = ERC7739Utils.decodeTypedDataSig(signature);
        if (keccak256(bytes(description)) != TypedData.BID_TYPEHASH) return INVALID_SIGNATURE;
        return ERC7739.isValidSignature(hash, signature);
    }

    // --- views ---

    /// @inheritdoc IAgentWallet
    function availableTo(address agent) external view returns (uint96) {
        uint256 room = _room(agent);
        uint256 funds = IERC20(token).balanceOf(address(this)) + IAIPowerRental(market).creditOf(address(this));
        return SafeCast.toUint96(room < funds ? room : funds);
    }

    /// @inheritdoc IAgentWallet
    function reservation(uint96 bidId) external view returns (address agent, uint96 amount) {
        Reservation memory held = _reservations[bidId];
        return (held.agent, held.amount);
    }

    // --- internals ---

    /// @dev The inner signature of the ERC-7739 blob: agent (20 bytes) ‖ ECDSA (65 bytes).
    function _rawSignatureValidation(bytes32 hash, bytes calldata signature) internal view override returns (bool) {
        if (signature.length != 85) return false;
        address agent = address(bytes20(signature));
        (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(hash, signature[20:]);
        return err == ECDSA.RecoverError.NoError && signer == agent && _mayBid(agent);
    }

    /// @dev The caller must be the bid's key, an ancestor of it, or the owner; returns whether it is the owner.
    function _checkActor(uint96 bidId, uint8 permission) private view returns (bool isOwner) {
        address agent = _reservations[bidId].agent;
        if (agent == address(0)) revert BidUnknown(bidId);
        address sender = _msgSender();
        if (sender == owner()) return true;
        if (!_isLineage(sender, agent)) revert NotBidAgent(bidId, sender);
        _checkLive(sender);
        _checkPermission(sender, permission);
        if (permission == DISPUTE && paused()) revert WalletPaused();
    }

    function _settle(uint96 bidId, Reservation memory held, uint96 spent) private {
        delete _reservations[bidId];
        _settleSpend(held.agent, held.amount, spent);
        emit SpendReconciled(bidId, held.agent, held.amount - spent, spent);
    }

    function _fund(uint96 amount) private {
        if (amount == 0) return;
        _checkFunds(amount);
        IERC20(token).safeTransfer(market, amount);
    }

    function _checkFunds(uint96 amount) private view {
        uint256 available = IERC20(token).balanceOf(address(this));
        if (available < amount) revert InsufficientFunds(amount, available);
    }

    /// @dev Limits count in millionths of a token; a token with six decimals or fewer counts exactly.
    function _unitOf(address token_) private view returns (uint256) {
        uint8 decimals = IERC20Metadata(token_).decimals();
        if (decimals > 18) revert UnsupportedDecimals(decimals);
        return decimals > 6 ? 10 ** (decimals - 6) : 1;
    }
}
