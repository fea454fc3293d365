// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {MarketSettlement} from "./MarketSettlement.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "./interfaces/IAgentWallet.sol";
import {IAgentWalletFactory} from "./interfaces/IAgentWalletFactory.sol";
import {Bid, BidTerms, Funding, FundingKind, RemovalReason, Status} from "./interfaces/Types.sol";
import {Account, Accounts} from "./libraries/Accounts.sol";
import {Books} from "./libraries/Books.sol";
import {Head, Heads} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";
import {Rental, Rentals} from "./libraries/Rentals.sol";
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
        _checkKey(msg.sender, agent);
        return _place(msg.sender, agent, terms);
    }

    /// @inheritdoc IAIPowerRental
    function placeBidWithSignature(Bid memory bid, bytes calldata signature)
        external
        nonReentrant
        whenNotPaused
        returns (uint96 agreementId)
    {
        _checkKey(bid.wallet, bid.agent);
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
        Rental rental = _records[agreementId].rental;
        if (rental.isIn(Status.None) && head.isOpen()) {
            uint256 cancellableAt = head.placedAt() + MIN_BID_LIFETIME;
            if (block.timestamp < cancellableAt) revert BidTooYoung(agreementId, uint40(cancellableAt));
            _books[Ids.book(agreementId)].drop(Ids.tick(agreementId));
            return _remove(
                agreementId, head, block.timestamp < head.expiry() ? RemovalReason.Cancelled : RemovalReason.Expired
            );
        }
        if (rental.isIn(Status.Confirmed)) {
            // A provider that earned by it would overtake cancels, and a thief with the key would pay itself past the
            // countersignature.
            _callOff(agreementId, true);
            return;
        }
        rental = _timely(agreementId, Status.Running);
        // Through the challenge window, since a key must not accept a bill for its owner. The cancel is the consumer's
        // own word that the rental ran, hence stands for receipts.
        uint256 billable = _billable(block.timestamp - rental.startOrBillable(), head.maxDuration());
        _deliver(agreementId, rental, billable, 0, 0, Rentals.CANCELLED | Rentals.HAS_RECEIPTS);
    }

    /// @inheritdoc IAIPowerRental
    function dispute(uint96 agreementId, bytes32 reasonHash, bool counted) external nonReentrant {
        address agent = _consumed(agreementId).agent();
        Rental rental = _timely(agreementId, Status.Submitted);
        uint256 billable = rental.startOrBillable();
        uint256 deposit = _deposit(agreementId, billable);
        uint256 timeout = block.timestamp + DISPUTE_TIMEOUT;
        _records[agreementId].rental =
            rental.moved(Status.Disputed, billable, timeout, counted ? Rentals.DEPOSIT_COUNTED : 0);
        Funding memory funding = _draw(agent, deposit, counted ? FundingKind.Deposit : FundingKind.OwnerDeposit);
        emit DisputeFiled(
            agreementId, msg.sender, reasonHash, uint96(deposit), funding.creditUsed, counted, uint40(timeout)
        );
        _fund(msg.sender, agreementId, agent, funding);
    }

    /// @inheritdoc IAIPowerRental
    function collect(address agent) external nonReentrant returns (uint96 credit, uint96 spent, uint96 released) {
        if (_walletOf[agent] != msg.sender) revert NotKeyWallet(agent, msg.sender);
        Account account = _accounts[agent];
        _accounts[agent] = Accounts.counted(0);
        (credit, spent, released) = (uint96(account.credit()), uint96(account.spent()), uint96(account.released()));
        emit KeyCollected(agent, msg.sender, credit, spent, released);
        if (credit != 0) _pay(msg.sender, credit);
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
        _records[id].head = Heads.open(agent, terms.maxDuration, terms.expiry, block.timestamp, feeBps);
        Funding memory funding = _draw(agent, escrow, FundingKind.Bid);
        emit BidPlaced(
            id,
            wallet,
            agent,
            terms.maxDuration,
            terms.expiry,
            feeBps,
            terms.templateId,
            uint96(escrow),
            funding.creditUsed,
            terms.specHash,
            terms.policyHash
        );
        _fund(wallet, id, agent, funding);
        return id;
    }

    /// @dev What the wallet must give for `amount`: the key's credit comes first. What the wallet has yet to count goes
    /// along, so that one call settles and reserves.
    function _draw(address agent, uint256 amount, FundingKind kind) private returns (Funding memory funding) {
        Account account = _accounts[agent];
        uint256 credit = account.credit();
        uint256 used = credit < amount ? credit : amount;
        funding.kind = kind;
        funding.amount = uint96(amount);
        funding.creditUsed = uint96(used);
        funding.spent = uint96(account.spent());
        funding.released = uint96(account.released());
        _accounts[agent] = Accounts.counted(credit - used);
    }

    function _fund(address wallet, uint96 id, address agent, Funding memory funding) private {
        uint256 before = _balance();
        IAgentWallet(wallet).fund(id, agent, funding);
        _checkReceived(before, funding.amount - funding.creditUsed);
    }

    /// @dev A key belongs to the wallet it first bids for, which only a holder of the key can bring about.
    function _checkKey(address wallet, address agent) private {
        address known = _walletOf[agent];
        if (known == address(0)) {
            if (!IAgentWalletFactory(factory).isWallet(wallet)) revert NotWallet(wallet);
            _walletOf[agent] = wallet;
        } else if (known != wallet) {
            revert KeyOfAnotherWallet(agent, known);
        }
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
        // No template beyond 127 was ever added; a shift that far leaves nothing.
        if (_classes[terms.cls].templates >> terms.templateId & 1 == 0) {
            revert TemplateUnknown(terms.templateId, terms.cls);
        }
    }

    function _consumed(uint256 id) private view returns (Head head) {
        head = _records[id].head;
        if (_walletOf[head.agent()] != msg.sender) revert NotConsumer(uint96(id), msg.sender);
    }
}
