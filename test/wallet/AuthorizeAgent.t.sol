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
}
