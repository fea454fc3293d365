// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {Agreement, BidTerms, KeyAccount, Offer, Status} from "../../contracts/interfaces/Types.sol";

/// @notice Law 1 over every way a rental can end: what came in is paid, refunded, burned or still held.
contract ConservationTest is Base {
    uint256 private constant SUPPLY = 2000 ether;
    uint96[] private ids;
    address private other;
    /// @dev Deposits of keys that rulings gave to the provider.
    uint256 private forfeited;

    function setUp() public override {
        super.setUp();
        (other,) = delegate(agent, "child");
    }

    /// @dev The market's tokens equal live escrow, deposits, bonds and credits.
    function assertSolvent() private view {
        uint256 owed;
        address[4] memory accounts = [provider, treasury, BURNED, stranger];
        for (uint256 i; i < accounts.length; ++i) {
            owed += market.creditOf(accounts[i]);
        }
        owed += market.keyAccount(agent).credit + market.keyAccount(other).credit;
        for (uint256 i; i < ids.length; ++i) {
            Status status = market.agreement(ids[i]).status;
            if (status >= Status.Settled) continue;
            owed += escrowOf(ids[i], market.agreement(ids[i]).maxDuration);
            if (status == Status.Disputed) owed += escrowOf(ids[i], depositSeconds(ids[i]));
        }
        Offer memory o = market.offer(offerId);
        owed += uint256(o.slots) * o.bondPerSlot;
        assertEq(token.balanceOf(address(market)), owed, "solvent");
        uint256 held = token.balanceOf(address(wallet)) + token.balanceOf(provider) + token.balanceOf(treasury)
            + token.balanceOf(address(market)) + token.balanceOf(stranger) + token.balanceOf(owner);
        assertEq(held, SUPPLY, "supply");
    }

    /// @dev What a wallet holds reserved is what lives, and what ended and was not counted; nothing is lost on the way.
    function assertReserved() private view {
        KeyAccount[2] memory accounts = [market.keyAccount(agent), market.keyAccount(other)];
        uint256[2] memory expected;
        for (uint256 i; i < 2; ++i) {
            expected[i] = uint256(accounts[i].spent) + accounts[i].released;
        }
        for (uint256 i; i < ids.length; ++i) {
            Agreement memory a = market.agreement(ids[i]);
            if (a.status >= Status.Settled) continue;
            uint256 amount = escrowOf(ids[i], a.maxDuration);
            if (a.status == Status.Disputed && a.flags & 4 != 0) amount += escrowOf(ids[i], depositSeconds(ids[i]));
            expected[a.agent == agent ? 0 : 1] += amount;
        }
        assertEq(wallet.keyState(other).reserved, expected[1], "child reserved");
        assertEq(wallet.keyState(agent).reserved, expected[0] + expected[1], "key reserved");
        assertEq(wallet.reserved(), expected[0] + expected[1], "wallet reserved");
        assertEq(
            wallet.lifetimeSpent() + accounts[0].spent + accounts[1].spent, spentByEvents(), "everything spent is known"
        );
    }

    /// @dev What the records say was taken from escrow, and the deposits that rulings gave away.
    function spentByEvents() private view returns (uint256 spent) {
        for (uint256 i; i < ids.length; ++i) {
            spent += market.agreement(ids[i]).paid;
        }
        return spent + forfeited;
    }

    function escrowOf(uint96 id, uint256 duration) private view returns (uint96) {
        return escrow(uint8(id >> 64), duration);
    }

    function depositSeconds(uint96 id) private view returns (uint40) {
        uint40 billable = market.agreement(id).startOrBillable;
        return billable > timing.minBilled ? billable : timing.minBilled;
    }

    /// @dev A seeded walk: each step does one thing that may be possible now; impossible ones revert and are ignored.
    function testFuzz_EveryWalkConserves(uint256 seed) external {
        post();
        for (uint256 step; step < 60; ++step) {
            uint256 r = uint256(keccak256(abi.encode(seed, step)));
            act(r % 14, r >> 8);
            assertSolvent();
            assertReserved();
        }
        windUp();
    }

    function act(uint256 what, uint256 r) private {
        uint96 id = ids.length == 0 ? 0 : ids[r % ids.length];
        if (what < 2) return placeOne(r);
        if (what == 2) return skip(r % 400);
        if (what == 3) return this.tryMatch();
        if (id == 0) return;
        Status status = market.agreement(id).status;
        if (status == Status.Confirmed && what < 8) {
            bytes memory signature = countersign(agentKey, id);
            vm.prank(provider);
            try market.start(id, SPEC, IMAGE, signature) {} catch {}
        } else if (status == Status.Running && what < 8) {
            vm.prank(provider);
            if (what == 4) {
                try market.preempt(id, RESULT, RECEIPTS) {} catch {}
            } else {
                try market.submit(id, uint40(r % 20), RESULT, r & 1 == 0 ? RECEIPTS : bytes32(0)) {} catch {}
            }
        } else if (status == Status.Submitted && what < 8) {
            vm.prank(r & 1 == 0 ? owner : agent);
            try wallet.dispute(id, 0) {} catch {}
        } else if (status == Status.Disputed && what < 8) {
            rule(id, r);
        } else if (what == 8) {
            vm.prank(provider);
            try market.decline(id) {} catch {}
        } else if (what == 9) {
            vm.prank(agent);
            try wallet.cancelBid(id) {} catch {}
        } else if (what == 10) {
            address key = market.agreement(id).agent;
            wallet.collect(key);
            assertEq(abi.encode(market.keyAccount(key)), abi.encode(KeyAccount(address(wallet), 0, 0, 0)), "counted");
        } else {
            try market.advance(id) {} catch {}
        }
    }

    function placeOne(uint256 r) private {
        BidTerms memory t = terms();
        t.tick = uint8(r % 200) + 1;
        t.preemptible = r >> 8 & 1 == 0;
        t.expiry = uint40(block.timestamp + 10 + r % 1000);
        address key = r >> 9 & 1 == 0 ? agent : other;
        vm.prank(key);
        try wallet.placeBid(t) returns (uint96 id) {
            ids.push(id);
            assertEq(market.keyAccount(key).spent + market.keyAccount(key).released, 0, "counted by the bid");
        } catch {}
    }

    /// @dev A ruling that finds no fault with the claim forfeits the deposit; below that it comes back.
    function rule(uint96 id, uint256 r) private {
        uint96 claimed = escrowOf(id, market.agreement(id).startOrBillable);
        uint96 pay = r & 3 == 0 ? claimed : uint96(r % (claimed + 1));
        uint96 slash = r % 3 == 0 ? 1e12 : 0;
        bool counted = market.agreement(id).flags & 4 != 0;
        uint96 deposit = escrowOf(id, depositSeconds(id));
        vm.prank(arbiter);
        try market.resolve(id, pay, slash) {
            if (pay >= claimed && slash == 0 && counted) forfeited += deposit;
        } catch {}
    }

    function tryMatch() external {
        uint64 id = offerId;
        vm.startPrank(provider);
        try market.matchBest(id, 769, 0, 0) {} catch {}
        try market.matchBest(id, 768, 0, 0) {} catch {}
        vm.stopPrank();
    }

    /// @dev With nobody but a stranger acting, a month later all is over and everything but the burned can leave.
    function windUp() private {
        for (uint256 i; i < 5; ++i) {
            skip(7 days);
            vm.prank(stranger);
            market.prune(ids);
        }
        assertReserved();
        if (market.keyAccount(agent).wallet != address(0)) wallet.collect(agent);
        if (market.keyAccount(other).wallet != address(0)) wallet.collect(other);
        assertEq(wallet.reserved(), 0);
        vm.prank(provider);
        market.closeOffer(offerId);
        address[2] memory accounts = [provider, treasury];
        for (uint256 i; i < accounts.length; ++i) {
            if (market.creditOf(accounts[i]) == 0) continue;
            vm.prank(accounts[i]);
            market.withdraw(accounts[i]);
        }
        assertEq(token.balanceOf(address(market)), market.creditOf(BURNED));
    }
}
