// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {KeyPolicy} from "../../contracts/interfaces/Types.sol";

contract MayStartTest is Base {
    address private child;

    function setUp() public override {
        super.setUp();
        (child,) = delegate(agent, "child");
    }

    function setPolicy(address by, address key, uint8 permissions, bool list) private {
        KeyPolicy memory p = policy();
        p.permissions = permissions;
        p.providerList = list;
        vm.prank(by);
        wallet.authorizeAgent(key, p);
    }

    function test_TheLineageAndTheOwnerMay() external {
        (address sibling,) = delegate(agent, "sibling");
        (address grandchild,) = delegate(child, "grandchild");
        assertTrue(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, agent, provider));
        assertTrue(wallet.mayStart(child, owner, provider));
        assertFalse(wallet.mayStart(child, sibling, provider));
        assertFalse(wallet.mayStart(child, grandchild, provider));
        assertFalse(wallet.mayStart(child, stranger, provider));
        assertFalse(wallet.mayStart(child, address(0), provider));
        assertFalse(wallet.mayStart(agent, child, provider));
    }

    function test_OnlyTheOwnerMayGiven_Paused() external {
        vm.prank(owner);
        wallet.setPaused(true);
        assertFalse(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, owner, provider));
    }

    function test_TheSignerAndAllAboveItMustLive() external {
        uint256 state = vm.snapshotState();
        vm.prank(owner);
        wallet.revokeAgent(agent);
        assertFalse(wallet.mayStart(child, child, provider));
        assertFalse(wallet.mayStart(child, agent, provider));
        vm.revertToState(state);
        // A dead key's rental may still be started by an ancestor of it.
        vm.prank(owner);
        wallet.revokeAgent(child);
        assertFalse(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, agent, provider));
        vm.revertToState(state);
        skip(30 days - 1);
        assertTrue(wallet.mayStart(child, child, provider));
        skip(1);
        assertFalse(wallet.mayStart(child, child, provider));
        vm.revertToState(state);
        vm.startPrank(owner);
        wallet.revokeAll();
        wallet.setPaused(false);
        assertFalse(wallet.mayStart(child, child, provider));
    }

    function test_TheSignerNeedsTheRightToBid() external {
        setPolicy(agent, child, 14, false);
        assertFalse(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, agent, provider));
        setPolicy(agent, child, 1, false);
        setPolicy(owner, agent, 14, false);
        assertFalse(wallet.mayStart(child, child, provider), "what is taken from the parent is taken from the child");
        assertFalse(wallet.mayStart(child, agent, provider));
    }

    /// @dev The list of any key of the lineage binds, whoever of it signs; the owner is free.
    function test_AListAnywhereInTheLineageBinds() external {
        setPolicy(agent, child, 15, true);
        assertFalse(wallet.mayStart(child, child, provider));
        assertFalse(wallet.mayStart(child, agent, provider));
        assertTrue(wallet.mayStart(agent, agent, provider));
        setPolicy(agent, child, 15, false);
        setPolicy(owner, agent, 15, true);
        assertFalse(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, owner, provider));
        vm.prank(owner);
        wallet.allowProvider(provider, true);
        assertTrue(wallet.mayStart(child, child, provider));
        assertTrue(wallet.mayStart(child, agent, provider));
        assertFalse(wallet.mayStart(child, child, operator));
    }
}
