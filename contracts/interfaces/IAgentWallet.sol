// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {BidTerms, Funding, KeyPolicy, KeyState, WalletLimits} from "./Types.sol";

/// @title IAgentWallet
/// @notice An agent's purse. The owner funds it and sets limits; session keys bid within them through the trusted forwarder.
/// @dev In every 24 hours, for the wallet, the key and all its ancestors: spent + reserved ≤ daily limit. Errors of limits name
/// the key whose limit it was, or the wallet itself. Reserved and spent amounts are exact; limits are rounded down to
/// millionths of a token, the rolling window's lanes are rounded up.
/// Paused: keys neither bid nor start nor dispute; cancelling, and all the owner does, goes on.
interface IAgentWallet {
    /// @notice A session key was authorised, by the owner (`parent` zero) or by a key that may delegate.
    event AgentAuthorized(
        address indexed agent,
        address indexed parent,
        uint40 expiry,
        uint96 perBid,
        uint96 daily,
        uint96 lifetime,
        uint256 maxTicks,
        uint32 classMask,
        uint8 permissions,
        bool providerList
    );
    /// @notice A session key was revoked; its descendants are dead with it.
    event AgentDeactivated(address indexed agent);
    /// @notice Every key authorised before now is dead.
    event AllAgentsDeactivated(uint32 epoch);
    /// @notice The wallet's own limits changed.
    event SpendingLimitUpdated(uint96 daily, uint96 perBid, uint96 lifetime);
    /// @notice A bid (or a key's deposit in a dispute; the owner's stands outside all limits) was funded: `amount` is
    /// reserved, of which the key's market credit gave `creditUsed`. Before that, reservations of ended bids of `agent` ended:
    /// `spent` was spent, `released` was not. All four change `agent`, its ancestors and the wallet alike.
    event MicroTransactionExecuted(
        uint96 indexed bidId,
        address indexed agent,
        uint96 amount,
        uint96 creditUsed,
        uint96 spent,
        uint96 released,
        uint96 reservedAfter
    );
    /// @notice Reservations of ended bids of `agent` ended without a new one.
    event SpendReconciled(address indexed agent, uint96 spent, uint96 released, uint96 reservedAfter);
    /// @notice The owner took tokens out.
    event FundsWithdrawn(address indexed to, uint96 amount);
    /// @notice The owner paused or resumed the wallet.
    event PausedSet(bool paused);
    /// @notice The owner changed the provider allow-list.
    event ProviderAllowed(address indexed provider, bool allowed);
    /// @notice Ownership was offered and must be accepted.
    event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner);
    /// @notice Ownership moved.
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    error AlreadyInitialized();
    error NotOwner(address caller);
    error NotMarket(address caller);
    error NotAgent(address caller);
    error AgentExpired(address agent, uint40 expiry);
    error AgentUnknown(address agent);
    error AgentExists(address agent);
    error PermissionMissing(address agent, uint8 permission);
    error WalletPaused();
    error ClassForbidden(address agent, uint8 cls);
    error TickAboveCap(address agent, uint8 tick, uint8 maxTick);
    error PerBidLimitExceeded(address agent, uint96 amount, uint96 limit);
    error DailyLimitExceeded(address agent, uint256 wanted, uint96 limit);
    error LifetimeLimitExceeded(address agent, uint256 wanted, uint96 limit);
    error NotBidAgent(uint96 bidId, address caller);
    error BidUnknown(uint96 bidId);
    error DelegationTooDeep(address parent);
    error DelegationExceedsParent(address parent);
    error LimitTooLarge(uint96 limit, uint96 max);
    error InvalidPolicy();
    error NotFactory(address caller);
    error UnsupportedDecimals(uint8 decimals);

    /// @notice Called once by the factory in the transaction that creates the clone. `agent` zero authorises no key,
    /// nor does a policy that has expired.
    function initialize(address owner_, WalletLimits calldata limits, address agent, KeyPolicy calldata policy) external;

    // --- session keys, through the forwarder ---
    // Warning: a request should ask for at least 1,500,000 gas. The forwarder lets a request through whose inner call had
    // 63/64 of too little, five calls deep: with less, whoever sends it can make it fail and its nonce count.

    /// @notice Places a fully escrowed bid. Caller: a session key with permission 1.
    function placeBid(BidTerms calldata terms) external returns (uint96 bidId);
    /// @notice Cancels a bid or rental. Caller: the key that placed it, an ancestor (permission 2), or the owner.
    function cancelBid(uint96 bidId) external;
    /// @notice Disputes a submitted result. Caller: the key that placed it, an ancestor (permission 4), or the owner.
    function dispute(uint96 bidId, bytes32 reasonHash) external;

    // --- keys and limits ---

    /// @notice Authorises a key. Caller: the owner, or a key with permission 8 whose own limits contain `policy`.
    /// @dev Again by the same caller: replaces the policy and revives the key; its spending stays counted. A key's parent never
    /// changes.
    function authorizeAgent(address agent, KeyPolicy calldata policy) external;
    /// @notice Revokes a key at once. Caller: the owner, or an ancestor of the key, or the key itself.
    function revokeAgent(address agent) external;
    /// @notice Emergency: kills every key and pauses in one call. Caller: the owner.
    function revokeAll() external;
    /// @notice Sets the wallet's limits. Caller: the owner.
    function setLimits(WalletLimits calldata limits) external;
    /// @notice Pauses (no new bids) or resumes. Caller: the owner.
    function setPaused(bool paused_) external;
    /// @notice Puts a provider on or off the allow-list. Caller: the owner.
    function allowProvider(address provider, bool allowed) external;

    // --- money ---

    /// @notice Sends tokens out. Caller: the owner.
    function withdraw(address to, uint96 amount) external;
    /// @notice Pulls a key's credit from the market into the wallet, and counts what its ended bids spent and released.
    /// Caller: anyone. Of use for keys that bid no more; those that do are counted at their next bid.
    function collect(address agent) external returns (uint96 credit);
    /// @notice Offers ownership; the new owner accepts.
    function transferOwnership(address newOwner) external;
    /// @notice Accepts ownership.
    function acceptOwnership() external;

    // --- the market's hooks (raw sender) ---

    /// @notice Counts what ended; reserves `amount` under every limit of `agent`, its ancestors and the wallet, unless the
    /// deposit is the owner's; sends `amount - creditUsed` to the market. Class and price caps go by the id of the bid.
    function fund(uint96 bidId, address agent, Funding calldata funding) external;
    /// @notice Whether `key` may countersign the start of a bid of `agent` by `provider`.
    function mayStart(address agent, address key, address provider) external view returns (bool);
    /// @notice EIP-1271, for the market alone: `signature` = agent (20 bytes) ‖ ECDSA (65 bytes) ‖ ERC-7739 nesting.
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);

    // --- views ---

    function owner() external view returns (address);
    function market() external view returns (address);
    function token() external view returns (address);
    function paused() external view returns (bool);
    function limits() external view returns (WalletLimits memory);
    function keyState(address agent) external view returns (KeyState memory);
    function isActive(address agent) external view returns (bool);
    /// @notice Reserved for live bids, and for ended ones that were not counted yet.
    function reserved() external view returns (uint96);
    function lifetimeSpent() external view returns (uint96);
    /// @notice Spent in the rolling window as counted against the limit (rounded up).
    function spentInWindow() external view returns (uint96);
    /// @notice What `agent` could still reserve now, under every limit and the wallet's balance plus the key's credit.
    function availableTo(address agent) external view returns (uint96);
}
