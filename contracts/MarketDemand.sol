// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {MarketSettlement} from "./MarketSettlement.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "./interfaces/IAgentWallet.sol";
import {IAgentWalletFactory} from "./interfaces/IAgentWalletFactory.sol";
import {Bid, BidTerms, RemovalReason, Status} from "./interfaces/Types.sol";
import {Books} from "./libraries/Books.sol";
import {Head, Heads} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";
import {Price} from "./libraries/Price.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title MarketDemand
/// @notice What wallets do: place, cancel, dispute.
abstract contract MarketDemand is MarketSettlement {
    using Books for Books.Book;

    /// @inheritdoc IAIPowerRental
    function placeBid(BidTerms memory terms, address agent)
        external
        nonReentrant
        whenNotPaused
        returns (uint96 agreementId)
    {
        _checkWallet(msg.sender);
        return _place(msg.sender, agent, terms);
    }

    /// @inheritdoc IAIPowerRental
    function placeBidWithSignature(Bid memory bid, bytes calldata signature)
        external
        nonReentrant
        whenNotPaused
        returns (uint96 agreementId)
    {
        _checkWallet(bid.wallet);
        uint256 nonce = _useNonce(bid.wallet, uint192(uint160(bid.agent)) << 32);
        if (bid.nonce != nonce) revert InvalidAccountNonce(bid.wallet, nonce);
        if (
            signature.length < 20 || address(bytes20(signature)) != bid.agent
                || !SignatureChecker.isValidERC1271SignatureNowCalldata(
                    bid.wallet, _hashTypedDataV4(TypedData.hash(bid)), signature
                )
        ) revert InvalidBidSignature(bid.wallet, bid.agent);
        BidTerms memory terms;
        assembly ("memory-safe") {
            // The terms are the members of a bid between its first two and its last.
            terms := add(bid, 0x40)
        }
        return _place(bid.wallet, bid.agent, terms);
    }

    /// @inheritdoc IAIPowerRental
    function cancel(uint96 agreementId) external nonReentrant {
        Head head = _consumed(agreementId);
        if (head.isIn(Status.Open)) {
            uint256 cancellableAt = head.placedAt() + MIN_BID_LIFETIME;
            if (block.timestamp < cancellableAt) revert BidTooYoung(agreementId, uint40(cancellableAt));
            _books[Ids.book(agreementId)].drop(Ids.tick(agreementId));
            return _remove(
                agreementId, head, block.timestamp < head.expiry() ? RemovalReason.Cancelled : RemovalReason.Expired
            );
        }
        bool confirmed = head.isIn(Status.Confirmed);
        Rental memory rental = _timely(agreementId, head, confirmed ? Status.Confirmed : Status.Running);
        uint256 elapsed = confirmed ? 0 : block.timestamp - rental.startOrBillable;
        Outcome memory outcome;
        outcome.status = Status.Cancelled;
        outcome.gross = _cost(agreementId, _billable(elapsed, head.maxDuration()));
        _close(agreementId, outcome);
    }

    /// @inheritdoc IAIPowerRental
    function dispute(uint96 agreementId, bytes32 reasonHash) external nonReentrant {
        Head head = _consumed(agreementId);
        uint256 deposit = _deposit(agreementId, _timely(agreementId, head, Status.Submitted).startOrBillable);
        uint40 timeout = uint40(block.timestamp + DISPUTE_TIMEOUT);
        _records[agreementId].head = head.withStatus(Status.Disputed);
        _records[agreementId].rental.deadline = timeout;
        emit DisputeFiled(agreementId, msg.sender, reasonHash, uint96(deposit), timeout);

        uint256 creditUsed = _useCredit(msg.sender, deposit);
        uint256 before = _balance();
        IAgentWallet(msg.sender).fundDeposit(agreementId, uint96(deposit), uint96(creditUsed));
        _checkReceived(before, deposit - creditUsed);
    }

    /// @dev Seconds to pay for at `elapsed`: never less than the minimum, never more than was escrowed.
    function _billable(uint256 elapsed, uint256 maxDuration) internal view returns (uint256) {
        if (elapsed < MIN_BILLED) return MIN_BILLED;
        return elapsed < maxDuration ? elapsed : maxDuration;
    }

    function _place(address wallet, address agent, BidTerms memory terms) private returns (uint96) {
        _checkTerms(terms);
        uint256 escrow = Price.cost(_price(terms.cls, terms.tick), terms.maxDuration);
        uint256 book = Ids.bookFor(terms.cls, terms.preemptible, terms.maxDuration);
        uint96 id = uint96(Ids.make(book, terms.tick, _books[book].push(terms.tick)));
        uint16 feeBps = _feeBps;
        Record storage record = _records[id];
        record.head = Heads.open(wallet, terms.maxDuration, terms.expiry, block.timestamp, feeBps);
        record.evidence = terms.specHash;
        uint256 creditUsed = _useCredit(wallet, escrow);
        emit BidPlaced(
            id,
            wallet,
            agent,
            terms.maxDuration,
            terms.expiry,
            feeBps,
            terms.templateId,
            uint96(escrow),
            uint96(creditUsed),
            terms.specHash,
            terms.policyHash
        );

        uint256 before = _balance();
        IAgentWallet(wallet).fundBid(id, agent, terms.cls, terms.tick, uint96(escrow), uint96(creditUsed));
        _checkReceived(before, escrow - creditUsed);
        return id;
    }

    function _checkWallet(address wallet) private view {
        if (!IAgentWalletFactory(factory).isWallet(wallet)) revert NotWallet(wallet);
    }

    function _checkTerms(BidTerms memory terms) private view {
        uint256 expiry = terms.expiry;
        if (terms.maxDuration < MIN_BILLED || terms.maxDuration > Ids.MAX_DURATION) {
            revert InvalidDuration(terms.maxDuration);
        }
        uint256 bound = block.timestamp + MIN_BID_LIFETIME;
        if (expiry < bound) revert BidLifetimeTooShort(uint40(expiry), uint40(bound));
        bound = block.timestamp + MAX_BID_LIFETIME;
        if (expiry > bound) revert BidLifetimeTooLong(uint40(expiry), uint40(bound));
        if (terms.specHash == 0) revert ZeroSpecHash();
        if (_templates[terms.templateId] >> terms.cls & 1 == 0) {
            revert TemplateUnknown(terms.templateId, terms.cls);
        }
    }

    function _consumed(uint256 id) private view returns (Head head) {
        head = _records[id].head;
        if (head.wallet() != msg.sender) revert NotConsumer(uint96(id), msg.sender);
    }
}
