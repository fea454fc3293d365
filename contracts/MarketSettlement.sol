// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {MarketState} from "./MarketState.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {RemovalReason, Status} from "./interfaces/Types.sol";
import {Books} from "./libraries/Books.sol";
import {Head} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";
import {Rental, Rentals} from "./libraries/Rentals.sol";

/// @title MarketSettlement
/// @notice How bids and rentals end: the split of escrow and bond, credits, timed exits, rulings.
/// @dev Nothing here calls a wallet: what ended is added to the key's account, and the wallet counts it when the key
/// bids next or anyone asks it to. So no wallet can hinder an end, and none needs gas for it.
abstract contract MarketSettlement is MarketState {
    using Books for Books.Book;
    using SafeERC20 for IERC20;

    /// @dev What a rental ends with, in token units. gross is the provider's pay plus the fee.
    struct Outcome {
        Status status;
        uint256 gross;
        uint256 penalty;
        uint256 slash;
    }

    /// @dev Share of slashes and penalties that is burned; the rest goes to the treasury.
    uint256 internal constant BURN_BPS = 9000;

    // --- anyone ---

    /// @inheritdoc IAIPowerRental
    function advance(uint96 agreementId) external nonReentrant returns (Status) {
        Rental rental = _records[agreementId].rental;
        (Status next, uint256 availableAt) = _next(agreementId, rental);
        if (availableAt == 0) _revertWrongStatus(agreementId);
        if (block.timestamp < availableAt) revert NotYet(agreementId, uint40(availableAt));
        _advance(agreementId, rental, next);
        return next;
    }

    /// @inheritdoc IAIPowerRental
    function prune(uint96[] calldata agreementIds) external nonReentrant returns (uint256 moved) {
        for (uint256 i; i < agreementIds.length; ++i) {
            Rental rental = _records[agreementIds[i]].rental;
            (Status next, uint256 availableAt) = _next(agreementIds[i], rental);
            if (availableAt == 0 || block.timestamp < availableAt) continue;
            _advance(agreementIds[i], rental, next);
            ++moved;
        }
    }

    /// @inheritdoc IAIPowerRental
    function withdraw(address to) external nonReentrant returns (uint96 amount) {
        if (to == address(0)) revert ZeroAddress();
        uint256 credit = _credits[msg.sender];
        if (msg.sender == _treasury) {
            credit += _treasuryCredit;
            _treasuryCredit = 0;
        }
        // What does not fit stays for the next call.
        amount = uint96(Math.min(credit, type(uint96).max));
        _credits[msg.sender] = credit - amount;
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        emit Withdrawn(msg.sender, to, amount);
        _pay(to, amount);
    }

    // --- arbiter ---

    /// @inheritdoc IAIPowerRental
    function resolve(uint96 agreementId, uint96 pay, uint96 slash) external nonReentrant {
        if (msg.sender != _arbiter) revert NotArbiter(msg.sender);
        Rental rental = _timely(agreementId, Status.Disputed);
        if (
            pay > _cost(agreementId, _records[agreementId].head.maxDuration())
                || slash > _listings[rental.offerId()].bondPerSlot
        ) {
            revert RulingOutOfRange(pay, slash);
        }
        Outcome memory outcome;
        outcome.gross = pay;
        outcome.slash = slash;
        _rule(agreementId, rental, outcome);
    }

    // --- views ---

    /// @inheritdoc IAIPowerRental
    function effectiveState(uint96 agreementId, uint40 timestamp) external view returns (Status) {
        (Status next, uint256 availableAt) = _next(agreementId, _records[agreementId].rental);
        return availableAt == 0 || timestamp >= availableAt ? next : _status(agreementId);
    }

    // --- timed exits ---

    /// @dev The state that time alone leads to and when; `availableAt` is zero when there is none, then `next` is the
    /// present state.
    function _next(uint256 id, Rental rental) private view returns (Status next, uint256 availableAt) {
        Status status = rental.status();
        if (status == Status.None) {
            Head head = _records[id].head;
            return head.isOpen() ? (Status.Expired, head.expiry()) : (head.status(), 0);
        }
        if (status > Status.Disputed) return (status, 0);
        availableAt = rental.deadline();
        if (status == Status.Confirmed) return (Status.Expired, availableAt);
        if (status == Status.Running) return (Status.Failed, availableAt);
        if (status == Status.Disputed) return (Status.Resolved, availableAt);
        if (rental.has(Rentals.PREEMPTED)) return (Status.Preempted, availableAt);
        return (rental.has(Rentals.CANCELLED) ? Status.Cancelled : Status.Settled, availableAt);
    }

    function _advance(uint256 id, Rental rental, Status next) private {
        if (rental.isIn(Status.None)) {
            _books[Ids.book(id)].drop(Ids.tick(id));
            return _remove(id, _records[id].head, RemovalReason.Expired);
        }
        Outcome memory outcome;
        outcome.status = next;
        if (next == Status.Expired) {
            outcome.penalty = outcome.slash = _noShow(id, rental.offerId());
        } else if (next == Status.Failed) {
            outcome.slash = _listings[rental.offerId()].bondPerSlot;
        } else if (next != Status.Resolved || rental.has(Rentals.HAS_RECEIPTS)) {
            // A silent arbiter favours the side with receipts.
            outcome.gross = _cost(id, rental.startOrBillable());
        }
        if (next == Status.Resolved) _rule(id, rental, outcome);
        else _close(id, rental, outcome);
    }

    /// @dev The deposit is lost only to a ruling that found no fault with the claim; a time-out costs no deposit.
    function _rule(uint256 id, Rental rental, Outcome memory outcome) private {
        uint256 deposit = _deposit(id, rental.startOrBillable());
        bool timedOut = block.timestamp >= rental.deadline();
        bool forfeited = !timedOut && outcome.slash == 0 && outcome.gross >= _cost(id, rental.startOrBillable());
        emit DisputeResolved(
            uint96(id), uint96(outcome.gross), uint96(outcome.slash), uint96(forfeited ? deposit : 0), timedOut
        );
        uint256 counted = rental.has(Rentals.DEPOSIT_COUNTED) ? deposit : 0;
        address agent = _records[id].head.agent();
        if (forfeited) {
            _credit(_listings[rental.offerId()].provider, deposit);
            _addEnded(agent, 0, counted, 0);
        } else {
            _addEnded(agent, deposit, 0, counted);
        }
        outcome.status = Status.Resolved;
        _close(id, rental, outcome);
    }

    // --- the end of a rental ---

    /// @dev Ends a confirmed rental at the cost of the side that calls it off: half of what silence costs, so that saying
    /// no is the better choice, and burned like it.
    function _callOff(uint256 id, bool byConsumer) internal {
        Rental rental = _timely(id, Status.Confirmed);
        uint256 cost = (_noShow(id, rental.offerId()) + 1) / 2;
        Outcome memory outcome;
        outcome.status = Status.Cancelled;
        if (byConsumer) {
            outcome.penalty = cost;
        } else {
            outcome.slash = cost;
            emit AgreementDeclined(uint96(id), uint96(cost));
        }
        _close(id, rental, outcome);
    }

    /// @dev Ends the work: from now on the result and the bill may be challenged.
    function _deliver(
        uint256 id,
        Rental rental,
        uint256 billable,
        bytes32 resultHash,
        bytes32 receiptRoot,
        uint256 flags
    ) internal {
        uint256 deadline = block.timestamp + CHALLENGE_WINDOW;
        if (receiptRoot != 0) flags |= Rentals.HAS_RECEIPTS;
        _records[id].rental = rental.moved(Status.Submitted, billable, deadline, flags);
        emit PerformanceSubmitted(uint96(id), uint40(billable), resultHash, receiptRoot, uint40(deadline), uint8(flags));
    }

    /// @dev Splits escrow and bond and frees the slot.
    function _close(uint256 id, Rental rental, Outcome memory outcome) internal {
        Record storage record = _records[id];
        Head head = record.head;
        uint256 offerId = rental.offerId();
        address provider = _listings[offerId].provider;
        uint256 paid = outcome.gross + outcome.penalty;
        uint256 refund = _cost(id, head.maxDuration()) - paid;
        uint256 fee = _share(outcome.gross, head.feeBps());

        record.rental = rental.closed(outcome.status, paid);
        _addCredit(provider, outcome.gross - fee);
        _addTreasuryCredit(fee);
        _addEnded(head.agent(), refund, paid, refund);
        emit PaymentProcessed(
            uint96(id),
            provider,
            uint96(outcome.gross - fee),
            uint96(fee),
            uint96(refund),
            uint96(outcome.penalty),
            uint96(outcome.slash)
        );
        _freeSlot(offerId, outcome.slash);
        _burn(outcome.penalty + outcome.slash);
        if (outcome.status == Status.Cancelled) emit AgreementCancelled(uint96(id), outcome.status);
        else if (outcome.status < Status.Expired) emit AgreementCompleted(uint96(id), outcome.status);
        else emit AgreementExpired(uint96(id), outcome.status);
    }

    /// @dev A bond that lost a part backs no further rental: its slot ends and the rest is credited. So does the
    /// slot of a closed offer. Otherwise bond and slot stay for the next rental.
    function _freeSlot(uint256 offerId, uint256 slash) private {
        Listing storage listing = _listings[offerId];
        listing.used -= 1;
        if (slash == 0 && listing.validUntil != 0) return;
        listing.slots -= 1;
        uint256 bondReturned = listing.bondPerSlot - slash;
        _addCredit(listing.provider, bondReturned);
        _emitUpdate(offerId, bondReturned);
    }

    function _emitUpdate(uint256 offerId, uint256 bondCredited) internal {
        Listing storage listing = _listings[offerId];
        uint40 validUntil = listing.validUntil;
        emit OfferUpdated(
            uint64(offerId), listing.slots, listing.reserveTick, validUntil, validUntil != 0, uint96(bondCredited)
        );
    }

    /// @dev Ends an open bid that its book no longer counts.
    function _remove(uint256 id, Head head, RemovalReason reason) internal {
        uint256 refund = _cost(id, head.maxDuration());
        _records[id].head = head.withStatus(reason == RemovalReason.Cancelled ? Status.Cancelled : Status.Expired);
        _addEnded(head.agent(), refund, 0, refund);
        emit BidRemoved(uint96(id), reason, uint96(refund));
    }

    // --- checks and amounts ---

    /// @dev The agreement must be in `expected` and before its deadline.
    function _timely(uint256 id, Status expected) internal view returns (Rental rental) {
        rental = _records[id].rental;
        if (!rental.isIn(expected)) _revertWrongStatus(id);
        if (block.timestamp >= rental.deadline()) revert TooLate(uint96(id), uint40(rental.deadline()));
    }

    /// @dev What each side loses when a start never comes: the minimum bill, as far as the bond covers it.
    function _noShow(uint256 id, uint256 offerId) internal view returns (uint256) {
        uint256 amount = _cost(id, MIN_BILLED);
        uint256 bond = _listings[offerId].bondPerSlot;
        return amount < bond ? amount : bond;
    }

    /// @dev At least what a false dispute could win, and never nothing.
    function _deposit(uint256 id, uint256 billable) internal view returns (uint256) {
        return _cost(id, billable > MIN_BILLED ? billable : MIN_BILLED);
    }

    /// @dev Rounded down.
    function _share(uint256 amount, uint256 bps) private pure returns (uint256) {
        return amount * bps / 10_000;
    }

    // --- credits ---

    /// @dev For changes that another event implies.
    function _addCredit(address account, uint256 amount) internal {
        if (amount != 0) _credits[account] += amount;
    }

    function _credit(address account, uint256 amount) internal {
        if (amount == 0) return;
        _credits[account] += amount;
        emit Credited(account, uint96(amount));
    }

    /// @dev Takes up to `amount` from the account's credit; returns what it gave.
    function _useCredit(address account, uint256 amount) internal returns (uint256 used) {
        uint256 credit = _credits[account];
        if (credit == 0) return 0;
        used = credit < amount ? credit : amount;
        _credits[account] = credit - used;
    }

    function _addTreasuryCredit(uint256 amount) private {
        if (amount != 0) _treasuryCredit += uint96(amount);
    }

    /// @dev What a bid or deposit of `agent` left: `credit` is the key's again; of what its wallet holds reserved, `spent`
    /// was spent and `released` was not.
    function _addEnded(address agent, uint256 credit, uint256 spent, uint256 released) private {
        _accounts[agent] = _accounts[agent].plus(credit, spent, released);
    }

    /// @dev Slashes and penalties never reach the other side.
    function _burn(uint256 amount) internal {
        if (amount == 0) return;
        uint256 burned = _share(amount, BURN_BPS);
        _credit(BURNED, burned);
        _addTreasuryCredit(amount - burned);
        emit Credited(_treasury, uint96(amount - burned));
    }

    function _pay(address to, uint256 amount) internal {
        IERC20(token).safeTransfer(to, amount);
    }

    function _balance() internal view returns (uint256) {
        return IERC20(token).balanceOf(address(this));
    }

    function _checkReceived(uint256 before, uint256 expected) internal view {
        uint256 received = _balance() - before;
        if (received != expected) revert WrongTokenAmount(expected, received);
    }
}
