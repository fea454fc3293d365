// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {console} from "forge-std/console.sol";
import {Test} from "forge-std/Test.sol";
import {IMarket, IToken, IWallet} from "../Interfaces.sol";
import {Agreement, KeyAccount, KeyState, Level, Offer, Status} from "../../contracts/interfaces/Types.sol";
import {Actor, Keys, Officials, Owner, Sellers, Stranger} from "./Actors.t.sol";
import {Stage} from "./Stage.t.sol";

/// @notice What holds after every call of every actor; the numbers are those of the README beside this file.
contract InvariantsTest is Test {
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    Stage private stage;
    IMarket private market;
    IToken private token;

    function setUp() external {
        stage = new Stage();
        market = stage.theMarket();
        token = stage.theToken();
        // The fuzzer takes each function of each contract equally often: several of these make a dense walk.
        for (uint256 i; i < 14; ++i) {
            _target(new Keys(stage));
        }
        for (uint256 i; i < 4; ++i) {
            _target(new Sellers(stage));
        }
        _target(new Owner(stage));
        _target(new Officials(stage));
        _target(new Stranger(stage));
    }

    /// @dev One function for all, since the calls in between are what costs.
    function invariant_AllNumbers() external view {
        _checkBooks();
        _checkSlots();
        _checkMoney();
    }

    function _checkMoney() private view {
        uint256 escrows;
        uint256[] memory held = new uint256[](stage.bidderCount());
        for (uint256 i; i < stage.idCount(); ++i) {
            uint96 id = stage.ids(i);
            (uint256 bidder, uint96 escrow,, uint96 deposit, bool counted, bool ended) = stage.placed(id);
            bool live = market.agreement(id).status < Status.Settled;
            assertEq(live, !ended, "ended exactly when paid or removed");
            if (!live) continue;
            escrows += uint256(escrow) + deposit;
            held[bidder] += escrow;
            if (counted) held[bidder] += deposit;
        }
        _checkTokens(escrows);
        _checkWallets(held);
    }

    /// @dev (5)
    function _checkBooks() private view {
        for (uint256 kind; kind < 4; ++kind) {
            uint16 book = uint16(3 << 8 | kind);
            uint256 bits = market.bitmap(book);
            for (uint256 tick = 96; tick <= 200; ++tick) {
                if (tick == 100) tick = 197;
                Level memory level = market.level(book, uint8(tick));
                assertEq(bits >> tick & 1 == 1, level.live != 0, "the bit says whether the level lives");
                uint64 open;
                for (uint64 s; s < level.tail; ++s) {
                    bool isOpen = market.agreement(uint96(book) << 72 | uint96(tick) << 64 | s).status == Status.Open;
                    if (isOpen) ++open;
                    if (s < level.head) assertFalse(isOpen, "nobody is left behind the head");
                }
                assertEq(open, level.live, "live counts the open bids");
                if (open == 0) assertEq(level.head, level.tail, "an empty level is swept");
            }
        }
    }

    /// @dev (8)
    function _checkSlots() private view {
        for (uint256 i;; ++i) {
            try stage.offers(i) returns (uint64 offerId) {
                Offer memory o = market.offer(offerId);
                uint256 used;
                for (uint256 j; j < stage.idCount(); ++j) {
                    Agreement memory a = market.agreement(stage.ids(j));
                    if (a.offerId == offerId && a.status < Status.Settled) ++used;
                }
                assertEq(o.used, used, "used slots");
                assertLe(o.used, o.slots, "no more than there are");
            } catch {
                return;
            }
        }
    }

    /// @dev (10), and how dense the run was.
    function afterInvariant() external {
        uint256 dense = stage.count("placed") + stage.count("matched");
        uint256 all = stage.count("called");
        console.log("called %d, placed %d, matched %d", all, stage.count("placed"), stage.count("matched"));
        console.log(
            "started %d, ended %d, refused %d", stage.count("started"), stage.count("ended"), stage.count("refused")
        );
        console.log(
            "disputed %d, resolved %d, collected %d",
            stage.count("disputed"),
            stage.count("resolved"),
            stage.count("collected")
        );
        console.log(
            "bids refused: market paused %d, wallet paused %d, limits %d",
            stage.count("closed"),
            stage.count("stopped"),
            stage.count("limited")
        );
        _checkDensity(dense, all);
        for (uint256 i; i < 5; ++i) {
            skip(7 days);
            uint96[] memory ids = new uint96[](stage.idCount());
            for (uint256 j; j < ids.length; ++j) {
                ids[j] = stage.ids(j);
            }
            market.prune(ids);
        }
        for (uint256 i; i < stage.idCount(); ++i) {
            assertGe(uint8(market.agreement(stage.ids(i)).status), uint8(Status.Settled), "everything ends");
        }
        for (uint256 i; i < stage.bidderCount(); ++i) {
            (address agent,, IWallet wallet,) = stage.bidders(i);
            if (market.keyAccount(agent).wallet != address(0)) wallet.collect(agent);
        }
        assertEq(stage.wallets(0).reserved() + stage.wallets(1).reserved(), 0, "nothing stays reserved");
        _withdrawAll();
        assertEq(token.balanceOf(address(market)), market.creditOf(BURNED), "all but the burned can leave");
    }

    // --- the parts ---

    /// @dev Single walks may be thin (a long pause, an early end of all slots); all walks of a run together may not. State ends
    /// with a walk, so the sums are kept in the process's environment.
    function _checkDensity(uint256 dense, uint256 all) private {
        dense += vm.envOr("INVARIANT_DENSE_CALLS", uint256(0));
        all += vm.envOr("INVARIANT_CALLS", uint256(0));
        vm.setEnv("INVARIANT_DENSE_CALLS", vm.toString(dense));
        vm.setEnv("INVARIANT_CALLS", vm.toString(all));
        console.log("so far in this run: %d of %d calls placed or matched", dense, all);
        if (all >= 1000) assertGe(dense * 10, all * 3, "three calls of ten place or match");
    }

    /// @dev (1)
    function _checkTokens(uint256 escrows) private view {
        uint256 owed = escrows + market.creditOf(BURNED);
        for (uint256 i; i < 2; ++i) {
            owed += market.creditOf(stage.sellers(i));
        }
        for (uint256 i;; ++i) {
            try stage.treasuries(i) returns (address treasury) {
                owed += market.creditOf(treasury);
            } catch {
                break;
            }
        }
        for (uint256 i;; ++i) {
            try stage.offers(i) returns (uint64 offerId) {
                Offer memory o = market.offer(offerId);
                owed += uint256(o.slots) * o.bondPerSlot;
            } catch {
                break;
            }
        }
        for (uint256 i; i < stage.bidderCount(); ++i) {
            (address agent,,,) = stage.bidders(i);
            owed += market.keyAccount(agent).credit;
        }
        assertEq(token.balanceOf(address(market)), owed, "the market holds exactly what it owes");
    }

    /// @dev (2), (3), (4). `held` is what live bids reserve, by bidder.
    function _checkWallets(uint256[] memory held) private view {
        uint256[2] memory reserved;
        uint256[2] memory spent;
        for (uint256 i; i < held.length; ++i) {
            (address agent,, IWallet wallet,) = stage.bidders(i);
            uint256 below;
            uint256 uncountedSpent;
            for (uint256 j; j < held.length; ++j) {
                if (!stage.isBelow(j, i)) continue;
                (address other,,,) = stage.bidders(j);
                KeyAccount memory account = market.keyAccount(other);
                below += held[j] + account.spent + account.released;
                uncountedSpent += account.spent;
            }
            KeyState memory state = wallet.keyState(agent);
            assertEq(state.reserved, below, "a key holds what lives or is uncounted, below it too");
            assertEq(state.lifetimeSpent + uncountedSpent, stage.paidEver(agent), "a key spent what was paid");
            assertLe(_live(held, i) + stage.spentInDay(agent), state.policy.daily, "a key's day");
            KeyAccount memory own = market.keyAccount(agent);
            uint256 which = address(wallet) == address(stage.wallets(0)) ? 0 : 1;
            reserved[which] += held[i] + own.spent + own.released;
            spent[which] += own.spent;
        }
        for (uint256 i; i < 2; ++i) {
            IWallet wallet = stage.wallets(i);
            assertEq(wallet.reserved(), reserved[i], "a wallet holds what lives or is uncounted");
            assertEq(wallet.lifetimeSpent() + spent[i], stage.paidEver(address(wallet)), "a wallet spent what was paid");
            uint256 live;
            for (uint256 j; j < held.length; ++j) {
                (,, IWallet other,) = stage.bidders(j);
                if (address(other) == address(wallet)) live += held[j];
            }
            assertLe(live + stage.spentInDay(address(wallet)), wallet.limits().daily, "a wallet's day");
        }
    }

    function _live(uint256[] memory held, uint256 bidder) private view returns (uint256 total) {
        for (uint256 j; j < held.length; ++j) {
            if (stage.isBelow(j, bidder)) total += held[j];
        }
    }

    function _withdrawAll() private {
        for (uint256 i;; ++i) {
            try stage.offers(i) returns (uint64 offerId) {
                Offer memory o = market.offer(offerId);
                if (o.validUntil == 0) continue;
                vm.prank(o.provider);
                market.closeOffer(offerId);
            } catch {
                break;
            }
        }
        for (uint256 i; i < 2; ++i) {
            _withdraw(stage.sellers(i));
        }
        for (uint256 i;; ++i) {
            try stage.treasuries(i) returns (address treasury) {
                _withdraw(treasury);
            } catch {
                break;
            }
        }
    }

    function _withdraw(address account) private {
        if (market.creditOf(account) == 0) return;
        vm.prank(account);
        market.withdraw(account);
    }

    function _target(Actor actor) private {
        targetContract(address(actor));
    }
}
