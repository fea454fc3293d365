// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, Status} from "../../contracts/interfaces/Types.sol";

contract CancelBidTest is Base {
    address private child = makeAddr("child");
    uint96 private id;

    function setUp() public override {
        super.setUp();
        KeyPolicy memory p = policy();
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
        BidTerms memory t = terms();
        vm.prank(child);
        id = wallet.placeBid(t);
        skip(timing.minBidLifetime);
    }

    function test_KeyAncestorAndOwnerMay() external {
        address[3] memory callers = [child, agent, owner];
        uint256 state = vm.snapshotState();
        for (uint256 i; i < 3; ++i) {
            vm.prank(callers[i]);
            wallet.cancelBid(id);
            assertStatus(id, Status.Cancelled);
            vm.revertToState(state);
        }
    }

    function test_WorksGiven_Paused() external {
        vm.prank(owner);
        wallet.setPaused(true);
        vm.prank(child);
        wallet.cancelBid(id);
        assertStatus(id, Status.Cancelled);
    }

    function test_RevertWhen_CallerIsDescendantOrStranger() external {
        vm.warp(NOW);
        uint96 parents = place();
        skip(timing.minBidLifetime);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotBidAgent.selector, parents, child));
        vm.prank(child);
        wallet.cancelBid(parents);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotBidAgent.selector, id, stranger));
        vm.prank(stranger);
        wallet.cancelBid(id);
    }

    function test_RevertWhen_BidIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 5));
        vm.prank(owner);
        wallet.cancelBid(5);
    }

    function test_RevertGiven_KeyMayNotCancel() external {
        KeyPolicy memory p = policy();
        p.permissions = 1;
        p.expiry = NOW + 30 days;
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, child, 2));
        vm.prank(child);
        wallet.cancelBid(id);
    }

    function test_RevertGiven_KeyIsDead() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        vm.prank(child);
        wallet.cancelBid(id);
        skip(30 days);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExpired.selector, child, NOW + 30 days));
        vm.prank(child);
        wallet.cancelBid(id);
    }

    function test_EachKeyNeedsThePermissionItself() external {
        KeyPolicy memory p = policy();
        p.permissions = 2;
        p.expiry = NOW + 30 days;
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
        vm.prank(child);
        wallet.cancelBid(id);
        assertStatus(id, Status.Cancelled);
    }

    function test_WorksUntilTheLastSecondOfTheKey() external {
        KeyPolicy memory p = policy();
        p.expiry = uint40(block.timestamp + 100);
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
        skip(100);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExpired.selector, child, p.expiry));
        vm.prank(child);
        wallet.cancelBid(id);
        vm.warp(block.timestamp - 1);
        vm.prank(child);
        wallet.cancelBid(id);
    }
}
