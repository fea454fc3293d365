// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy} from "../../contracts/interfaces/Types.sol";

contract RevokeAgentTest is Base {
    address private child = makeAddr("child");

    function setUp() public override {
        super.setUp();
        KeyPolicy memory p = policy();
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
    }

    function test_OwnerAncestorAndSelfMay() external {
        address[3] memory callers = [owner, agent, child];
        uint256 state = vm.snapshotState();
        for (uint256 i; i < 3; ++i) {
            vm.expectEmit();
            emit IAgentWallet.AgentDeactivated(child);
            vm.prank(callers[i]);
            wallet.revokeAgent(child);
            assertFalse(wallet.isActive(child));
            assertFalse(wallet.keyState(child).active);
            assertTrue(wallet.isActive(agent));
            vm.revertToState(state);
        }
    }

    function test_DescendantsDieToo() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        assertFalse(wallet.isActive(child));
        assertTrue(wallet.keyState(child).active);
    }

    function test_RevertWhen_CallerIsDescendantOrStranger() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, child));
        vm.prank(child);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, stranger));
        vm.prank(stranger);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, stranger));
        vm.prank(stranger);
        wallet.revokeAgent(stranger);
    }

    function test_RevertGiven_CallerIsDead() external {
        vm.startPrank(owner);
        wallet.revokeAgent(agent);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        vm.prank(agent);
        wallet.revokeAgent(child);
    }

    function test_RevertGiven_Revoked() external {
        vm.startPrank(owner);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, stranger));
        wallet.revokeAgent(stranger);
    }

    /// @dev A dead key's reservation still comes back.
    function test_ReservationsOfARevokedKeyAreReleased() external {
        uint96 id = place();
        vm.prank(owner);
        wallet.revokeAgent(agent);
        skip(1 days);
        market.advance(id);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.keyState(agent).reserved, 0);
    }
}

contract RevokeAllTest is Base {
    function test_KillsEveryKeyAndPauses() external {
        vm.expectEmit();
        emit IAgentWallet.AllAgentsDeactivated(1);
        vm.expectEmit();
        emit IAgentWallet.PausedSet(true);
        vm.prank(owner);
        wallet.revokeAll();
        assertTrue(wallet.paused());
        assertFalse(wallet.isActive(agent));
        assertFalse(wallet.keyState(agent).active);
        vm.prank(owner);
        wallet.setPaused(false);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        place();
        KeyPolicy memory p = policy();
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        place();
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.revokeAll();
    }

    /// @dev The epoch counts, and a key authorised after it is live.
    function test_EveryCallStartsAnEpoch() external {
        vm.startPrank(owner);
        wallet.revokeAll();
        wallet.authorizeAgent(agent, policy());
        assertTrue(wallet.keyState(agent).active);
        assertTrue(wallet.isActive(agent));
        vm.expectEmit();
        emit IAgentWallet.AllAgentsDeactivated(2);
        wallet.revokeAll();
        assertFalse(wallet.isActive(agent));
    }
}
