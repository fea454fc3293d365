// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Vm} from "forge-std/Vm.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IMarket, IToken, IWallet} from "../Interfaces.sol";
import {Agreement, BidTerms, KeyPolicy, Offer, Status, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @notice The market with two wallets, five keys, two providers, and the books that the invariants keep of it: from the
/// inputs of the calls and from recorded events, never from the state they are compared with.
contract Stage is Base {
    struct Bidder {
        address agent;
        uint256 key;
        IWallet wallet;
        /// @dev Place of its parent in `bidders`, or its own when the owner authorised it.
        uint256 parent;
    }

    struct Placed {
        uint256 bidder;
        uint96 escrow;
        uint16 feeBps;
        uint96 deposit;
        bool counted;
        bool ended;
    }

    /// @dev What a spender spent, for its rolling window.
    struct Spend {
        uint256 time;
        uint256 amount;
    }

    uint96 public constant WALLET_DAILY = 12 ether;
    uint96 public constant KEY_DAILY = 8 ether;
    uint96 public constant PER_BID = 0.5 ether;

    Bidder[] public bidders;
    address[] public sellers;
    IWallet[] public wallets;
    uint64[] public offers;
    uint96[] public ids;
    address[] public treasuries;
    mapping(uint96 id => Placed) public placed;
    /// @dev By key address, and by wallet address for the wallet itself.
    mapping(address spender => Spend[]) private _spends;
    mapping(address spender => uint256) public paidEver;
    mapping(bytes32 what => uint256) public count;

    constructor() {
        setUp();
        treasuries.push(treasury);
        _addWallet(wallet, agentKey);
        IWallet second =
            IWallet(factory.createWallet(owner, bytes32(uint256(8)), _walletLimits(), vm.addr(0xb0b), _keyPolicy()));
        token.mint(address(second), 20 ether);
        vm.prank(owner);
        wallet.setLimits(_walletLimits());
        vm.prank(owner);
        wallet.authorizeAgent(agent, _keyPolicy());
        _addWallet(second, 0xb0b);
        _delegate(0, 0xc0c0);
        _delegate(2, 0xc0c1);
        _delegate(1, 0xc0c2);
        sellers.push(provider);
        sellers.push(makeAddr("second provider"));
        token.mint(sellers[1], 1000 ether);
        vm.startPrank(sellers[1]);
        token.approve(address(market), type(uint256).max);
        market.registerProvider("http://second");
        vm.stopPrank();
        for (uint256 i; i < sellers.length; ++i) {
            postOffer(i, 0);
        }
        // What the first set-up minted beyond need only makes limits of funds unreachable.
        vm.startPrank(owner);
        wallet.withdraw(owner, uint96(token.balanceOf(address(wallet)) - 20 ether));
        vm.stopPrank();
    }

    // --- the cast ---

    function bidderCount() external view returns (uint256) {
        return bidders.length;
    }

    function idCount() external view returns (uint256) {
        return ids.length;
    }

    function theMarket() external view returns (IMarket) {
        return market;
    }

    function theToken() external view returns (IToken) {
        return token;
    }

    function people() external view returns (address owner_, address arbiter_, address pauser_, address admin_) {
        return (owner, arbiter, pauser, admin);
    }

    // --- what actors do ---

    /// @dev By the key itself, by the forwarder or by signature; returns zero if the limits forbid it, after making sure
    /// that they do.
    function placeBid(uint256 bidder, uint8 tick, uint24 duration, bool preemptible, uint40 lifetime, uint256 route)
        external
        returns (uint96 id)
    {
        Bidder memory b = bidders[bidder];
        BidTerms memory t = terms();
        (t.tick, t.maxDuration, t.preemptible) = (tick, duration, preemptible);
        t.expiry = uint40(block.timestamp + lifetime);
        t.specHash = keccak256(abi.encode(ids.length));
        uint96 cost = escrow(tick, duration);
        bool may = b.wallet.availableTo(b.agent) >= cost && !market.paused();
        wallet = b.wallet;
        _watch();
        if (route == 0) {
            vm.prank(b.agent);
            try b.wallet.placeBid(t) returns (uint96 got) {
                id = got;
            } catch {}
        } else if (route == 1) {
            try forwarder.execute(request(b.key, abi.encodeCall(IAgentWallet.placeBid, (t)))) {
                id = _lastPlaced(t, bookOf(t));
            } catch {}
        } else {
            bytes memory signature = signBid(b.key, bidOf(t, address(b.wallet), b.agent));
            try market.placeBidWithSignature(bidOf(t, address(b.wallet), b.agent), signature) returns (uint96 got) {
                id = got;
            } catch {}
        }
        assertEq(id != 0, may, "a bid succeeds exactly when availableTo says so");
        _count("calls");
        if (id == 0) {
            _count(market.paused() ? bytes32("closed") : b.wallet.paused() ? bytes32("stopped") : bytes32("limited"));
            return 0;
        }
        _count("placed");
        (uint16 fee,,,) = market.config();
        ids.push(id);
        placed[id] = Placed(bidder, cost, fee, 0, false, false);
        _hear();
    }

    function postOffer(uint256 seller, uint8 reserveTick) public {
        uint96 perSlot = bond();
        vm.prank(sellers[seller]);
        offers.push(market.postOffer(CLS, 255, 6, reserveTick, perSlot, uint40(block.timestamp + 30 days)));
    }

    /// @dev Runs `data` on the market as `sender`; it must succeed.
    function act(address sender, bytes memory data, bytes32 what) external returns (bytes memory result) {
        _count("calls");
        _watch();
        vm.prank(sender);
        bool ok;
        (ok, result) = address(market).call(data);
        if (!ok) {
            assembly {
                revert(add(result, 0x20), mload(result))
            }
        }
        _count(what);
        _hear();
    }

    /// @dev As `act`, on a wallet.
    function actOnWallet(address sender, IWallet target, bytes memory data, bytes32 what) external {
        _count("calls");
        _watch();
        vm.prank(sender);
        (bool ok, bytes memory result) = address(target).call(data);
        if (!ok) {
            assembly {
                revert(add(result, 0x20), mload(result))
            }
        }
        _count(what);
        _hear();
    }

    /// @dev `data` must be refused whoever `sender` is to the market.
    function mustFail(address sender, address target, bytes memory data) external {
        _count("calls");
        vm.prank(sender);
        (bool ok,) = target.call(data);
        assertFalse(ok, "an outsider's call was let through");
        _count("refused");
    }

    function setFee(uint16 fee, bool newTreasury) external {
        if (newTreasury) treasury = address(uint160(treasury) + 1);
        if (newTreasury) treasuries.push(treasury);
        vm.prank(admin);
        market.setConfig(fee, treasury, arbiter, pauser);
    }

    function sign(uint256 bidder, uint96 id) external view returns (bytes memory) {
        return countersign(bidders[bidder].key, id);
    }

    function pass(uint256 time) external {
        skip(time);
    }

    function tally(bytes32 what) external {
        _count(what);
    }

    // --- books kept from inputs and events ---

    /// @dev Exact amounts spent in the 24 hours up to now.
    function spentInDay(address spender) external view returns (uint256 total) {
        Spend[] storage list = _spends[spender];
        for (uint256 i = list.length; i > 0 && list[i - 1].time + 1 days > block.timestamp; --i) {
            total += list[i - 1].amount;
        }
    }

    /// @dev Whether `descendant` is `ancestor` or below it.
    function isBelow(uint256 descendant, uint256 ancestor) public view returns (bool) {
        for (;;) {
            if (descendant == ancestor) return true;
            if (bidders[descendant].parent == descendant) return false;
            descendant = bidders[descendant].parent;
        }
    }

    function _watch() private {
        vm.recordLogs();
    }

    function _hear() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter != address(market)) continue;
            bytes32 topic = logs[i].topics[0];
            if (topic == IAIPowerRental.PaymentProcessed.selector) _heardPayment(logs[i]);
            else if (topic == IAIPowerRental.DisputeFiled.selector) _heardDispute(logs[i]);
            else if (topic == IAIPowerRental.DisputeResolved.selector) _heardRuling(logs[i]);
            else if (topic == IAIPowerRental.BidRemoved.selector) _heardRemoval(logs[i]);
        }
    }

    function _heardPayment(Vm.Log memory log) private {
        uint96 id = uint96(uint256(log.topics[1]));
        (uint96 pay, uint96 fee, uint96 refund, uint96 penalty,) =
            abi.decode(log.data, (uint96, uint96, uint96, uint96, uint96));
        Placed storage p = placed[id];
        assertFalse(p.ended, "a rental was paid twice");
        assertEq(uint256(pay) + fee + refund + penalty, p.escrow, "escrow is split without rest");
        assertEq(fee, uint256(pay + fee) * p.feeBps / 10_000, "the fee is the bid's own");
        p.ended = true;
        _spend(p.bidder, uint256(pay) + fee + penalty);
        _count("ended");
    }

    function _heardDispute(Vm.Log memory log) private {
        (, uint96 deposit,, bool counted,) = abi.decode(log.data, (bytes32, uint96, uint96, bool, uint40));
        Placed storage p = placed[uint96(uint256(log.topics[1]))];
        (p.deposit, p.counted) = (deposit, counted);
    }

    function _heardRuling(Vm.Log memory log) private {
        (,, uint96 forfeited,) = abi.decode(log.data, (uint96, uint96, uint96, bool));
        Placed storage p = placed[uint96(uint256(log.topics[1]))];
        if (p.counted) _spend(p.bidder, forfeited);
        p.deposit = 0;
    }

    function _heardRemoval(Vm.Log memory log) private {
        Placed storage p = placed[uint96(uint256(log.topics[1]))];
        (, uint96 refund) = abi.decode(log.data, (uint8, uint96));
        assertFalse(p.ended, "a bid ended twice");
        assertEq(refund, p.escrow, "a bid without a match is refunded whole");
        p.ended = true;
    }

    function _spend(uint256 bidder, uint256 amount) private {
        if (amount == 0) return;
        _note(address(bidders[bidder].wallet), amount);
        for (;;) {
            _note(bidders[bidder].agent, amount);
            if (bidders[bidder].parent == bidder) return;
            bidder = bidders[bidder].parent;
        }
    }

    function _note(address spender, uint256 amount) private {
        _spends[spender].push(Spend(block.timestamp, amount));
        paidEver[spender] += amount;
    }

    function _count(bytes32 what) private {
        ++count[what];
    }

    // --- set-up ---

    function _lastPlaced(BidTerms memory t, uint16 book) private view returns (uint96 id) {
        uint64 tail = market.level(book, t.tick).tail;
        if (tail == 0) return 0;
        id = idOf(book, t.tick, tail - 1);
        // The forwarder swallows a refusal: then the last one is a bid already known.
        if (placed[id].escrow != 0) return 0;
    }

    function _addWallet(IWallet wallet_, uint256 key) private {
        wallets.push(wallet_);
        bidders.push(Bidder(vm.addr(key), key, wallet_, bidders.length));
    }

    function _delegate(uint256 parent, uint256 key) private {
        KeyPolicy memory p = _keyPolicy();
        p.daily = KEY_DAILY / 2;
        Bidder memory above = bidders[parent];
        vm.prank(above.agent);
        above.wallet.authorizeAgent(vm.addr(key), p);
        bidders.push(Bidder(vm.addr(key), key, above.wallet, parent));
    }

    function _walletLimits() private pure returns (WalletLimits memory) {
        return WalletLimits({daily: WALLET_DAILY, perBid: PER_BID, lifetime: 1000 ether});
    }

    function _keyPolicy() private view returns (KeyPolicy memory p) {
        p = policy();
        p.expiry = uint40(NOW + 365 days);
        (p.daily, p.perBid) = (KEY_DAILY, PER_BID);
    }
}
