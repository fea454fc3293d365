// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {NoncesKeyed} from "@openzeppelin/contracts/utils/NoncesKeyed.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IAIPowerRental} from "./interfaces/IAIPowerRental.sol";
import {Agreement, Bid, KeyAccount, Level, Offer, Start, Status, Template, Timing} from "./interfaces/Types.sol";
import {Account} from "./libraries/Accounts.sol";
import {Books} from "./libraries/Books.sol";
import {Head} from "./libraries/Heads.sol";
import {Ids} from "./libraries/Ids.sol";
import {Rental} from "./libraries/Rentals.sol";
import {Price} from "./libraries/Price.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title MarketState
/// @notice Storage, immutables, administration and plain views of the market.
abstract contract MarketState is IAIPowerRental, EIP712, NoncesKeyed, ReentrancyGuardTransient, Ownable2Step, Pausable {
    using Books for Books.Book;

    /// @dev What was specified and delivered is in the events alone: no rule of the market depends on it.
    struct Record {
        Head head;
        Rental rental;
    }

    /// @param templates Bit n set: bids of this class may name template n.
    struct Class {
        uint128 base;
        uint128 templates;
    }

    /// @dev An offer is closed when `validUntil` is zero. The first slot is all that matching reads.
    struct Listing {
        address provider;
        uint8 cls;
        uint8 bookMask;
        uint8 reserveTick;
        uint16 slots;
        uint16 used;
        uint40 validUntil;
        uint96 bondPerSlot;
    }

    /// @dev Where burned tokens are credited; nobody can withdraw them.
    address internal constant BURNED = 0x000000000000000000000000000000000000dEaD;
    string private constant NAME = "AIPowerRental";
    string private constant VERSION = "1";
    uint16 internal constant MAX_FEE_BPS = 1000;
    uint16 internal constant MAX_TEMPLATE = 127;
    uint256 internal constant MAX_ENDPOINT_LENGTH = 256;
    uint256 internal constant MAX_BID_LIFETIME = 7 days;
    /// @dev No clock may exceed this, so that every agreement reaches its end within 30 days of its expiry.
    uint256 internal constant MAX_CLOCK = 7 days;
    /// @dev Below this base, neighbouring ticks could round to one price.
    uint128 internal constant MIN_BASE_PRICE = 100;

    address public immutable override token;
    address public immutable override factory;

    uint256 internal immutable START_DEADLINE;
    uint256 internal immutable SUBMIT_GRACE;
    uint256 internal immutable CHALLENGE_WINDOW;
    uint256 internal immutable DISPUTE_TIMEOUT;
    uint256 internal immutable MIN_BID_LIFETIME;
    uint256 internal immutable MIN_BILLED;
    uint256 internal immutable CHECKPOINT;
    uint256 internal immutable BOND_SECONDS;

    /// @dev Shares a slot with Pausable's flag, which every bid reads too: keep Pausable the last base.
    uint16 internal _feeBps;
    uint64 internal _lastOfferId;
    address internal _arbiter;
    address internal _pauser;
    /// @dev What the treasury earned since it was set, in the slot that every settlement reads for its address.
    address internal _treasury;
    uint96 internal _treasuryCredit;
    uint128 internal _templates;

    mapping(uint256 cls => Class) internal _classes;
    mapping(uint256 book => Books.Book) internal _books;
    mapping(uint256 agreementId => Record) internal _records;
    mapping(uint256 offerId => Listing) internal _listings;
    mapping(address agent => address) internal _walletOf;
    mapping(address agent => Account) internal _accounts;
    mapping(address account => uint256) internal _credits;
    mapping(address provider => bool) internal _providers;
    mapping(address provider => mapping(address operator => bool)) internal _operators;

    constructor(
        address token_,
        address factory_,
        address admin,
        address treasury_,
        address arbiter_,
        address pauser_,
        uint16 feeBps_,
        Timing memory timing_
    ) EIP712(NAME, VERSION) Ownable(admin) {
        if (token_ == address(0) || factory_ == address(0)) revert ZeroAddress();
        if (
            timing_.startDeadline == 0 || timing_.startDeadline > MAX_CLOCK || timing_.submitGrace > MAX_CLOCK
                || timing_.challengeWindow == 0 || timing_.challengeWindow > MAX_CLOCK || timing_.disputeTimeout == 0
                || timing_.disputeTimeout > MAX_CLOCK || timing_.minBidLifetime == 0
                || timing_.minBidLifetime > MAX_BID_LIFETIME || timing_.minBilled == 0 || timing_.minBilled > 600
                || timing_.checkpoint == 0 || timing_.checkpoint > Ids.MAX_DURATION || timing_.bondSeconds > MAX_CLOCK
        ) revert InvalidTiming();
        token = token_;
        factory = factory_;
        START_DEADLINE = timing_.startDeadline;
        SUBMIT_GRACE = timing_.submitGrace;
        CHALLENGE_WINDOW = timing_.challengeWindow;
        DISPUTE_TIMEOUT = timing_.disputeTimeout;
        MIN_BID_LIFETIME = timing_.minBidLifetime;
        MIN_BILLED = timing_.minBilled;
        CHECKPOINT = timing_.checkpoint;
        BOND_SECONDS = timing_.bondSeconds;
        _setConfig(feeBps_, treasury_, arbiter_, pauser_);
    }

    // --- admin ---

    /// @inheritdoc IAIPowerRental
    function addClass(uint8 cls, uint128 basePrice) external onlyOwner {
        if (cls == 0 || cls > Ids.MAX_CLASS || basePrice < MIN_BASE_PRICE) revert InvalidClass(cls);
        if (_classes[cls].base != 0) revert ClassExists(cls);
        // The dearest price must fit its type; then every cost fits in 96 bits.
        SafeCast.toUint128(Price.ofTick(basePrice, type(uint8).max));
        _classes[cls].base = basePrice;
        emit ClassAdded(cls, basePrice);
    }

    /// @inheritdoc IAIPowerRental
    function addTemplate(uint16 templateId, uint32 classMask, Template calldata template) external onlyOwner {
        if (templateId > MAX_TEMPLATE) revert InvalidTemplate(templateId, MAX_TEMPLATE);
        if (classMask < 2) revert InvalidClass(0);
        uint128 bit = uint128(1) << templateId;
        if (_templates & bit != 0) revert TemplateExists(templateId);
        _templates |= bit;
        for (uint256 cls = 1; cls <= Ids.MAX_CLASS; ++cls) {
            if (classMask >> cls & 1 == 1) _classes[cls].templates |= bit;
        }
        emit TemplateAdded(templateId, classMask, template);
    }

    /// @inheritdoc IAIPowerRental
    function setConfig(uint16 feeBps, address treasury, address arbiter, address pauser) external onlyOwner {
        _setConfig(feeBps, treasury, arbiter, pauser);
    }

    /// @inheritdoc IAIPowerRental
    function pause() external {
        _checkPauser();
        _pause();
    }

    /// @inheritdoc IAIPowerRental
    function unpause() external {
        _checkPauser();
        _unpause();
    }

    // --- views ---

    /// @inheritdoc IAIPowerRental
    function timing() external view returns (Timing memory) {
        return Timing(
            uint40(START_DEADLINE),
            uint40(SUBMIT_GRACE),
            uint40(CHALLENGE_WINDOW),
            uint40(DISPUTE_TIMEOUT),
            uint40(MIN_BID_LIFETIME),
            uint40(MIN_BILLED),
            uint40(CHECKPOINT),
            uint40(BOND_SECONDS)
        );
    }

    /// @inheritdoc IAIPowerRental
    function config() external view returns (uint16 feeBps, address treasury, address arbiter, address pauser) {
        return (_feeBps, _treasury, _arbiter, _pauser);
    }

    /// @inheritdoc IAIPowerRental
    function classBase(uint8 cls) external view returns (uint128) {
        return _classes[cls].base;
    }

    /// @inheritdoc IAIPowerRental
    function priceOf(uint8 cls, uint8 tick) external view returns (uint128) {
        return uint128(_price(cls, tick));
    }

    /// @inheritdoc IAIPowerRental
    function agreement(uint96 agreementId) external view returns (Agreement memory) {
        Head head = _records[agreementId].head;
        Rental rental = _records[agreementId].rental;
        return Agreement({
            id: agreementId,
            wallet: _walletOf[head.agent()],
            agent: head.agent(),
            maxDuration: uint24(head.maxDuration()),
            expiry: uint40(head.expiry()),
            feeBps: uint16(head.feeBps()),
            status: _status(agreementId),
            flags: uint8(rental.flags()),
            offerId: uint64(rental.offerId()),
            startOrBillable: uint40(rental.startOrBillable()),
            deadline: uint40(rental.deadline()),
            paid: uint96(rental.paid())
        });
    }

    /// @inheritdoc IAIPowerRental
    function partiesOf(uint96 agreementId) external view returns (address wallet, address agent) {
        agent = _records[agreementId].head.agent();
        wallet = _walletOf[agent];
    }

    /// @inheritdoc IAIPowerRental
    function offer(uint64 offerId) external view returns (Offer memory) {
        Listing storage listing = _listings[offerId];
        return Offer({
            provider: listing.provider,
            cls: listing.cls,
            bookMask: listing.bookMask,
            reserveTick: listing.reserveTick,
            slots: listing.slots,
            used: listing.used,
            validUntil: listing.validUntil,
            bondPerSlot: listing.bondPerSlot
        });
    }

    /// @inheritdoc IAIPowerRental
    function level(uint16 book, uint8 tick) external view returns (Level memory) {
        return _books[book].levels[tick];
    }

    /// @inheritdoc IAIPowerRental
    function bitmap(uint16 book) external view returns (uint256) {
        return _books[book].bitmap;
    }

    /// @inheritdoc IAIPowerRental
    function creditOf(address account) external view returns (uint96) {
        return uint96(_credits[account] + (account == _treasury ? _treasuryCredit : 0));
    }

    /// @inheritdoc IAIPowerRental
    function keyAccount(address agent) external view returns (KeyAccount memory) {
        Account account = _accounts[agent];
        return
            KeyAccount(_walletOf[agent], uint96(account.credit()), uint96(account.spent()), uint96(account.released()));
    }

    /// @inheritdoc IAIPowerRental
    function isProvider(address provider) external view returns (bool) {
        return _providers[provider];
    }

    /// @inheritdoc IAIPowerRental
    function isOperator(address provider, address operator) external view returns (bool) {
        return _operators[provider][operator];
    }

    /// @inheritdoc IAIPowerRental
    function nonces(address wallet, uint192 key) public view override(IAIPowerRental, NoncesKeyed) returns (uint256) {
        return NoncesKeyed.nonces(wallet, key);
    }

    /// @dev As inherited, without the reserve for names that do not fit in a word.
    function eip712Domain()
        public
        view
        override
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory)
    {
        return (hex"0f", NAME, VERSION, block.chainid, address(this), 0, new uint256[](0));
    }

    /// @inheritdoc IAIPowerRental
    function bidDigest(Bid memory bid) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hash(bid));
    }

    /// @inheritdoc IAIPowerRental
    function startDigest(uint96 agreementId, bytes32 specHash) external view returns (bytes32) {
        Rental rental = _records[agreementId].rental;
        if (!rental.isIn(Status.Confirmed)) _revertWrongStatus(agreementId);
        return _startDigest(agreementId, rental, _listings[rental.offerId()].provider, specHash);
    }

    // --- internals ---

    function _startDigest(uint256 id, Rental rental, address provider, bytes32 specHash)
        internal
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            TypedData.hash(Start(uint96(id), uint64(rental.offerId()), provider, specHash, uint40(rental.deadline())))
        );
    }

    function _status(uint256 id) internal view returns (Status status) {
        status = _records[id].rental.status();
        if (status == Status.None) status = _records[id].head.status();
    }

    function _revertWrongStatus(uint256 id) internal view {
        revert WrongStatus(uint96(id), _status(id));
    }

    function _price(uint256 cls, uint256 tick) internal view returns (uint256) {
        uint256 base = _classes[cls].base;
        if (base == 0) revert ClassUnknown(uint8(cls));
        return Price.ofTick(base, tick);
    }

    /// @dev Token units for `duration` seconds at the price in the id; below 2^96 for a class that was added.
    function _cost(uint256 id, uint256 duration) internal view returns (uint256) {
        return Price.cost(_price(Ids.cls(id), Ids.tick(id)), duration);
    }

    function _setConfig(uint16 feeBps, address treasury, address arbiter, address pauser) private {
        if (feeBps > MAX_FEE_BPS) revert FeeTooHigh(feeBps, MAX_FEE_BPS);
        if (treasury == address(0) || arbiter == address(0) || pauser == address(0)) revert ZeroAddress();
        if (_treasuryCredit != 0) {
            // What was earned stays with whoever was the treasury then.
            _credits[_treasury] += _treasuryCredit;
            _treasuryCredit = 0;
        }
        _feeBps = feeBps;
        _treasury = treasury;
        _arbiter = arbiter;
        _pauser = pauser;
        emit ConfigUpdated(feeBps, treasury, arbiter, pauser);
    }

    function _checkPauser() private view {
        if (msg.sender != _pauser && msg.sender != owner()) revert NotPauser(msg.sender);
    }
}
