// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {BidTerms, Offer, Status} from "../../contracts/interfaces/Types.sol";

/// @notice Law 1 over every way a rental can end: what came in is paid, refunded, burned or still held.
contract ConservationTest is Base {
    uint256 private constant SUPPLY = 2000 ether;
    uint96[] private ids;

    /// @dev The market's tokens equal live escrow, deposits, bonds and credits.
    function assertSolvent() private view {
        uint256 owed;
        address[5] memory accounts = [address(wallet), provider, treasury, BURNED, stranger];
        for (uint256 i; i < accounts.length; ++i) {
            owed += market.creditOf(accounts[i]);
        }
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

    function assertReserved() private view {
        uint256 expected;
        for (uint256 i; i < ids.length; ++i) {
            (, uint96 amount) = wallet.reservation(ids[i]);
            expected += amount;
            assertEq(amount == 0, market.agreement(ids[i]).status >= Status.Settled, "reservation lives as its bid");
        }
        assertEq(wallet.reserved(), expected, "wallet reserved");
        assertEq(wallet.keyState(agent).reserved, expected, "key reserved");
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
            try market.start(id, IMAGE, signature) {} catch {}
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
            vm.prank(arbiter);
            try market.resolve(id, uint96(r % 1 ether), uint96(r % 3 == 0 ? 1e12 : 0)) {} catch {}
        } else if (what == 8) {
            vm.prank(provider);
            try market.decline(id) {} catch {}
        } else if (what == 9) {
            vm.prank(agent);
            try wallet.cancelBid(id) {} catch {}
        } else if (what == 10) {
            try wallet.collect() {} catch {}
        } else {
            try market.advance(id) {} catch {}
        }
    }

    function placeOne(uint256 r) private {
        BidTerms memory t = terms();
        t.tick = uint8(r % 200) + 1;
        t.preemptible = r >> 8 & 1 == 0;
        t.expiry = uint40(block.timestamp + 10 + r % 1000);
        vm.prank(agent);
        try wallet.placeBid(t) returns (uint96 id) {
            ids.push(id);
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
        assertEq(wallet.reserved(), 0);
        vm.prank(provider);
        market.closeOffer(offerId);
        address[3] memory accounts = [address(wallet), provider, treasury];
        for (uint256 i; i < accounts.length; ++i) {
            if (market.creditOf(accounts[i]) == 0) continue;
            vm.prank(accounts[i]);
            market.withdraw(accounts[i]);
        }
        assertEq(token.balanceOf(address(market)), market.creditOf(BURNED));
    }
}
