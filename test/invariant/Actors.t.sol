// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Agreement, Level, Offer, StartItem, Status, SubmitItem} from "../../contracts/interfaces/Types.sol";
import {IMarket, IWallet} from "../Interfaces.sol";
import {Stage} from "./Stage.t.sol";

/// @notice What all actors share. Actors choose among what the rules allow, so that an unexpected revert is a failure.
abstract contract Actor is Test {
    Stage internal immutable STAGE;
    IMarket internal immutable MARKET;

    constructor(Stage stage) {
        STAGE = stage;
        MARKET = stage.theMarket();
    }

    /// @dev Counts what the fuzzer called, to tell how much of it was to the point.
    modifier called() {
        STAGE.tally("called");
        _;
    }

    /// @dev Some agreement in `status`, from a random one on; zero when there is none.
    function _find(Status status, uint256 seed) internal view returns (uint96) {
        uint256 total = STAGE.idCount();
        for (uint256 i; i < total; ++i) {
            uint96 id = STAGE.ids((seed % total + i) % total);
            if (MARKET.agreement(id).status == status) return id;
        }
        return 0;
    }

    /// @dev As `_find`, but one whose deadline has not come.
    function _findTimely(Status status, uint256 seed) internal view returns (uint96 id) {
        id = _find(status, seed);
        if (id != 0 && MARKET.agreement(id).deadline <= block.timestamp) return 0;
    }

    function _bidder(uint256 i) internal view returns (address agent, uint256 key, IWallet wallet) {
        (agent, key, wallet,) = STAGE.bidders(i);
    }

    function _sellerOf(uint96 id) internal view returns (address) {
        return MARKET.offer(MARKET.agreement(id).offerId).provider;
    }

    function _owner() internal view returns (address owner) {
        (owner,,,) = STAGE.people();
    }
}

/// @notice Master and worker keys: they bid, cancel and dispute; what finds nothing to do bids instead.
contract Keys is Actor {
    constructor(Stage stage) Actor(stage) {}

    function bid(uint256 who, uint8 tick, uint24 duration, uint256 r) external called {
        _bid(who, tick, duration, r);
    }

    function _bid(uint256 who, uint8 tick, uint24 duration, uint256 r) private {
        who = _spender(who, r);
        duration = r % 3 == 0 ? 3600 : uint24(bound(duration, 5, 600));
        STAGE.placeBid(who, uint8(bound(tick, 96, 99)), duration, r % 5 == 0, uint40(bound(r >> 8, 10, 5000)), r % 3);
    }

    function bidDear(uint256 who, uint256 r) external called {
        STAGE.placeBid(_spender(who, r), uint8(bound(r, 197, 200)), 600, false, 1000, r % 3);
    }

    /// @dev One turn in eight any key at all, so that refusals are tried too; else one that can pay, from `who` on. When none
    /// can, the day's limits are used up, or the purses: time passes and both wallets are funded.
    function _spender(uint256 who, uint256 r) private returns (uint256) {
        uint256 total = STAGE.bidderCount();
        who %= total;
        if (r % 8 == 0) return who;
        for (uint256 i; i < total; ++i) {
            (address agent,, IWallet wallet) = _bidder((who + i) % total);
            if (wallet.availableTo(agent) >= STAGE.PER_BID()) return (who + i) % total;
        }
        STAGE.pass(6 hours);
        for (uint256 i; i < 2; ++i) {
            STAGE.theToken().mint(address(STAGE.wallets(i)), 5 ether);
        }
        return who;
    }

    function cancel(uint256 seed, bool running) external called {
        uint96 id = running ? _findTimely(Status.Running, seed) : _find(Status.Open, seed);
        if (id == 0 && !running) id = _findTimely(Status.Confirmed, seed);
        if (id == 0) return _bid(seed, uint8(seed), uint24(seed), seed);
        (uint256 bidder,,,,,) = STAGE.placed(id);
        (address agent,, IWallet wallet) = _bidder(bidder);
        if (!wallet.isActive(agent)) return;
        Agreement memory a = MARKET.agreement(id);
        // Too young to cancel: the shortest lifetime is not known from the outside, so wait.
        if (a.status == Status.Open) STAGE.pass(10);
        STAGE.actOnWallet(agent, wallet, abi.encodeCall(IAgentWallet.cancelBid, (id)), "cancelled");
    }

    function dispute(uint256 seed) external called {
        uint96 id = _findTimely(Status.Submitted, seed);
        if (id == 0 || seed % 2 == 0) return _bid(seed, uint8(seed), uint24(seed), seed);
        (uint256 bidder,,,,,) = STAGE.placed(id);
        (address agent,, IWallet wallet) = _bidder(bidder);
        if (!wallet.isActive(agent) || wallet.paused()) return;
        // The deposit meets the same limits as a bid, but no cap of a single one.
        try STAGE.actOnWallet(agent, wallet, abi.encodeCall(IAgentWallet.dispute, (id, "bad")), "disputed") {} catch {}
    }
}

/// @notice The owner of both wallets.
contract Owner is Actor {
    constructor(Stage stage) Actor(stage) {}

    function dispute(uint256 seed) external called {
        uint96 id = _findTimely(Status.Submitted, seed);
        if (id == 0) return;
        (uint256 bidder,,,,,) = STAGE.placed(id);
        (,, IWallet wallet) = _bidder(bidder);
        STAGE.theToken().mint(address(wallet), 1 ether);
        STAGE.actOnWallet(_owner(), wallet, abi.encodeCall(IAgentWallet.dispute, (id, "veto")), "disputed");
    }

    /// @dev At most one of them is paused at a time: with both the walk would stand still.
    function togglePause(uint256 which, uint256 r) external called {
        IWallet wallet = STAGE.wallets(which % 2);
        bool paused = !wallet.paused() && r % 8 == 0 && !STAGE.wallets((which % 2 + 1) % 2).paused();
        STAGE.actOnWallet(_owner(), wallet, abi.encodeCall(IAgentWallet.setPaused, (paused)), "owner");
    }

    function fund(uint256 which, uint96 amount) external called {
        STAGE.theToken().mint(address(STAGE.wallets(which % 2)), bound(amount, 0, 5 ether));
    }

    function withdraw(uint256 which, uint96 amount) external called {
        IWallet wallet = STAGE.wallets(which % 2);
        uint96 held = uint96(STAGE.theToken().balanceOf(address(wallet)));
        amount = uint96(bound(amount, 0, held / 10));
        STAGE.actOnWallet(_owner(), wallet, abi.encodeCall(IAgentWallet.withdraw, (_owner(), amount)), "owner");
    }
}

/// @notice Providers: they match, start, submit, give way, decline; what finds nothing to do matches instead.
contract Sellers is Actor {
    constructor(Stage stage) Actor(stage) {}

    /// @dev What is matched is what a search of all bids finds: the highest tick, and in it the lowest sequence.
    function matchBest(uint256 which, uint256 r) external called {
        _matchBest(which, r);
    }

    function _matchBest(uint256 which, uint256 r) private {
        if (MARKET.paused()) return;
        (uint64 offerId, Offer memory o) = _freeOffer(which);
        // Slots end with their bonds: without new ones a long run would have no market left.
        if (offerId == 0) return STAGE.postOffer(which % 2, uint8(r % 98));
        uint16 book = uint16(3) << 8 | uint16(r % 4);
        uint8 floor = uint8(r >> 8 & 1) * 97;
        if (floor < o.reserveTick) floor = o.reserveTick;
        uint96 expected = _best(book, floor);
        bytes memory call = abi.encodeCall(IAIPowerRental.matchBest, (offerId, book, floor, 0));
        uint96 found;
        // At most eight dead bids are stepped over in a call; that much progress is kept.
        for (uint256 i; i < 20 && found == 0; ++i) {
            found = abi.decode(STAGE.act(o.provider, call, "searched"), (uint96));
            if (expected == 0) break;
        }
        assertEq(found, expected, "the match is the best bid there is");
        if (found != 0) STAGE.tally("matched");
    }

    function matchBatch(uint256 which, uint256 r) external called {
        (uint64 offerId, Offer memory o) = _freeOffer(which);
        if (offerId == 0 || MARKET.paused()) return;
        bytes memory call =
            abi.encodeCall(IAIPowerRental.matchBestBatch, (offerId, uint16(3) << 8 | uint16(r % 4), 0, 3));
        uint96[] memory found = abi.decode(STAGE.act(o.provider, call, "searched"), (uint96[]));
        for (uint256 i; i < found.length; ++i) {
            STAGE.tally("matched");
        }
    }

    function start(uint256 seed) external called {
        uint96 id = _findTimely(Status.Confirmed, seed);
        if (id == 0) return _matchBest(seed, seed);
        (uint256 bidder,,,,,) = STAGE.placed(id);
        (address agent,, IWallet wallet) = _bidder(bidder);
        if (wallet.paused() || !wallet.isActive(agent)) return;
        StartItem[] memory items = new StartItem[](1);
        items[0] = StartItem(id, keccak256("spec"), "image", STAGE.sign(bidder, id));
        address seller = _sellerOf(id);
        STAGE.act(seller, abi.encodeCall(IAIPowerRental.startBatch, (items)), "started");
        assertEq(uint8(MARKET.agreement(id).status), uint8(Status.Running));
    }

    function submit(uint256 seed, uint40 claimed, bool receipts) external called {
        uint96 id = _findTimely(Status.Running, seed);
        if (id == 0) return _matchBest(seed, seed);
        claimed = uint40(bound(claimed, 0, block.timestamp - MARKET.agreement(id).startOrBillable));
        bytes32 root = receipts ? bytes32("root") : bytes32(0);
        STAGE.act(_sellerOf(id), abi.encodeCall(IAIPowerRental.submit, (id, claimed, "result", root)), "submitted");
    }

    function preempt(uint256 seed) external called {
        uint96 id = _findTimely(Status.Running, seed);
        if (id == 0 || (id >> 72) & 1 == 0) return _matchBest(seed, seed);
        STAGE.act(_sellerOf(id), abi.encodeCall(IAIPowerRental.preempt, (id, "result", 0)), "preempted");
    }

    function decline(uint256 seed) external called {
        uint96 id = _findTimely(Status.Confirmed, seed);
        if (id == 0) return _matchBest(seed, seed);
        STAGE.act(_sellerOf(id), abi.encodeCall(IAIPowerRental.decline, (id)), "declined");
    }

    function offer(uint256 which, uint8 reserve) external called {
        if (MARKET.paused()) return;
        if (which % 4 != 0) return _matchBest(which, which >> 8);
        STAGE.postOffer(which % 2, uint8(bound(reserve, 0, 97)));
    }

    function close(uint256 seed) external called {
        uint64 offerId = STAGE.offers(seed % _offerCount());
        Offer memory o = MARKET.offer(offerId);
        // Some stay, so that there is a market.
        if (o.validUntil == 0 || seed % 3 != 0 || offerId <= 2) return _matchBest(seed, seed >> 8);
        STAGE.act(o.provider, abi.encodeCall(IAIPowerRental.closeOffer, (offerId)), "closed");
    }

    function withdraw(uint256 which) external called {
        address seller = STAGE.sellers(which % 2);
        if (MARKET.creditOf(seller) == 0 || which % 8 > 1) return _matchBest(which, which >> 8);
        STAGE.act(seller, abi.encodeCall(IAIPowerRental.withdraw, (seller)), "withdrawn");
    }

    function _freeOffer(uint256 which) private view returns (uint64 offerId, Offer memory o) {
        uint256 total = _offerCount();
        for (uint256 i; i < total; ++i) {
            offerId = STAGE.offers((which % total + i) % total);
            o = MARKET.offer(offerId);
            if (o.used < o.slots && o.validUntil > block.timestamp) return (offerId, o);
        }
        return (0, o);
    }

    function _offerCount() private view returns (uint256 total) {
        for (;; ++total) {
            try STAGE.offers(total) {}
            catch {
                return total;
            }
        }
    }

    function _best(uint16 book, uint8 floor) private view returns (uint96 best) {
        for (uint256 i; i < STAGE.idCount(); ++i) {
            uint96 id = STAGE.ids(i);
            if (id >> 72 != book || uint8(id >> 64) < floor) continue;
            Agreement memory a = MARKET.agreement(id);
            if (a.status != Status.Open || a.expiry <= block.timestamp) continue;
            if (best == 0 || uint8(id >> 64) > uint8(best >> 64)) best = id;
            else if (uint8(id >> 64) == uint8(best >> 64) && uint64(id) < uint64(best)) best = id;
        }
    }
}

/// @notice Arbiter, pauser, admin and time.
contract Officials is Actor {
    constructor(Stage stage) Actor(stage) {}

    function resolve(uint256 seed, uint96 pay, uint96 slash) external called {
        uint96 id = _findTimely(Status.Disputed, seed);
        if (id == 0) return;
        (, uint96 escrow,,,,) = STAGE.placed(id);
        (, address arbiter,,) = STAGE.people();
        pay = uint96(bound(pay, 0, escrow));
        slash = seed % 2 == 0 ? 0 : uint96(bound(slash, 0, MARKET.offer(MARKET.agreement(id).offerId).bondPerSlot));
        STAGE.act(arbiter, abi.encodeCall(IAIPowerRental.resolve, (id, pay, slash)), "resolved");
    }

    /// @dev Exits of all other actors go on while it is paused, and none may revert.
    function togglePause(uint256 r) external called {
        (,, address pauser,) = STAGE.people();
        if (MARKET.paused()) return _unpause();
        if (r % 8 == 0) STAGE.act(pauser, abi.encodeCall(IAIPowerRental.pause, ()), "official");
    }

    function _unpause() private {
        (,, address pauser,) = STAGE.people();
        STAGE.act(pauser, abi.encodeCall(IAIPowerRental.unpause, ()), "official");
    }

    function changeFee(uint16 fee, uint256 r) external called {
        // Pauses end soon, so that the walk stays dense.
        if (MARKET.paused()) return _unpause();
        STAGE.setFee(uint16(bound(fee, 0, 1000)), r % 8 == 0);
    }

    function wait(uint256 time) external called {
        if (MARKET.paused()) _unpause();
        STAGE.pass(bound(time, 1, 90));
    }

    function waitLong(uint256 time, uint256 r) external called {
        STAGE.pass(r % 4 == 0 ? bound(time, 600, 30_000) : bound(time, 90, 600));
    }
}

/// @notice Anyone: moves on what is due, collects, and tries what must not work.
contract Stranger is Actor {
    address private immutable SELF = makeAddr("passer-by");

    constructor(Stage stage) Actor(stage) {}

    function advance(uint256 seed) external called {
        uint256 total = STAGE.idCount();
        for (uint256 i; i < total; ++i) {
            uint96 id = STAGE.ids((seed % total + i) % total);
            Status now_ = MARKET.agreement(id).status;
            if (MARKET.effectiveState(id, uint40(block.timestamp)) == now_) continue;
            Status wanted = MARKET.effectiveState(id, uint40(block.timestamp));
            STAGE.act(SELF, abi.encodeCall(IAIPowerRental.advance, (id)), "advanced");
            assertEq(uint8(MARKET.agreement(id).status), uint8(wanted), "effectiveState told what advance does");
            return;
        }
    }

    function collect(uint256 which) external called {
        (address agent,, IWallet wallet) = _bidder(which % STAGE.bidderCount());
        if (MARKET.keyAccount(agent).wallet == address(0)) return;
        STAGE.actOnWallet(SELF, wallet, abi.encodeCall(IAgentWallet.collect, (agent)), "collected");
    }

    /// @dev Wrong callers, wrong keys, transitions that do not exist.
    function intrude(uint256 seed, uint256 r) external called {
        uint256 total = STAGE.idCount();
        if (total == 0) return;
        uint96 id = STAGE.ids(seed % total);
        (uint256 bidder,,,,,) = STAGE.placed(id);
        (address agent,, IWallet wallet) = _bidder(bidder);
        Agreement memory a = MARKET.agreement(id);
        address other = r % 2 == 0 ? SELF : STAGE.sellers(0) == _sellerOf(id) ? STAGE.sellers(1) : STAGE.sellers(0);
        address market = address(MARKET);
        bytes memory empty = new bytes(65);
        STAGE.mustFail(other, market, abi.encodeCall(IAIPowerRental.cancel, (id)));
        STAGE.mustFail(other, market, abi.encodeCall(IAIPowerRental.decline, (id)));
        STAGE.mustFail(other, market, abi.encodeCall(IAIPowerRental.submit, (id, 0, 0, 0)));
        STAGE.mustFail(other, market, abi.encodeCall(IAIPowerRental.start, (id, 0, 0, empty)));
        STAGE.mustFail(other, market, abi.encodeCall(IAIPowerRental.resolve, (id, 0, 0)));
        STAGE.mustFail(agent, market, abi.encodeCall(IAIPowerRental.collect, (agent)));
        STAGE.mustFail(other, address(wallet), abi.encodeCall(IAgentWallet.cancelBid, (id)));
        STAGE.mustFail(other, address(wallet), abi.encodeCall(IAgentWallet.withdraw, (other, 1)));
        // A key of the other wallet, and one beside or below the bid's own.
        (address stranger,,) = _bidder((bidder + 1) % STAGE.bidderCount());
        if (!STAGE.isBelow(bidder, (bidder + 1) % STAGE.bidderCount())) {
            STAGE.mustFail(stranger, address(wallet), abi.encodeCall(IAgentWallet.cancelBid, (id)));
        }
        if (a.status >= Status.Settled) {
            STAGE.mustFail(SELF, market, abi.encodeCall(IAIPowerRental.advance, (id)));
            STAGE.mustFail(agent, address(wallet), abi.encodeCall(IAgentWallet.cancelBid, (id)));
            STAGE.mustFail(_sellerOf(id), market, abi.encodeCall(IAIPowerRental.submit, (id, 0, 0, 0)));
        }
    }
}
