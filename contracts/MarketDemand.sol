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
            uint40 cancellableAt = head.placedAt() + MIN_BID_LIFETIME;
            if (_now() < cancellableAt) revert BidTooYoung(agreementId, cancellableAt);
            _books[Ids.book(agreementId)].drop(Ids.tick(agreementId));
            return _remove(
                agreementId, head, _now() < head.expiry() ? RemovalReason.Cancelled : RemovalReason.Expired
            );
        }
        bool confirmed = head.isIn(Status.Confirmed);
        Rental memory rental = _timely(agreementId, head, confirmed ? Status.Confirmed : Status.Running);
        uint40 elapsed = confirmed ? 0 : _now() - rental.startOrBillable;
        Outcome memory outcome;
        outcome.status = Status.Cancelled;
        outcome.gross = _cost(agreementId, _billable(elapsed, head.maxDuration()));
        _close(agreementId, outcome);
    }

    /// @inheritdoc IAIPowerRental
    function dispute(uint96 agreementId, bytes32 reasonHash) external nonReentrant {
        Head head = _consumed(agreementId);
        uint96 deposit = _deposit(agreementId, _timely(agreementId, head, Status.Submitted).startOrBillable);
        uint40 timeout = _in(DISPUTE_TIMEOUT);
        _records[agreementId].head = head.withStatus(Status.Disputed);
        _records[agreementId].rental.deadline = timeout;
        emit DisputeFiled(agreementId, msg.sender, reasonHash, deposit, timeout);

        uint96 creditUsed = _useCredit(msg.sender, deposit);
        uint256 before = _balance();
        IAgentWallet(msg.sender).fundDeposit(agreementId, deposit, creditUsed);
        _checkReceived(before, deposit - creditUsed);
    }

    /// @dev Seconds to pay for at `elapsed`: never less than the minimum, never more than was escrowed.
    function _billable(uint40 elapsed, uint24 maxDuration) internal view returns (uint40) {
        if (elapsed < MIN_BILLED) return MIN_BILLED;
        return elapsed < maxDuration ? elapsed : maxDuration;
    }

    function _place(address wallet, address agent, BidTerms memory terms) private returns (uint96 id) {
        _checkTerms(terms);
        uint96 escrow = Price.cost(_price(terms.cls, terms.tick), terms.maxDuration);
        uint16 book = Ids.bookFor(terms.cls, terms.preemptible, terms.maxDuration);
        id = Ids.make(book, terms.tick, _books[book].push(terms.tick));
        uint16 feeBps = _feeBps;
        Record storage record = _records[id];
        record.head = Heads.open(wallet, terms.maxDuration, terms.expiry, _now(), feeBps);
        record.evidence = terms.specHash;
        uint96 creditUsed = _useCredit(wallet, escrow);
        emit BidPlaced(
            id,
            wallet,
            agent,
            terms.maxDuration,
            terms.expiry,
            feeBps,
            terms.templateId,
            escrow,
            creditUsed,
            terms.specHash,
            terms.policyHash
        );

        uint256 before = _balance();
        IAgentWallet(wallet).fundBid(id, agent, terms.cls, terms.tick, escrow, creditUsed);
        _checkReceived(before, escrow - creditUsed);
    }

    function _checkWallet(address wallet) private view {
        if (!IAgentWalletFactory(factory).isWallet(wallet)) revert NotWallet(wallet);
    }

    function _checkTerms(BidTerms memory terms) private view {
        uint40 earliest = _in(MIN_BID_LIFETIME);
        uint40 latest = _in(MAX_BID_LIFETIME);
        if (terms.maxDuration < MIN_BILLED || terms.maxDuration > Ids.MAX_DURATION) {
            revert InvalidDuration(terms.maxDuration);
        }
        if (terms.expiry < earliest || terms.expiry <= _now()) revert BidLifetimeTooShort(terms.expiry, earliest);
        if (terms.expiry > latest) revert BidLifetimeTooLong(terms.expiry, latest);
        if (terms.specHash == 0) revert ZeroSpecHash();
        // A class beyond the mask's width shifts to zero and is unknown as well.
        if (_templates[terms.templateId] & uint256(1) << terms.cls == 0) {
            revert TemplateUnknown(terms.templateId, terms.cls);
        }
    }

    function _consumed(uint96 id) private view returns (Head head) {
        head = _records[id].head;
        if (head.wallet() != msg.sender) revert NotConsumer(id, msg.sender);
    }
}
