// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {
    Agreement,
    Bid,
    BidTerms,
    KeyAccount,
    Level,
    Offer,
    RemovalReason,
    StartItem,
    Status,
    SubmitItem,
    Template,
    Timing
} from "./Types.sol";

/// @title IAIPowerRental
/// @notice The market: one book per (class, duration bucket, pre-emptible), full escrow, rentals metered by the second.
/// @dev `book` = class << 8 | bucket << 1 | preemptible. Buckets: 0 ≤ 600 s, 1 ≤ 3,600 s, 2 ≤ 21,600 s, 3 ≤ 86,400 s.
/// `price` is token units per second × 1e18; escrow = ceil(price × maxDuration / 1e18), and so is every other amount for
/// a number of seconds: pay, minimum bill, no-show penalty, deposit, smallest bond. fee = floor(pay × feeBps / 10,000).
/// Deadlines: one acts while now < deadline; from now ≥ deadline on, anyone may `advance`.
/// Bond slashes and penalties: 90 % are credited to 0x…dEaD and so burned, the rest to the treasury; never to the other side.
/// A session key belongs to the wallet it first bids for, for good. It has an account of its own: what its ended bids left
/// (credit) funds its next ones, and what they spent and released waits there until the wallet counts it, at the key's next
/// bid or at `collect`. Until then the wallet holds it reserved, so that no limit is ever exceeded.
/// Credits fold from events. Keys: BidPlaced, DisputeFiled: − creditUsed. BidRemoved, PaymentProcessed: + refund.
/// DisputeResolved: + what of the deposit was not forfeited. KeyCollected: − credit. Accounts: OfferPosted: provider −
/// min(credit, slots × bondPerSlot). OfferUpdated: provider + bondCredited. PaymentProcessed: provider + pay, treasury + fee.
/// Credited: account + amount (burned and treasury's part of slashes and penalties; forfeited deposits). Withdrawn: − amount.
/// Uncounted of a key: BidRemoved: released + refund. PaymentProcessed: spent + pay + fee + penalty, released + refund.
/// DisputeResolved, if its deposit was counted: spent + forfeited, released + the rest. Zero after BidPlaced, DisputeFiled
/// and KeyCollected.
/// A rental ends with, in this order: DisputeResolved and Credited, or AgreementDeclined, if so; PaymentProcessed;
/// OfferUpdated if the slot ends; Credited for what was slashed; then AgreementCompleted (Settled, Resolved, Preempted),
/// AgreementCancelled (Cancelled) or AgreementExpired (Expired, Failed). An open bid ends with BidRemoved alone.
interface IAIPowerRental {
    // --- events: the state of every book, bid, offer and rental folds from these alone ---

    event ClassAdded(uint8 indexed cls, uint128 basePrice);
    event TemplateAdded(uint16 indexed templateId, uint32 classMask, Template template);
    event ConfigUpdated(uint16 feeBps, address treasury, address arbiter, address pauser);
    event ProviderAuthorized(address indexed provider);
    event OperatorUpdated(address indexed provider, address indexed operator, bool allowed);
    event EndpointUpdated(address indexed provider, string endpoint);
    event OfferPosted(
        uint64 indexed offerId,
        address indexed provider,
        uint8 cls,
        uint8 bookMask,
        uint16 slots,
        uint8 reserveTick,
        uint96 bondPerSlot,
        uint40 validUntil
    );
    event OfferUpdated(
        uint64 indexed offerId, uint16 slots, uint8 reserveTick, uint40 validUntil, bool active, uint96 bondCredited
    );
    event BidPlaced(
        uint96 indexed agreementId,
        address indexed wallet,
        address indexed agent,
        uint24 maxDuration,
        uint40 expiry,
        uint16 feeBps,
        uint16 templateId,
        uint96 escrow,
        uint96 creditUsed,
        bytes32 specHash,
        bytes32 policyHash
    );
    event BidRemoved(uint96 indexed agreementId, RemovalReason reason, uint96 refund);
    /// @notice A match. The price is the bid's: `priceOf` class and tick in the id.
    event AgreementCreated(
        uint96 indexed agreementId, uint64 indexed offerId, address indexed provider, uint40 startDeadline
    );
    event AgreementDeclined(uint96 indexed agreementId, uint96 fee);
    /// @param specHash As countersigned; whoever signed it vouches that it is the bid's.
    event AgreementStarted(
        uint96 indexed agreementId, uint40 startTime, uint40 endTime, bytes32 specHash, bytes32 imageDigest
    );
    /// @param flags As in Agreement: pre-empted, cancelled, with receipts.
    event PerformanceSubmitted(
        uint96 indexed agreementId,
        uint40 billable,
        bytes32 resultHash,
        bytes32 receiptRoot,
        uint40 challengeEnd,
        uint8 flags
    );
    /// @param initiator The wallet.
    /// @param creditUsed Part of the deposit that the key's credit gave.
    /// @param counted Whether the deposit counts against the key's limits; not when the owner disputes.
    event DisputeFiled(
        uint96 indexed agreementId,
        address indexed initiator,
        bytes32 reasonHash,
        uint96 deposit,
        uint96 creditUsed,
        bool counted,
        uint40 timeout
    );
    event DisputeResolved(uint96 indexed agreementId, uint96 pay, uint96 slash, uint96 depositForfeited, bool timedOut);
    /// @param pay To the provider, net of `fee`. pay + fee + penalty + refund = escrow.
    /// @param slash Taken from the slot's bond.
    event PaymentProcessed(
        uint96 indexed agreementId,
        address indexed provider,
        uint96 pay,
        uint96 fee,
        uint96 refund,
        uint96 penalty,
        uint96 slash
    );
    event AgreementCompleted(uint96 indexed agreementId, Status finalStatus);
    event AgreementCancelled(uint96 indexed agreementId, Status finalStatus);
    event AgreementExpired(uint96 indexed agreementId, Status finalStatus);
    /// @notice The wallet took a key's credit and counted what its ended bids had spent and released.
    event KeyCollected(address indexed agent, address indexed wallet, uint96 credit, uint96 spent, uint96 released);
    event Withdrawn(address indexed account, address indexed to, uint96 amount);
    /// @notice A change of an account's credit that no other event implies.
    event Credited(address indexed account, uint96 amount);

    // --- errors ---

    error ClassUnknown(uint8 cls);
    error ClassExists(uint8 cls);
    error InvalidClass(uint8 cls);
    error TemplateUnknown(uint16 templateId, uint8 cls);
    error TemplateExists(uint16 templateId);
    error InvalidTemplate(uint16 templateId, uint16 max);
    error InvalidDuration(uint24 maxDuration);
    error BidLifetimeTooShort(uint40 expiry, uint40 earliest);
    error BidLifetimeTooLong(uint40 expiry, uint40 latest);
    error ZeroSpecHash();
    error NotWallet(address caller);
    error KeyOfAnotherWallet(address agent, address wallet);
    error NotKeyWallet(address agent, address caller);
    error NotConsumer(uint96 agreementId, address caller);
    error NotProvider(address caller);
    error NotOperator(uint64 offerId, address caller);
    error NotArbiter(address caller);
    error NotPauser(address caller);
    error InvalidBidSignature(address wallet, address agent);
    error InvalidStartSignature(uint96 agreementId, address signer);
    error WrongStatus(uint96 agreementId, Status status);
    error BidTooYoung(uint96 agreementId, uint40 cancellableAt);
    error NotYet(uint96 agreementId, uint40 availableAt);
    error TooLate(uint96 agreementId, uint40 deadline);
    error OfferUnknown(uint64 offerId);
    error OfferInactive(uint64 offerId);
    error OfferFull(uint64 offerId);
    error BookNotServed(uint64 offerId, uint16 book);
    error InvalidOffer();
    error BondTooSmall(uint96 bondPerSlot, uint96 minimum);
    error ClaimTooLong(uint96 agreementId, uint40 claimed, uint40 elapsed);
    error NotPreemptible(uint96 agreementId);
    error RulingOutOfRange(uint96 pay, uint96 slash);
    error FeeTooHigh(uint16 feeBps, uint16 max);
    error ZeroAddress();
    error NothingToWithdraw(address account);
    error WrongTokenAmount(uint256 expected, uint256 received);
    error EndpointTooLong(uint256 length, uint256 max);
    error InvalidTiming();

    // --- demand ---

    /// @notice Places a bid for the calling wallet (a factory's clone), which vouches for `agent`. Escrow comes from the key's credit first.
    function placeBid(BidTerms calldata terms, address agent) external returns (uint96 agreementId);
    /// @notice Places a bid for `bid.wallet` with `bid.agent`'s nested signature; anyone may send it.
    function placeBidWithSignature(Bid calldata bid, bytes calldata signature) external returns (uint96 agreementId);
    /// @notice Open: leaves the queue after the minimum lifetime, full refund. Confirmed: burns half of the no-show penalty.
    /// Running: bills max(elapsed, minBilled), which passes through the challenge window like any bill; the default of a
    /// dispute favours it. Caller: the wallet.
    function cancel(uint96 agreementId) external;
    /// @notice Disputes a submitted result with a deposit equal to the claimed pay (at least the minimum bill), given back when the
    /// ruling pays less than claimed or slashes, and on time-out; else the provider gets it. Caller: the wallet, inside the
    /// challenge window; `counted` says whether the deposit counts against the key's limits.
    function dispute(uint96 agreementId, bytes32 reasonHash, bool counted) external;
    /// @notice Sends a key's credit to its wallet and tells it what is to be counted. Caller: the wallet.
    function collect(address agent) external returns (uint96 credit, uint96 spent, uint96 released);

    // --- supply ---

    /// @notice Registers the caller as a provider (first time) and publishes where its keeper serves blobs.
    function registerProvider(string calldata endpoint) external;
    /// @notice Allows or forbids an operator key of the calling provider.
    function setOperator(address operator, bool allowed) external;
    /// @notice Lists slots; pulls slots × bondPerSlot from the caller's credit, then its token balance (approval needed).
    function postOffer(
        uint8 cls,
        uint8 bookMask,
        uint16 slots,
        uint8 reserveTick,
        uint96 bondPerSlot,
        uint40 validUntil
    ) external returns (uint64 offerId);
    /// @notice Changes reserve and validity. Caller: provider or operator.
    function updateOffer(uint64 offerId, uint8 reserveTick, uint40 validUntil) external;
    /// @notice Ends an offer; free slots' bonds are credited now, held ones as their rentals end.
    function closeOffer(uint64 offerId) external;
    /// @notice Pops the head of the best tick at or above max(reserve, minTick). Returns 0 when there is none, or when
    /// `expectedId` is not 0 and not the head; then nothing but dead bids is removed.
    function matchBest(uint64 offerId, uint16 book, uint8 minTick, uint96 expectedId)
        external
        returns (uint96 agreementId);
    /// @notice Starts with the agent's countersignature, before the start deadline. Caller: provider or operator.
    /// @param specHash Hash of the spec both sides mean. The market keeps no copy: it is what the countersignature says.
    function start(uint96 agreementId, bytes32 specHash, bytes32 imageDigest, bytes calldata countersignature) external;
    /// @notice Refuses a confirmed rental for half of the no-show penalty from the bond; the escrow is refunded.
    function decline(uint96 agreementId) external;
    /// @notice Submits the result. claimedSeconds ≤ elapsed; at least minBilled is billed, at most maxDuration.
    function submit(uint96 agreementId, uint40 claimedSeconds, bytes32 resultHash, bytes32 receiptRoot) external;
    /// @notice Gives way on a pre-emptible rental: pays whole checkpoints of elapsed time.
    function preempt(uint96 agreementId, bytes32 resultHash, bytes32 receiptRoot) external;

    // --- anyone ---

    /// @notice Moves an agreement past its deadline on: Open → Expired, Confirmed → Expired (no-show: both sides lose the same
    /// small amount), Running → Failed (bond slashed), Submitted → Settled, Preempted or Cancelled, Disputed → Resolved by default.
    function advance(uint96 agreementId) external returns (Status);
    /// @notice `advance` for many; those that can't move are skipped.
    function prune(uint96[] calldata agreementIds) external returns (uint256 moved);
    /// @notice Pulls the caller's credit.
    function withdraw(address to) external returns (uint96 amount);

    // --- batches of provider work ---

    /// @notice At most `count` and at most the free slots; only what was matched is returned.
    function matchBestBatch(uint64 offerId, uint16 book, uint8 minTick, uint256 count)
        external
        returns (uint96[] memory ids);
    /// @notice Skips what is no longer Confirmed or past its deadline, and invalid countersignatures.
    function startBatch(StartItem[] calldata items) external;
    /// @notice Skips what is no longer Running or past its deadline.
    function submitBatch(SubmitItem[] calldata items) external;

    // --- arbiter and admin ---

    /// @notice Rules on a dispute: `pay` gross within [0, escrow], `slash` within [0, bondPerSlot]. Caller: the arbiter.
    function resolve(uint96 agreementId, uint96 pay, uint96 slash) external;
    /// @notice Adds a class; its base price (tick 0) is write-once.
    function addClass(uint8 cls, uint128 basePrice) external;
    /// @notice Adds a template, at most number 127, for the classes of the mask; write-once.
    function addTemplate(uint16 templateId, uint32 classMask, Template calldata template) external;
    function setConfig(uint16 feeBps, address treasury, address arbiter, address pauser) external;
    /// @notice Stops entries (bids, offers, matches), never exits.
    function pause() external;
    function unpause() external;

    // --- views ---

    function token() external view returns (address);
    function factory() external view returns (address);
    function timing() external view returns (Timing memory);
    function config() external view returns (uint16 feeBps, address treasury, address arbiter, address pauser);
    function classBase(uint8 cls) external view returns (uint128);
    function priceOf(uint8 cls, uint8 tick) external view returns (uint128);
    function agreement(uint96 agreementId) external view returns (Agreement memory);
    /// @notice Who placed an agreement; both zero when there is none.
    function partiesOf(uint96 agreementId) external view returns (address wallet, address agent);
    /// @notice The state `advance` would give at `timestamp` (Unix s).
    function effectiveState(uint96 agreementId, uint40 timestamp) external view returns (Status);
    function offer(uint64 offerId) external view returns (Offer memory);
    function level(uint16 book, uint8 tick) external view returns (Level memory);
    function bitmap(uint16 book) external view returns (uint256);
    /// @notice Best matchable bid at or above `minTick`, expired heads skipped (at most 8 looked at); 0 when none.
    function bestBid(uint16 book, uint8 minTick) external view returns (uint96 agreementId);
    /// @notice What `account` could withdraw. Keys have accounts of their own.
    function creditOf(address account) external view returns (uint96);
    function keyAccount(address agent) external view returns (KeyAccount memory);
    function isProvider(address provider) external view returns (bool);
    function isOperator(address provider, address operator) external view returns (bool);
    function nonces(address wallet, uint192 key) external view returns (uint256);
    /// @notice EIP-712 digest of a bid under this market's domain.
    function bidDigest(Bid calldata bid) external view returns (bytes32);
    /// @notice EIP-712 digest an agent signs to countersign the start of a confirmed agreement.
    function startDigest(uint96 agreementId, bytes32 specHash) external view returns (bytes32);
}
