// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {AIPowerRental} from "../../contracts/AIPowerRental.sol";
import {Status, Timing} from "../../contracts/interfaces/Types.sol";
import {Heads} from "../../contracts/libraries/Heads.sol";
import {Rental, Rentals} from "../../contracts/libraries/Rentals.sol";

/// @notice The market with a door to its own `_close`.
contract Closer is AIPowerRental {
    uint96 public constant ID = 1 << 80;
    uint64 private constant OFFER = 1;
    uint24 private constant SECONDS = 600;

    constructor(address token_, address treasury_, Timing memory timing_)
        AIPowerRental(token_, address(9), msg.sender, treasury_, msg.sender, msg.sender, 250, timing_)
    {
        // A thousand millionths of an 18-decimals token a second.
        _classes[1].base = 1e15 * 1e18;
    }

    function stage(address agent, address provider, uint16 fee, uint96 bond, bool closed) external {
        _records[ID].head = Heads.open(agent, SECONDS, block.timestamp + 100, block.timestamp, fee);
        _records[ID].rental = Rentals.confirmed(OFFER, block.timestamp + 100);
        Listing storage listing = _listings[OFFER];
        listing.provider = provider;
        listing.slots = listing.used = 1;
        listing.validUntil = closed ? 0 : type(uint40).max;
        listing.bondPerSlot = bond;
    }

    function close(uint8 status, uint256 gross, uint256 penalty, uint256 slash) external {
        Rental rental = _records[ID].rental;
        _close(ID, rental, Outcome(Status(status), gross, penalty, slash));
    }

    function treasuryCredit() external view returns (uint256) {
        return _treasuryCredit;
    }

    function creditAt(address owner_) external view returns (uint256) {
        return _credits[owner_];
    }

    function accountOf(address agent) external view returns (uint256 left, uint256 spent, uint256 released) {
        return (_accounts[agent].credit(), _accounts[agent].spent(), _accounts[agent].released());
    }

    function slotsOf() external view returns (uint16 offered, uint16 used) {
        return (_listings[OFFER].slots, _listings[OFFER].used);
    }
}

/// @notice Proofs about the end of a rental, over the market's own code: whatever a rule decides within its bounds, every
/// token of the escrow and of a freed bond goes to somebody, once.
contract SplitProofs is Test {
    address private constant TREASURY = address(0x11);
    address private constant AGENT = address(0x22);
    address private constant PROVIDER = address(0x33);
    uint256 private constant ESCROW = 600e15;
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    Closer private market;

    function setUp() external {
        vm.warp(1_700_000_000);
        Timing memory timing = Timing({
            startDeadline: 30,
            submitGrace: 60,
            challengeWindow: 60,
            disputeTimeout: 60,
            minBidLifetime: 10,
            minBilled: 5,
            checkpoint: 60,
            bondSeconds: 60
        });
        market = new Closer(address(8), TREASURY, timing);
    }

    /// @dev Pay, fee and refund of a bill; the bond stays, or is freed with a closed offer.
    function check_ABillSplitsTheEscrow(uint96 bond, bool closed, uint64 gross) external {
        vm.assume(gross <= ESCROW && bond < 2 ** 90);
        market.stage(AGENT, PROVIDER, 250, bond, closed);
        market.close(uint8(Status.Settled), gross, 0, 0);
        check(gross, bond, closed);
    }

    /// @dev What silence costs: a penalty out of the escrow, a slash out of the bond, both burned in part.
    function check_APenaltyAndASlashAreBurned(uint64 bond, uint64 penalty, uint64 slash) external {
        vm.assume(penalty <= ESCROW && slash <= bond);
        market.stage(AGENT, PROVIDER, 250, bond, false);
        market.close(uint8(Status.Expired), 0, penalty, slash);
        check(penalty, bond, slash != 0);
    }

    /// @dev A ruling: a bill and a slash at once.
    function check_ARulingSplitsBoth(uint64 bond, uint64 gross, uint64 slash) external {
        vm.assume(gross <= ESCROW && slash <= bond);
        market.stage(AGENT, PROVIDER, 1000, bond, false);
        market.close(uint8(Status.Resolved), gross, 0, slash);
        check(gross, bond, slash != 0);
    }

    /// @dev One statement, so that each path is solved once.
    function check(uint256 taken, uint256 bond, bool freed) private view {
        (uint256 left, uint256 spent, uint256 released) = market.accountOf(AGENT);
        (uint16 offered, uint16 used) = market.slotsOf();
        uint256 given = left + market.creditAt(PROVIDER) + market.treasuryCredit() + market.creditAt(BURNED);
        uint256 wrong = given ^ (ESCROW + (freed ? bond : 0));
        // The wallet is told of the whole reservation, in two parts; what was not taken is the key's again.
        wrong |= spent ^ taken;
        wrong |= released ^ (ESCROW - taken);
        wrong |= left ^ released;
        // A bond that lost a part, or whose offer was closed, backs nothing further.
        wrong |= offered ^ (freed ? 0 : 1);
        assertEq(wrong | used, 0);
    }
}
