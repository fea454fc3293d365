// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MarketState} from "./MarketState.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "./interfaces/IAgentWallet.sol";
import {RemovalReason, Status} from "./interfaces/Types.sol";
import {Books} from "./libraries/Books.sol";
import {Head, Heads} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";

/// @title MarketSettlement
/// @notice How bids and rentals end: the split of escrow and bond, credits, the wallet's hook, timed exits, rulings.
abstract contract MarketSettlement is MarketState {
    using Books for Books.Book;
    using SafeERC20 for IERC20;

    /// @dev What a rental ends with, in token units. gross is the provider's pay plus the fee.
    struct Outcome {
        Status status;
        uint256 gross;
        uint256 penalty;
        uint256 slash;
        uint256 depositForfeited;
    }

    /// @dev Gas a wallet's closing hook may use; it covers a key of the greatest depth with fresh windows.
    uint256 internal constant HOOK_GAS = 180_000;
    /// @dev Gas needed before the hook so that 63/64 of it still are HOOK_GAS after the call's own cost.
    uint256 internal constant HOOK_GAS_REQUIRED = 190_000;
    /// @dev Share of slashes and penalties that is burned; the rest goes to the treasury.
    uint256 internal constant BURN_BPS = 9000;

    // --- anyone ---

    /// @inheritdoc IAIPowerRental
    function advance(uint96 agreementId) external nonReentrant returns (Status) {
        (Status next, uint256 availableAt) = _next(agreementId);
        if (availableAt == 0) revert WrongStatus(agreementId, next);
        if (block.timestamp < availableAt) revert NotYet(agreementId, uint40(availableAt));
        _advance(agreementId, next);
        return next;
    }

    /// @inheritdoc IAIPowerRental
    function prune(uint96[] calldata agreementIds) external nonReentrant returns (uint256 moved) {
        for (uint256 i; i < agreementIds.length; ++i) {
            (Status next, uint256 availableAt) = _next(agreementIds[i]);
            if (availableAt == 0 || block.timestamp < availableAt) continue;
            _advance(agreementIds[i], next);
            ++moved;
        }
    }

    /// @inheritdoc IAIPowerRental
    function withdraw(address to) external nonReentrant returns (uint96 amount) {
        if (to == address(0)) revert ZeroAddress();
        amount = uint96(_credits[msg.sender]);
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        _credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    // --- arbiter ---

    /// @inheritdoc IAIPowerRental
    function resolve(uint96 agreementId, uint96 pay, uint96 slash) external nonReentrant {
        if (msg.sender != _arbiter) revert NotArbiter(msg.sender);
        Head head = _records[agreementId].head;
        Rental memory rental = _timely(agreementId, head, Status.Disputed);
        if (pay > _cost(agreementId, head.maxDuration()) || slash > _listings[rental.offerId].bondPerSlot) {
            revert RulingOutOfRange(pay, slash);
        }
        Outcome memory outcome;
        outcome.gross = pay;
        outcome.slash = slash;
        _rule(agreementId, outcome);
    }

    // --- views ---

    /// @inheritdoc IAIPowerRental
    function effectiveState(uint96 agreementId, uint40 timestamp) external view returns (Status) {
        (Status next, uint256 availableAt) = _next(agreementId);
        return availableAt == 0 || timestamp >= availableAt ? next : _records[agreementId].head.status();
    }

    // --- timed exits ---

    /// @dev The state that time alone leads to and when; `availableAt` is zero when there is none, then `next` is the
    /// present state.
    function _next(uint256 id) internal view returns (Status next, uint256 availableAt) {
        Record storage record = _records[id];
        Head head = record.head;
        Status status = head.status();
        if (status == Status.Open) return (Status.Expired, head.expiry());
        if (status < Status.Confirmed || status > Status.Disputed) return (status, 0);
        availableAt = record.rental.deadline;
        if (status == Status.Confirmed) return (Status.Expired, availableAt);
        if (status == Status.Running) return (Status.Failed, availableAt);
        if (status == Status.Disputed) return (Status.Resolved, availableAt);
        return (head.has(Heads.PREEMPTED) ? Status.Preempted : Status.Settled, availableAt);
    }

    function _advance(uint256 id, Status next) private {
        Head head = _records[id].head;
        if (head.isIn(Status.Open)) {
            _books[Ids.book(id)].drop(Ids.tick(id));
            return _remove(id, head, RemovalReason.Expired);
        }
        uint256 offerId = _records[id].rental.offerId;
        Outcome memory outcome;
        outcome.status = next;
        if (next == Status.Expired) {
            outcome.penalty = outcome.slash = _noShow(id, offerId);
        } else if (next == Status.Failed) {
            outcome.slash = _listings[offerId].bondPerSlot;
        } else if (next != Status.Resolved || head.has(Heads.HAS_RECEIPTS)) {
            // A silent arbiter favours the side with receipts.
            outcome.gross = _cost(id, _records[id].rental.startOrBillable);
        }
        if (next == Status.Resolved) _rule(id, outcome);
        else _close(id, outcome);
    }

    /// @dev The deposit is lost only to a ruling that found no fault with the claim; a time-out costs no deposit.
    function _rule(uint256 id, Outcome memory outcome) private {
        Rental memory rental = _records[id].rental;
        uint256 deposit = _deposit(id, rental.startOrBillable);
        bool timedOut = block.timestamp >= rental.deadline;
        address to = _records[id].head.wallet();
        if (!timedOut && outcome.slash == 0 && outcome.gross >= _cost(id, rental.startOrBillable)) {
            outcome.depositForfeited = deposit;
            to = _listings[rental.offerId].provider;
        }
        emit DisputeResolved(
            uint96(id), uint96(outcome.gross), uint96(outcome.slash), uint96(outcome.depositForfeited), timedOut
        );
        _credit(to, deposit);
        outcome.status = Status.Resolved;
        _close(id, outcome);
    }

    // --- the end of a rental ---

    /// @dev Splits escrow and bond, frees the slot, and tells the wallet. Effects come before the hook.
    function _close(uint256 id, Outcome memory outcome) internal {
        Record storage record = _records[id];
        Head head = record.head;
        uint256 offerId = record.rental.offerId;
        Listing storage listing = _listings[offerId];
        uint256 paid = outcome.gross + outcome.penalty;
        uint256 refund = _cost(id, head.maxDuration()) - paid;
        uint256 fee = _share(outcome.gross, head.feeBps());
        uint256 bondReturned = listing.bondPerSlot - outcome.slash;

        record.head =
            head.withStatus(outcome.status).withFlags(outcome.depositForfeited == 0 ? 0 : Heads.DEPOSIT_FORFEITED);
        record.rental.paid = uint96(paid);
        _addCredit(listing.provider, outcome.gross - fee);
        _addCredit(_treasury, fee);
        _addCredit(head.wallet(), refund);
        emit PaymentProcessed(
            uint96(id),
            listing.provider,
            uint96(outcome.gross - fee),
            uint96(fee),
            uint96(refund),
            uint96(outcome.penalty),
            uint96(bondReturned),
            uint96(outcome.slash)
        );
        _freeSlot(offerId, bondReturned, outcome.slash);
        _burn(outcome.penalty + outcome.slash);
        if (outcome.status == Status.Cancelled) emit AgreementCancelled(uint96(id), outcome.status);
        else if (outcome.status < Status.Expired) emit AgreementCompleted(uint96(id), outcome.status);
        else emit AgreementExpired(uint96(id), outcome.status);
        _callHook(id, head.wallet(), paid + outcome.depositForfeited);
    }

    /// @dev A bond that lost a part backs no further rental: its slot ends and the rest is credited. So does the
    /// slot of a closed offer. Otherwise bond and slot stay for the next rental.
    function _freeSlot(uint256 offerId, uint256 bondReturned, uint256 slash) private {
        Listing storage listing = _listings[offerId];
        listing.used -= 1;
        if (slash == 0 && listing.validUntil != 0) return;
        listing.slots -= 1;
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
        _addCredit(head.wallet(), refund);
        emit BidRemoved(uint96(id), reason, uint96(refund));
        _callHook(id, head.wallet(), 0);
    }

    /// @dev A wallet can never block its market: its hook has a fixed stipend, which the caller must supply, returns
    /// nothing that is copied, and may fail.
    function _callHook(uint256 id, address wallet, uint256 spent) private {
        if (gasleft() < HOOK_GAS_REQUIRED) revert InsufficientGas(gasleft(), HOOK_GAS_REQUIRED);
        try IAgentWallet(wallet).onBidClosed{gas: HOOK_GAS}(uint96(id), uint96(spent)) {}
        catch {
            emit ReconcileFailed(uint96(id));
        }
    }

    // --- checks and amounts ---

    /// @dev The agreement must be in `expected` and before its deadline.
    function _timely(uint256 id, Head head, Status expected) internal view returns (Rental memory rental) {
        if (!head.isIn(expected)) revert WrongStatus(uint96(id), head.status());
        rental = _records[id].rental;
        if (block.timestamp >= rental.deadline) revert TooLate(uint96(id), rental.deadline);
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

    /// @dev Slashes and penalties never reach the other side.
    function _burn(uint256 amount) internal {
        if (amount == 0) return;
        uint256 burned = _share(amount, BURN_BPS);
        _credit(BURNED, burned);
        _credit(_treasury, amount - burned);
    }

    function _balance() internal view returns (uint256) {
        return IERC20(token).balanceOf(address(this));
    }

    function _checkReceived(uint256 before, uint256 expected) internal view {
        uint256 received = _balance() - before;
        if (received != expected) revert WrongTokenAmount(expected, received);
    }
}
