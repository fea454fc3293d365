// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ERC2771Context} from "@openzeppelin/contracts/metatx/ERC2771Context.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IAgentWallet} from "./interfaces/IAgentWallet.sol";
import {KeyPolicy, KeyState, WalletLimits} from "./interfaces/Types.sol";
import {Ids} from "./libraries/Ids.sol";
import {Ledgers} from "./libraries/Ledgers.sol";

/// @title WalletKeys
/// @notice Ownership, session keys and the limit law of a wallet.
/// @dev A key's parent is fixed for ever by its first authorisation, so that what was reserved on a lineage is always
/// released on the same one. A key is live when it and all its ancestors are active, of this epoch and not expired.
abstract contract WalletKeys is IAgentWallet, ERC2771Context {
    using Ledgers for Ledgers.Ledger;

    /// @param expiry Unix second from which the key is dead; zero: never authorised.
    /// @param flags Permissions (bits 0 to 3), depth (4, 5), active (6), provider list (7).
    /// @param perBid In units, rounded down.
    struct Auth {
        address parent;
        uint40 expiry;
        uint8 flags;
        uint16 epoch;
        uint32 perBid;
    }

    /// @param maxTicks Byte n: highest tick for class n; zero forbids the class.
    struct Key {
        Auth auth;
        uint256 maxTicks;
        Ledgers.Ledger ledger;
    }

    uint8 internal constant BID = 1;
    uint8 internal constant CANCEL = 2;
    uint8 internal constant DISPUTE = 4;
    uint8 internal constant DELEGATE = 8;
    uint8 private constant ALL_PERMISSIONS = 15;
    uint8 private constant DEPTH_SHIFT = 4;
    uint8 private constant ACTIVE = 64;
    uint8 private constant PROVIDER_LIST = 128;
    uint8 private constant MAX_DEPTH = 3;

    /// @dev Token units per unit of a limit.
    uint256 internal immutable UNIT;

    address private _owner;
    uint16 private _epoch;
    bool private _paused;
    uint32 private _perBid;
    Ledgers.Ledger private _ledger;
    mapping(address agent => Key) private _keys;
    mapping(address provider => bool) private _allowed;
    address private _pendingOwner;

    modifier onlyOwner() {
        if (_msgSender() != _owner) revert NotOwner(_msgSender());
        _;
    }

    constructor(uint256 unit) {
        UNIT = unit;
    }

    // --- ownership ---

    /// @inheritdoc IAgentWallet
    function transferOwnership(address newOwner) external onlyOwner {
        _pendingOwner = newOwner;
        emit OwnershipTransferStarted(_owner, newOwner);
    }

    /// @inheritdoc IAgentWallet
    function acceptOwnership() external {
        address sender = _msgSender();
        if (sender != _pendingOwner) revert NotOwner(sender);
        delete _pendingOwner;
        _setOwner(sender);
    }

    // --- keys ---

    /// @inheritdoc IAgentWallet
    function authorizeAgent(address agent, KeyPolicy calldata policy) external {
        address sender = _msgSender();
        if (sender == _owner) return _authorize(agent, address(0), 0, policy);
        if (!_isKnown(sender)) revert NotAgent(sender);
        _checkLive(sender);
        _checkPermission(sender, DELEGATE);
        uint8 depth = _depth(_keys[sender].auth) + 1;
        if (depth > MAX_DEPTH) revert DelegationTooDeep(sender);
        _checkContained(sender, policy);
        _authorize(agent, sender, depth, policy);
    }

    /// @inheritdoc IAgentWallet
    function revokeAgent(address agent) external {
        address sender = _msgSender();
        if (sender != _owner && !(_isKnown(sender) && _isLineage(sender, agent))) revert NotAgent(sender);
        // A dead ancestor must not revoke, or a key the owner cut off could still do harm.
        if (sender != _owner) _checkLive(sender);
        Auth storage auth = _keys[agent].auth;
        if (auth.flags & ACTIVE == 0) revert AgentUnknown(agent);
        auth.flags &= ~ACTIVE;
        emit AgentDeactivated(agent);
    }

    /// @inheritdoc IAgentWallet
    function revokeAll() external onlyOwner {
        emit AllAgentsDeactivated(++_epoch);
        _setPaused(true);
    }

    // --- limits and switches ---

    /// @inheritdoc IAgentWallet
    function setLimits(WalletLimits calldata limits_) external onlyOwner {
        _setLimits(limits_);
    }

    /// @inheritdoc IAgentWallet
    function setPaused(bool paused_) external onlyOwner {
        _setPaused(paused_);
    }

    /// @inheritdoc IAgentWallet
    function allowProvider(address provider, bool allowed) external onlyOwner {
        _allowed[provider] = allowed;
        emit ProviderAllowed(provider, allowed);
    }

    // --- views ---

    /// @inheritdoc IAgentWallet
    function owner() public view returns (address) {
        return _owner;
    }

    /// @inheritdoc IAgentWallet
    function paused() public view returns (bool) {
        return _paused;
    }

    /// @inheritdoc IAgentWallet
    function limits() external view returns (WalletLimits memory) {
        return WalletLimits(_tokens(_ledger.daily), _tokens(_perBid), _tokens(_ledger.lifetime));
    }

    /// @inheritdoc IAgentWallet
    function keyState(address agent) external view returns (KeyState memory state) {
        Key storage key = _keys[agent];
        Auth memory auth = key.auth;
        state.policy = KeyPolicy({
            expiry: auth.expiry,
            permissions: auth.flags & ALL_PERMISSIONS,
            classMask: _classMask(key.maxTicks),
            providerList: auth.flags & PROVIDER_LIST != 0,
            daily: _tokens(key.ledger.daily),
            perBid: _tokens(auth.perBid),
            lifetime: _tokens(key.ledger.lifetime),
            maxTicks: key.maxTicks
        });
        state.parent = auth.parent;
        state.depth = _depth(auth);
        state.active = auth.flags & ACTIVE != 0 && auth.epoch == _epoch;
        state.reserved = key.ledger.reserved;
        state.lifetimeSpent = key.ledger.spent;
        state.spentWindow = key.ledger.window;
    }

    /// @inheritdoc IAgentWallet
    function isActive(address agent) external view returns (bool) {
        return _deadIn(agent) == address(0) && _isKnown(agent);
    }

    /// @inheritdoc IAgentWallet
    function reserved() external view returns (uint96) {
        return _ledger.reserved;
    }

    /// @inheritdoc IAgentWallet
    function lifetimeSpent() external view returns (uint96) {
        return _ledger.spent;
    }

    /// @inheritdoc IAgentWallet
    function spentInWindow() external view returns (uint96) {
        return SafeCast.toUint96(_ledger.windowSpent(UNIT));
    }

    // --- the limit law ---

    /// @dev Every key of the lineage must be live and allowed to bid, and the bid within its caps: what a parent may do can
    /// have been cut since it delegated.
    function _checkBid(address agent, uint256 bidId, uint96 amount) internal view {
        if (_paused) revert WalletPaused();
        _checkPermission(agent, BID);
        _checkPerBid(address(this), amount, _perBid);
        uint8 cls = uint8(Ids.cls(bidId));
        uint8 tick = uint8(Ids.tick(bidId));
        for (address spender = agent; spender != address(0);) {
            Key storage key = _keys[spender];
            Auth memory auth = key.auth;
            _checkAuth(spender, auth);
            if (auth.flags & BID == 0) revert PermissionMissing(spender, BID);
            _checkPerBid(spender, amount, auth.perBid);
            uint8 maxTick = uint8(key.maxTicks >> (uint256(cls) * 8));
            if (maxTick == 0) revert ClassForbidden(spender, cls);
            if (tick > maxTick) revert TickAboveCap(spender, tick, maxTick);
            spender = auth.parent;
        }
    }

    /// @dev Counts what ended and reserves `amount` along the key's lineage and on the wallet; returns the wallet's
    /// reserved total. Counting works for dead keys too: what was reserved must come back.
    function _account(address agent, uint96 amount, uint96 spent, uint96 released) internal returns (uint96) {
        for (address spender = agent; spender != address(0); spender = _keys[spender].auth.parent) {
            _keys[spender].ledger.update(spender, amount, spent, released, UNIT);
        }
        _ledger.update(address(this), amount, spent, released, UNIT);
        return _ledger.reserved;
    }

    /// @dev What one bid of `agent` could reserve now under every limit, once what ended is settled.
    function _room(address agent, uint96 spent, uint96 released) internal view returns (uint256 room) {
        if (_paused || !_mayBid(agent)) return 0;
        room = _min(_ledger.room(spent, released, UNIT), _tokens(_perBid));
        for (address spender = agent; spender != address(0); spender = _keys[spender].auth.parent) {
            Key storage key = _keys[spender];
            room = _min(room, _min(key.ledger.room(spent, released, UNIT), _tokens(key.auth.perBid)));
        }
    }

    // --- who may what ---

    function _mayBid(address agent) internal view returns (bool) {
        if (!_isKnown(agent)) return false;
        for (; agent != address(0); agent = _keys[agent].auth.parent) {
            Auth memory auth = _keys[agent].auth;
            if (_isDead(auth) || auth.flags & BID == 0) return false;
        }
        return true;
    }

    /// @dev A live key of the bid's lineage, unless the wallet is paused, and only for a provider that every key of
    /// the lineage accepts.
    function _mayStart(address agent, address key, address provider) internal view returns (bool) {
        if (_paused) return false;
        bool found;
        bool listed;
        for (address each = agent; each != address(0);) {
            Auth memory auth = _keys[each].auth;
            if (each == key) found = true;
            if (found && (_isDead(auth) || auth.flags & BID == 0)) return false;
            if (auth.flags & PROVIDER_LIST != 0) listed = true;
            each = auth.parent;
        }
        return found && (!listed || _allowed[provider]);
    }

    function _checkPermission(address agent, uint8 permission) internal view {
        if (!_isKnown(agent)) revert AgentUnknown(agent);
        if (_keys[agent].auth.flags & permission == 0) revert PermissionMissing(agent, permission);
    }

    function _checkLive(address agent) internal view {
        for (; agent != address(0); agent = _keys[agent].auth.parent) {
            _checkAuth(agent, _keys[agent].auth);
        }
    }

    /// @dev Whether `ancestor` is `agent` itself or one of its ancestors.
    function _isLineage(address ancestor, address agent) internal view returns (bool) {
        for (; agent != address(0); agent = _keys[agent].auth.parent) {
            if (agent == ancestor) return true;
        }
        return false;
    }

    function _checkAuth(address agent, Auth memory auth) private view {
        if (auth.flags & ACTIVE == 0 || auth.epoch != _epoch) revert AgentUnknown(agent);
        if (auth.expiry <= block.timestamp) revert AgentExpired(agent, auth.expiry);
    }

    /// @dev The first dead key on the way up, or zero.
    function _deadIn(address agent) private view returns (address) {
        for (; agent != address(0); agent = _keys[agent].auth.parent) {
            if (_isDead(_keys[agent].auth)) return agent;
        }
        return address(0);
    }

    function _isDead(Auth memory auth) private view returns (bool) {
        return auth.flags & ACTIVE == 0 || auth.epoch != _epoch || auth.expiry <= block.timestamp;
    }

    function _checkPerBid(address spender, uint96 amount, uint32 perBid) private view {
        uint96 limit = _tokens(perBid);
        if (amount > limit) revert PerBidLimitExceeded(spender, amount, limit);
    }

    function _checkContained(address parent, KeyPolicy calldata policy) private view {
        Key storage key = _keys[parent];
        Auth memory auth = key.auth;
        bool contained = policy.expiry <= auth.expiry && policy.permissions & ~auth.flags & ALL_PERMISSIONS == 0
            && policy.daily <= _tokens(key.ledger.daily) && policy.perBid <= _tokens(auth.perBid)
            && policy.lifetime <= _tokens(key.ledger.lifetime)
            && (policy.providerList || auth.flags & PROVIDER_LIST == 0);
        uint256 caps = key.maxTicks;
        for (uint256 cls = 1; contained && cls < 32; ++cls) {
            if (policy.classMask >> cls & 1 == 0) continue;
            contained = uint8(policy.maxTicks >> (cls * 8)) <= uint8(caps >> (cls * 8));
        }
        if (!contained) revert DelegationExceedsParent(parent);
    }

    // --- writing ---

    function _setOwner(address newOwner) internal {
        emit OwnershipTransferred(_owner, newOwner);
        _owner = newOwner;
    }

    function _setLimits(WalletLimits calldata limits_) internal {
        _perBid = _units(limits_.perBid);
        _ledger.daily = _units(limits_.daily);
        _ledger.lifetime = _lifetimeUnits(limits_.lifetime);
        emit SpendingLimitUpdated(_tokens(_ledger.daily), _tokens(_perBid), _tokens(_ledger.lifetime));
    }

    function _setPaused(bool paused_) private {
        _paused = paused_;
        emit PausedSet(paused_);
    }

    /// @dev A key may be authorised again only by whoever authorised it first; its spending stays counted.
    function _authorize(address agent, address parent, uint8 depth, KeyPolicy calldata policy) internal {
        if (
            agent == address(0) || agent == _owner || policy.expiry <= block.timestamp || policy.permissions == 0
                || policy.permissions > ALL_PERMISSIONS
        ) revert InvalidPolicy();
        Key storage key = _keys[agent];
        if (_isKnown(agent) && key.auth.parent != parent) revert AgentExists(agent);
        uint256 maxTicks = _normalTicks(policy.classMask, policy.maxTicks);
        key.auth = Auth({
            parent: parent,
            expiry: policy.expiry,
            flags: policy.permissions | depth << DEPTH_SHIFT | ACTIVE | (policy.providerList ? PROVIDER_LIST : 0),
            epoch: _epoch,
            perBid: _units(policy.perBid)
        });
        key.maxTicks = maxTicks;
        key.ledger.daily = _units(policy.daily);
        key.ledger.lifetime = _lifetimeUnits(policy.lifetime);
        emit AgentAuthorized(
            agent,
            parent,
            policy.expiry,
            _tokens(key.auth.perBid),
            _tokens(key.ledger.daily),
            _tokens(key.ledger.lifetime),
            maxTicks,
            policy.classMask & ~uint32(1),
            policy.permissions,
            policy.providerList
        );
    }

    // --- conversions ---

    function _isKnown(address agent) private view returns (bool) {
        return _keys[agent].auth.expiry != 0;
    }

    function _depth(Auth memory auth) private pure returns (uint8) {
        return auth.flags >> DEPTH_SHIFT & 3;
    }

    /// @dev Clears the bytes of classes outside the mask; a cap of zero could not be told from "forbidden".
    function _normalTicks(uint32 classMask, uint256 maxTicks) private pure returns (uint256 normal) {
        for (uint256 cls = 1; cls < 32; ++cls) {
            if (classMask >> cls & 1 == 0) continue;
            uint256 cap = maxTicks & (0xff << (cls * 8));
            if (cap == 0) revert InvalidPolicy();
            normal |= cap;
        }
    }

    function _classMask(uint256 maxTicks) private pure returns (uint32 mask) {
        for (uint256 cls = 1; cls < 32; ++cls) {
            if (uint8(maxTicks >> (cls * 8)) != 0) mask |= uint32(1 << cls);
        }
    }

    /// @dev Rounds down: a limit in units is never above the one that was asked for.
    function _units(uint96 limit) private view returns (uint32) {
        uint256 units = limit / UNIT;
        if (units > type(uint32).max) revert LimitTooLarge(limit, _tokens(type(uint32).max));
        return uint32(units);
    }

    function _lifetimeUnits(uint96 limit) private view returns (uint64) {
        uint256 units = limit / UNIT;
        if (units > type(uint64).max) revert LimitTooLarge(limit, _tokens(type(uint64).max));
        return uint64(units);
    }

    function _tokens(uint64 units) private view returns (uint96) {
        return SafeCast.toUint96(units * UNIT);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
