// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @notice Life of a bid and of the rental it becomes; both share one id.
/// @dev Open → Confirmed → Running → Submitted → Settled. Terminal: Settled, Resolved, Preempted, Expired, Failed, Cancelled.
enum Status {
    None,
    Open,
    Confirmed,
    Running,
    Submitted,
    Disputed,
    Settled,
    Resolved,
    Preempted,
    Expired,
    Failed,
    Cancelled
}

/// @notice Why a bid left its queue without a match.
enum RemovalReason {
    Cancelled,
    Expired
}

/// @notice The terms of a bid as a session key states them.
/// @param cls Hardware class, 1..31.
/// @param preemptible Whether the rental may be pre-empted.
/// @param tick Price tick, 0..255, 2 % apart.
/// @param maxDuration Seconds paid for at most; it selects the duration bucket.
/// @param expiry Unix seconds after which the bid can no longer be matched (exclusive).
/// @param templateId Registered spec template that bounds what the spec may demand.
/// @param specHash SHA-256 of the rental's spec.
/// @param policyHash Content hash of the policy that priced the bid; zero when a heuristic did.
struct BidTerms {
    uint8 cls;
    bool preemptible;
    uint8 tick;
    uint24 maxDuration;
    uint40 expiry;
    uint16 templateId;
    bytes32 specHash;
    bytes32 policyHash;
}

/// @notice EIP-712 form of a bid under the market's domain; signed nested (ERC-7739) by `agent` for `wallet`.
/// @dev `nonce` is a keyed nonce of `wallet` whose 192-bit key is `uint192(uint160(agent)) << 32`.
struct Bid {
    address wallet;
    address agent;
    uint8 cls;
    bool preemptible;
    uint8 tick;
    uint24 maxDuration;
    uint40 expiry;
    uint16 templateId;
    bytes32 specHash;
    bytes32 policyHash;
    uint256 nonce;
}

/// @notice EIP-712 countersignature of a start, by a key that may act on the agreement.
struct Start {
    uint96 agreementId;
    uint64 offerId;
    address provider;
    bytes32 specHash;
    uint40 deadline;
}

/// @notice A bid or rental as stored.
/// @param id class 8 | bucket and pre-emptible flag 8 | tick 8 | sequence 64, most significant first.
/// @param agent Session key that placed it; `wallet` is the wallet that key belongs to.
/// @param startOrBillable Confirmed: 0; Running: start time (Unix s); Submitted and later: seconds to bill.
/// @param deadline Absolute Unix second from which anyone may move the agreement on.
/// @param paid Terminal: tokens taken from escrow (provider's pay plus fee plus penalty); otherwise 0.
/// @param flags Bits: 1 receipts were given, 2 pre-empted, 4 a dispute's deposit counts against the key's
/// limits, 8 cancelled while running.
struct Agreement {
    uint96 id;
    address wallet;
    address agent;
    uint24 maxDuration;
    uint40 expiry;
    uint16 feeBps;
    Status status;
    uint8 flags;
    uint64 offerId;
    uint40 startOrBillable;
    uint40 deadline;
    uint96 paid;
}

/// @notice A provider's standing offer.
/// @dev A slot and its bond stay after a rental, unless the bond lost a part or the offer was closed: then the slot ends
/// and what is left of its bond is credited.
/// @param bookMask Bit (bucket × 2 + preemptible) set for every book it serves.
/// @param slots Rentals it can hold at once; `used` of them are held now.
/// @param validUntil Unix second from which it matches no more; 0 when closed.
struct Offer {
    address provider;
    uint8 cls;
    uint8 bookMask;
    uint8 reserveTick;
    uint16 slots;
    uint16 used;
    uint40 validUntil;
    uint96 bondPerSlot;
}

/// @notice What the market holds for a session key.
/// @param wallet Wallet the key belongs to, for good from its first bid on; zero before.
/// @param credit Token units that fund the key's next bids, or go back to the wallet by `collect`.
/// @param spent Token units of ended bids that were spent and that the wallet has not counted yet.
/// @param released Token units of ended bids that were not spent and that the wallet still holds reserved.
struct KeyAccount {
    address wallet;
    uint96 credit;
    uint96 spent;
    uint96 released;
}

/// @notice What the market asks money for. An owner's deposit stands outside all limits.
enum FundingKind {
    Bid,
    Deposit,
    OwnerDeposit
}

/// @notice What the market asks of a wallet when it funds a bid or a deposit, in token units.
/// @param kind What for.
/// @param amount To be reserved, or only given if it is an owner's deposit.
/// @param creditUsed Part of `amount` that the key's credit gives; the wallet sends the rest.
/// @param spent As in KeyAccount: to be counted now, before anything is reserved.
/// @param released As in KeyAccount.
struct Funding {
    FundingKind kind;
    uint96 amount;
    uint96 creditUsed;
    uint96 spent;
    uint96 released;
}

/// @notice One start of a batch; as the arguments of `start`.
struct StartItem {
    uint96 agreementId;
    bytes32 specHash;
    bytes32 imageDigest;
    bytes countersignature;
}

/// @notice One result of a batch; as the arguments of `submit`.
struct SubmitItem {
    uint96 agreementId;
    uint40 claimedSeconds;
    bytes32 resultHash;
    bytes32 receiptRoot;
}

/// @notice One price level of a book: sequences [head, tail) of which `live` are open bids.
struct Level {
    uint64 head;
    uint64 tail;
    uint64 live;
}

/// @notice What a bid's spec may demand at most.
struct Template {
    uint32 memoryMiB;
    uint32 diskMiB;
    uint32 pids;
    bool network;
    bytes32 imageDigest;
}

/// @notice Immutable clocks and floors of the market, in seconds unless said otherwise.
struct Timing {
    uint40 startDeadline;
    uint40 submitGrace;
    uint40 challengeWindow;
    uint40 disputeTimeout;
    uint40 minBidLifetime;
    uint40 minBilled;
    uint40 checkpoint;
    uint40 bondSeconds;
}

/// @notice Limits that the owner sets for the whole wallet; token units.
/// @dev Kept in millionths of a token, rounded down; daily and perBid at most 2^32 − 1 of those.
/// @param daily Most that may be spent plus reserved in any 24 hours.
struct WalletLimits {
    uint96 daily;
    uint96 perBid;
    uint96 lifetime;
}

/// @notice What a session key may do.
/// @param expiry Unix second from which the key is dead.
/// @param permissions Bits: 1 bid, 2 cancel, 4 dispute, 8 delegate.
/// @param classMask Bit n set: class n allowed.
/// @param maxTicks Byte n (least significant first): highest tick allowed for class n, at least 1; bytes of classes
/// outside the mask are cleared.
/// @param daily As in WalletLimits, rounding and maximum included; perBid and lifetime too.
/// @param providerList Whether only providers on the wallet's allow-list may be countersigned.
struct KeyPolicy {
    uint40 expiry;
    uint8 permissions;
    uint32 classMask;
    bool providerList;
    uint96 daily;
    uint96 perBid;
    uint96 lifetime;
    uint256 maxTicks;
}

/// @notice State of a session key as the wallet stores it.
/// @param parent Key that delegated it; zero when the owner authorised it.
/// @param depth 0 for the owner's keys, at most 3.
struct KeyState {
    KeyPolicy policy;
    address parent;
    uint8 depth;
    bool active;
    uint96 reserved;
    uint96 lifetimeSpent;
    uint256 spentWindow;
}
