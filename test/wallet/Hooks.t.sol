// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy, KeyState} from "../../contracts/interfaces/Types.sol";

contract HooksTest is Base {
    function test_RevertWhen_CallerIsNotTheMarket() external {
        bytes memory denied = abi.encodeWithSelector(IAgentWallet.NotMarket.selector, agent);
        vm.startPrank(agent);
        vm.expectRevert(denied);
        wallet.fundBid(1, agent, CLS, TICK, 1, 0);
        vm.expectRevert(denied);
        wallet.fundDeposit(1, 1, 0);
        vm.expectRevert(denied);
        wallet.onBidClosed(1, 0);
    }

    /// @dev The market's address as a forwarded sender is still not the market.
    function test_RevertWhen_TheForwarderSpeaksForTheMarket() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotMarket.selector, address(forwarder)));
        vm.prank(address(forwarder));
        (bool ok,) =
            address(wallet).call(abi.encodePacked(abi.encodeCall(IAgentWallet.onBidClosed, (1, 0)), address(market)));
        assertTrue(ok);
    }

    function test_RevertWhen_BidIsUnknown() external {
        vm.startPrank(address(market));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 1));
        wallet.fundDeposit(1, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 1));
        wallet.onBidClosed(1, 0);
    }

    function test_ClosingMovesSpentAndReleasesTheRest() external {
        uint96 id = place();
        uint96 held = escrow(TICK, DURATION);
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(id, agent, held - 5, 5);
        vm.prank(address(market));
        wallet.onBidClosed(id, 5);
        KeyState memory state = wallet.keyState(agent);
        assertEq(state.reserved, 0);
        assertEq(state.lifetimeSpent, 5);
        assertEq(wallet.lifetimeSpent(), 5);
        assertEq(wallet.spentInWindow(), 1e12);
        (address key,) = wallet.reservation(id);
        assertEq(key, address(0));
    }

    /// @dev The dearest closing there is fits in what the market hands over.
    function test_TheDeepestKeyClosesWithinTheStipend() external {
        address parent = agent;
        for (uint256 depth = 1; depth <= 3; ++depth) {
            KeyPolicy memory p = policy();
            address key = makeAddr(string(abi.encode("k", depth)));
            vm.prank(parent);
            wallet.authorizeAgent(key, p);
            parent = key;
        }
        uint96 held = escrow(TICK, DURATION);
        vm.prank(address(market));
        wallet.fundBid(1, parent, CLS, TICK, held, held);
        vm.cool(address(wallet));
        vm.prank(address(market));
        uint256 before = gasleft();
        wallet.onBidClosed{gas: 180_000}(1, held);
        emit log_named_uint("closing gas", before - gasleft());
        assertEq(wallet.lifetimeSpent(), held);
    }
}

contract ReconcileTest is Base {
    function broken() private {
        vm.mockCallRevert(address(wallet), abi.encodeWithSelector(IAgentWallet.onBidClosed.selector), "no");
    }

    function test_IncludesAForfeitedDeposit() external {
        uint96 id = disputed();
        uint96 claimed = escrow(TICK, 100);
        broken();
        vm.prank(arbiter);
        market.resolve(id, claimed, 0);
        vm.clearMockedCalls();
        wallet.reconcile(id);
        assertEq(wallet.lifetimeSpent(), 2 * claimed);
        assertEq(wallet.reserved(), 0);
    }

    function test_LeavesOutTheOwnersDeposit() external {
        uint96 id = submitted();
        vm.prank(owner);
        wallet.dispute(id, 0);
        uint96 claimed = escrow(TICK, 100);
        broken();
        vm.prank(arbiter);
        market.resolve(id, claimed, 0);
        vm.clearMockedCalls();
        wallet.reconcile(id);
        assertEq(wallet.lifetimeSpent(), claimed);
    }

    function test_ReleasesACancelledBid() external {
        uint96 id = place();
        skip(1 days);
        broken();
        market.advance(id);
        vm.clearMockedCalls();
        uint96 held = escrow(TICK, DURATION);
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(id, agent, held, 0);
        wallet.reconcile(id);
    }

    function test_RevertWhen_BidIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 1));
        wallet.reconcile(1);
        uint96 id = settled();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, id));
        wallet.reconcile(id);
    }

    function test_RevertGiven_NotTerminal() external {
        uint96 id = disputed();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotReconcilable.selector, id));
        wallet.reconcile(id);
        id = place();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotReconcilable.selector, id));
        wallet.reconcile(id);
    }
}

contract MayStartTest is Base {
    function test_TheLineageAndTheOwnerMay() external {
        address child = makeAddr("child");
        address sibling = makeAddr("sibling");
        KeyPolicy memory p = policy();
        vm.startPrank(agent);
        wallet.authorizeAgent(child, p);
        wallet.authorizeAgent(sibling, p);
        vm.stopPrank();
        vm.prank(child);
        uint96 id = wallet.placeBid(terms());
        assertTrue(wallet.mayStart(id, child, provider));
        assertTrue(wallet.mayStart(id, agent, provider));
        assertTrue(wallet.mayStart(id, owner, provider));
        assertFalse(wallet.mayStart(id, sibling, provider));
        assertFalse(wallet.mayStart(id, stranger, provider));
        assertFalse(wallet.mayStart(id, address(0), provider));
        assertFalse(wallet.mayStart(5, owner, provider));
        vm.prank(owner);
        wallet.setPaused(true);
        assertFalse(wallet.mayStart(id, child, provider));
        assertTrue(wallet.mayStart(id, owner, provider));
        vm.startPrank(owner);
        wallet.setPaused(false);
        wallet.revokeAgent(agent);
        vm.stopPrank();
        assertFalse(wallet.mayStart(id, child, provider));
    }

    function test_NeedsTheRightToBid() external {
        uint96 id = matched();
        KeyPolicy memory p = policy();
        p.permissions = 14;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertFalse(wallet.mayStart(id, agent, provider));
    }
}
