// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy, KeyState} from "../../contracts/interfaces/Types.sol";

contract AuthorizeAgentTest is Base {
    address private child = makeAddr("child");

    function authorize(address by, address key, KeyPolicy memory p) private {
        vm.prank(by);
        wallet.authorizeAgent(key, p);
    }

    function test_OwnerAuthorisesAKey() external {
        KeyPolicy memory p = policy();
        p.daily += 1;
        vm.expectEmit();
        emit IAgentWallet.AgentAuthorized(
            child, address(0), p.expiry, p.perBid, p.daily - 1, p.lifetime, p.maxTicks, p.classMask, 15, false
        );
        authorize(owner, child, p);
        KeyState memory state = wallet.keyState(child);
        p.daily -= 1;
        assertEq(abi.encode(state.policy), abi.encode(p));
        assertEq(state.parent, address(0));
        assertEq(state.depth, 0);
        assertTrue(state.active);
        assertTrue(wallet.isActive(child));
    }

    function test_AKeyDelegatesDownToDepthThree() external {
        address parent = agent;
        for (uint8 depth = 1; depth <= 3; ++depth) {
            address key = makeAddr(string(abi.encode(depth)));
            authorize(parent, key, policy());
            KeyState memory state = wallet.keyState(key);
            assertEq(state.parent, parent);
            assertEq(state.depth, depth);
            parent = key;
        }
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationTooDeep.selector, parent));
        authorize(parent, child, p);
    }

    function test_AuthorisingAgainReplacesThePolicyAndKeepsTheSpending() external {
        settled();
        place();
        KeyState memory before = wallet.keyState(agent);
        KeyPolicy memory p = policy();
        p.daily = 1 ether;
        authorize(owner, agent, p);
        KeyState memory state = wallet.keyState(agent);
        assertEq(state.policy.daily, 1 ether);
        assertEq(state.reserved, before.reserved);
        assertEq(state.lifetimeSpent, before.lifetimeSpent);
        assertEq(state.spentWindow, before.spentWindow);
        assertGt(state.lifetimeSpent, 0);
    }

    function test_BytesOfForbiddenClassesAreCleared() external {
        KeyPolicy memory p = policy();
        p.maxTicks = type(uint256).max;
        p.classMask = uint32(1) << CLS | 1;
        authorize(owner, child, p);
        assertEq(wallet.keyState(child).policy.maxTicks, uint256(255) << (8 * CLS));
        assertEq(wallet.keyState(child).policy.classMask, uint32(1) << CLS);
    }

    function test_RevertWhen_CallerIsNoKey() external {
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, stranger));
        authorize(stranger, child, p);
    }

    function test_RevertGiven_KeyMayNotDelegate() external {
        KeyPolicy memory p = policy();
        p.permissions = 7;
        authorize(owner, agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, agent, 8));
        authorize(agent, child, p);
    }

    function test_RevertGiven_DelegatorIsDead() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        authorize(agent, child, p);
    }

    /// @dev Each limit just beyond the parent's, once each.
    function test_RevertWhen_PolicyExceedsTheParents() external {
        for (uint256 field; field < 8; ++field) {
            KeyPolicy memory p = policy();
            KeyPolicy memory own = policy();
            own.permissions = field == 1 ? 13 : 15;
            own.providerList = field == 7;
            authorize(owner, agent, own);
            if (field == 0) p.expiry++;
            if (field == 2) p.classMask |= 1 << 4;
            if (field == 2) p.maxTicks |= 1 << 32;
            if (field == 3) p.daily++;
            if (field == 4) p.perBid++;
            if (field == 5) p.lifetime++;
            if (field == 6) p.maxTicks += uint256(1) << (8 * CLS);
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationExceedsParent.selector, agent));
            authorize(agent, child, p);
        }
    }

    function test_RevertGiven_KeyHasAnotherParent() external {
        authorize(agent, child, policy());
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, child));
        authorize(owner, child, p);
        vm.prank(owner);
        wallet.revokeAgent(child);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, child));
        authorize(owner, child, p);
        // A child cannot adopt its own ancestor either.
        authorize(agent, child, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, agent));
        authorize(child, agent, p);
    }

    function test_RevertWhen_PolicyIsInvalid() external {
        for (uint256 fault; fault < 6; ++fault) {
            KeyPolicy memory p = policy();
            address key = child;
            if (fault == 0) key = address(0);
            if (fault == 1) key = owner;
            if (fault == 2) p.expiry = uint40(block.timestamp);
            if (fault == 3) p.permissions = 0;
            if (fault == 4) p.permissions = 16;
            if (fault == 5) p.maxTicks = 0;
            vm.expectRevert(IAgentWallet.InvalidPolicy.selector);
            authorize(owner, key, p);
        }
    }

    function test_RevertWhen_ALimitIsTooLarge() external {
        uint96 max = uint96(type(uint32).max) * 1e12;
        KeyPolicy memory p = policy();
        p.daily = max + 1e12;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, max + 1e12, max));
        authorize(owner, child, p);
        p.daily = max;
        p.perBid = type(uint96).max;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, type(uint96).max, max));
        authorize(owner, child, p);
        p.perBid = max;
        p.lifetime = type(uint96).max;
        authorize(owner, child, p);
        assertEq(wallet.keyState(child).policy.lifetime, type(uint96).max / 1e12 * 1e12);
    }

    /// @dev Each limit as great as the parent's is contained, a class less and a list more too.
    function test_AKeyMayGiveAllItHas() external {
        KeyPolicy memory p = policy();
        vm.expectEmit();
        emit IAgentWallet.AgentAuthorized(
            child, agent, p.expiry, p.perBid, p.daily, p.lifetime, p.maxTicks, p.classMask, 15, false
        );
        authorize(agent, child, p);
        p.providerList = true;
        p.classMask = 0;
        p.permissions = 1;
        vm.expectEmit();
        emit IAgentWallet.AgentAuthorized(child, agent, p.expiry, p.perBid, p.daily, p.lifetime, 0, 0, 1, true);
        authorize(agent, child, p);
        KeyState memory state = wallet.keyState(child);
        assertTrue(state.policy.providerList);
        assertEq(state.policy.permissions, 1);
        assertEq(state.policy.classMask, 0);
        assertEq(state.depth, 1);
    }

    /// @dev The first and the last class are checked and kept like any other.
    function test_TheFirstAndTheLastClass() external {
        KeyPolicy memory p = policy();
        p.classMask = 1 << 31 | 1 << 1;
        p.maxTicks = uint256(9) << (8 * 31) | uint256(1) << 8;
        authorize(owner, agent, p);
        assertEq(abi.encode(wallet.keyState(agent).policy), abi.encode(p));
        authorize(agent, child, p);
        for (uint256 i; i < 2; ++i) {
            p.maxTicks += i == 0 ? uint256(1) << (8 * 31) : 1 << 8;
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationExceedsParent.selector, agent));
            authorize(agent, child, p);
            p.maxTicks -= i == 0 ? uint256(1) << (8 * 31) : 1 << 8;
        }
        // Bytes outside the mask are no part of the policy.
        p.classMask = 1 << 31;
        p.maxTicks |= type(uint256).max >> 8;
        authorize(agent, child, p);
        assertEq(wallet.keyState(child).policy.maxTicks, uint256(9) << (8 * 31));
        // A cap of zero says nothing that a cleared bit does not.
        p.classMask = 1 << 31 | 1 << 1;
        p.maxTicks = uint256(9) << (8 * 31);
        vm.expectRevert(IAgentWallet.InvalidPolicy.selector);
        authorize(owner, child = makeAddr("another"), p);
    }

    /// @dev One permission at a time.
    function test_EveryPermissionIsContainedForItself() external {
        for (uint8 bit = 1; bit < 8; bit *= 2) {
            KeyPolicy memory own = policy();
            own.permissions = 15 & ~bit;
            authorize(owner, agent, own);
            KeyPolicy memory p = policy();
            p.permissions = bit;
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationExceedsParent.selector, agent));
            authorize(agent, child, p);
            p.permissions = 15 & ~bit;
            authorize(agent, child, p);
        }
    }

    function test_AKeyLivesToTheSecondBeforeItsExpiry() external {
        KeyPolicy memory p = policy();
        p.expiry = uint40(block.timestamp + 1);
        authorize(owner, child, p);
        assertTrue(wallet.isActive(child));
        skip(1);
        assertFalse(wallet.isActive(child));
        // The state speaks of revocation alone.
        assertTrue(wallet.keyState(child).active);
    }

    function test_RevertGiven_DelegatorExpired() external {
        KeyPolicy memory p = policy();
        vm.warp(NOW + 30 days);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExpired.selector, agent, NOW + 30 days));
        authorize(agent, child, p);
    }

    /// @dev The owner reaches into no lineage, and a parent may renew its own child, dead or not.
    function test_AParentRevivesItsChild() external {
        authorize(agent, child, policy());
        vm.prank(owner);
        wallet.revokeAgent(child);
        assertFalse(wallet.isActive(child));
        authorize(agent, child, policy());
        assertTrue(wallet.isActive(child));
        assertEq(wallet.keyState(child).parent, agent);
        assertEq(wallet.keyState(child).depth, 1);
    }
}
