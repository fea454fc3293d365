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
import {BidTerms, Funding, FundingKind, KeyAccount, KeyPolicy, WalletLimits} from "./interfaces/Types.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title AgentWallet
/// @notice An agent's purse; see `WalletKeys` for keys and limits.
/// @dev Three kinds of callers, never mixed: owner and session keys by the ERC-2771 sender, the market's hooks and
/// EIP-1271 by the raw sender, the factory once. There is no delegatecall, no arbitrary call and no approval.
contract AgentWallet is WalletKeys, ERC7739 {
    using SafeERC20 for IERC20;

    bytes4 private constant INVALID_SIGNATURE = 0xffffffff;

    address public immutable override market;
    address public immutable override token;
    address private immutable FACTORY;

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
        // A first key that expired meanwhile must not keep the owner from what was sent to the address.
        if (agent != address(0) && policy.expiry > block.timestamp) _authorize(agent, address(0), 0, policy);
    }

    // --- session keys ---

    /// @inheritdoc IAgentWallet
    function placeBid(BidTerms calldata terms) external returns (uint96 bidId) {
        // `fund` checks the key, so that bids by signature meet the same checks.
        return IAIPowerRental(market).placeBid(terms, _msgSender());
    }

    /// @inheritdoc IAgentWallet
    function cancelBid(uint96 bidId) external {
        _checkActor(bidId, CANCEL);
        IAIPowerRental(market).cancel(bidId);
    }

    /// @inheritdoc IAgentWallet
    function dispute(uint96 bidId, bytes32 reasonHash) external {
        // The owner's own deposit stands outside all limits.
        bool counted = !_checkActor(bidId, DISPUTE);
        IAIPowerRental(market).dispute(bidId, reasonHash, counted);
    }

    // --- money ---

    /// @inheritdoc IAgentWallet
    function withdraw(address to, uint96 amount) external onlyOwner {
        emit FundsWithdrawn(to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IAgentWallet
    function collect(address agent) external returns (uint96 credit) {
        uint96 spent;
        uint96 released;
        (credit, spent, released) = IAIPowerRental(market).collect(agent);
        _count(agent, spent, released);
    }

    // --- the market's hooks ---

    /// @inheritdoc IAgentWallet
    function fund(uint96 bidId, address agent, Funding calldata funding) external onlyMarket {
        if (funding.kind == FundingKind.OwnerDeposit) {
            _count(agent, funding.spent, funding.released);
        } else {
            if (funding.kind == FundingKind.Bid) _checkBid(agent, bidId, funding.amount);
            uint96 reservedAfter = _account(agent, funding.amount, funding.spent, funding.released);
            emit MicroTransactionExecuted(
                bidId, agent, funding.amount, funding.creditUsed, funding.spent, funding.released, reservedAfter
            );
        }
        uint96 due = funding.amount - funding.creditUsed;
        if (due != 0) IERC20(token).safeTransfer(market, due);
    }

    /// @inheritdoc IAgentWallet
    function mayStart(address agent, address key, address provider) external view returns (bool) {
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
        KeyAccount memory account = IAIPowerRental(market).keyAccount(agent);
        if (account.wallet != address(this) && account.wallet != address(0)) return 0;
        uint256 room = _room(agent, account.spent, account.released);
        uint256 funds = IERC20(token).balanceOf(address(this)) + account.credit;
        return SafeCast.toUint96(room < funds ? room : funds);
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
        (address bidder, address agent) = IAIPowerRental(market).partiesOf(bidId);
        if (bidder != address(this)) revert BidUnknown(bidId);
        address sender = _msgSender();
        if (sender == owner()) return true;
        if (!_isLineage(sender, agent)) revert NotBidAgent(bidId, sender);
        _checkLive(sender);
        _checkPermission(sender, permission);
        if (permission == DISPUTE && paused()) revert WalletPaused();
    }

    function _count(address agent, uint96 spent, uint96 released) private {
        if (spent | released == 0) return;
        uint96 reservedAfter = _account(agent, 0, spent, released);
        emit SpendReconciled(agent, spent, released, reservedAfter);
    }

    /// @dev Limits count in millionths of a token; a token with six decimals or fewer counts exactly.
    function _unitOf(address token_) private view returns (uint256) {
        uint8 decimals = IERC20Metadata(token_).decimals();
        if (decimals > 18) revert UnsupportedDecimals(decimals);
        return decimals > 6 ? 10 ** (decimals - 6) : 1;
    }
}
