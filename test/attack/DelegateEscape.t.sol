// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, KeyPolicy} from "../../contracts/interfaces/Types.sol";

/// @title Delegate escape
/// @notice The attack: a worker key that a master key delegated tries to spend more than its master may, by itself, by
/// many siblings, by children of its own; or to outlive, outrank or change its master.
/// Why it fails: a bid is reserved on every ancestor and on the wallet; a policy must be contained in the delegating
/// key's; a key's parent is fixed for ever; a key is alive only with all its ancestors.
/// Loss: at most the limits of the highest stolen key of the lineage.
contract DelegateEscapeTest is Attack {
    function test_ManyWorkersTogetherStayWithinTheirParent() external {
        KeyPolicy memory p = policy();
        uint96 held = escrow(TICK, 3600);
        BidTerms memory t = terms();
        t.maxDuration = 3600;
        // Parent: room for ten and a half bids; every worker is allowed all of it.
        p.daily = (held * 21 / 2) / 1e12 * 1e12;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        uint256 placed;
        for (uint256 i; i < 6; ++i) {
            address worker = delegate(agent, string(abi.encode("worker", i)), p);
            vm.startPrank(worker);
            for (uint256 j; j < 2 && placed < 10; ++j) {
                wallet.placeBid(t);
                ++placed;
            }
            if (placed == 10) {
                vm.expectRevert(
                    abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, agent, 11 * uint256(held), p.daily)
                );
                wallet.placeBid(t);
            }
            vm.stopPrank();
        }
        assertEq(placed, 10, "the parent's limit was reached");
        assertEq(wallet.keyState(agent).reserved, 10 * held);
    }

    function test_AChainOfChildrenStaysWithinTheMaster() external {
        KeyPolicy memory p = policy();
        address[4] memory chain = [agent, address(0), address(0), address(0)];
        for (uint256 depth = 1; depth < 4; ++depth) {
            chain[depth] = delegate(chain[depth - 1], string(abi.encode("depth", depth)), p);
        }
        vm.prank(chain[3]);
        wallet.placeBid(terms());
        for (uint256 depth; depth < 4; ++depth) {
            assertEq(wallet.keyState(chain[depth]).reserved, escrow(TICK, DURATION), "each ancestor is charged");
        }
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationTooDeep.selector, chain[3]));
        vm.prank(chain[3]);
        wallet.authorizeAgent(makeAddr("too deep"), p);
    }

    /// @dev Each member of the policy beyond the parent's, one at a time.
    function test_RevertWhen_AnyRightExceedsTheParents() external {
        KeyPolicy memory own = policy();
        own.permissions = 9;
        own.providerList = true;
        address parent = makeAddr("parent");
        vm.prank(owner);
        wallet.authorizeAgent(parent, own);
        address child = makeAddr("child");
        for (uint256 field; field < 9; ++field) {
            KeyPolicy memory p = abi.decode(abi.encode(own), (KeyPolicy));
            if (field == 0) p.expiry += 1;
            if (field == 1) p.permissions |= 2;
            if (field == 2) p.permissions |= 4;
            if (field == 3) p.providerList = false;
            if (field == 4) p.daily += 1e12;
            if (field == 5) p.perBid += 1e12;
            if (field == 6) p.lifetime += 1e12;
            if (field == 7) p.maxTicks = uint256(201) << (8 * CLS);
            if (field == 8) (p.classMask, p.maxTicks) = (p.classMask | 2, p.maxTicks | 1 << 8);
            vm.expectRevert(abi.encodeWithSelector(IAgentWallet.DelegationExceedsParent.selector, parent));
            vm.prank(parent);
            wallet.authorizeAgent(child, p);
        }
        vm.prank(parent);
        wallet.authorizeAgent(child, own);
    }

    function test_RevertWhen_AKeyChangesItsParent() external {
        KeyPolicy memory p = policy();
        address worker = delegate(agent, "worker", p);
        address other = makeAddr("other");
        vm.prank(owner);
        wallet.authorizeAgent(other, p);
        // Another master takes it over; the worker adopts its master, or itself.
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, worker));
        vm.prank(other);
        wallet.authorizeAgent(worker, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, agent));
        vm.prank(worker);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, worker));
        vm.prank(worker);
        wallet.authorizeAgent(worker, p);
        // Not even after its revocation, nor by the owner.
        vm.prank(agent);
        wallet.revokeAgent(worker);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, worker));
        vm.prank(owner);
        wallet.authorizeAgent(worker, p);
    }

    function test_AWorkerDiesWithItsParent() external {
        KeyPolicy memory p = policy();
        p.expiry = uint40(block.timestamp + 1 hours);
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        address worker = delegate(agent, "worker", p);
        // The parent is shortened after it delegated.
        p.expiry = uint40(block.timestamp + 10 minutes);
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.prank(worker);
        wallet.placeBid(terms());
        skip(10 minutes);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExpired.selector, agent, p.expiry));
        vm.prank(worker);
        wallet.placeBid(terms());
        assertFalse(wallet.isActive(worker));
    }

    /// @dev Limits, caps and the provider list of a parent that were tightened later bind its old children.
    function test_TighteningAParentTightensItsChildren() external {
        KeyPolicy memory p = policy();
        address worker = delegate(agent, "worker", p);
        BidTerms memory t = terms();
        uint96 held = escrow(TICK, DURATION);
        p.perBid = held / 2 / 1e12 * 1e12;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, agent, held, p.perBid));
        vm.prank(worker);
        wallet.placeBid(t);
        p = policy();
        p.maxTicks = uint256(TICK - 1) << (8 * CLS);
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TickAboveCap.selector, agent, TICK, TICK - 1));
        vm.prank(worker);
        wallet.placeBid(t);
        p = policy();
        p.providerList = true;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertFalse(wallet.mayStart(worker, worker, provider));
        vm.prank(owner);
        wallet.allowProvider(provider, true);
        assertTrue(wallet.mayStart(worker, worker, provider));
    }

    /// @dev A key without the right to delegate, or a dead one, adds nobody; a key acts on its own line's bids alone.
    function test_RevertWhen_AWorkerOverreaches() external {
        KeyPolicy memory p = policy();
        p.permissions = 7;
        address worker = delegate(agent, "worker", p);
        address sibling = delegate(agent, "sibling", p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, worker, 8));
        vm.prank(worker);
        wallet.authorizeAgent(makeAddr("child"), p);
        uint96 id = place();
        skip(timing.minBidLifetime);
        vm.startPrank(worker);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotBidAgent.selector, id, worker));
        wallet.cancelBid(id);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, worker));
        wallet.revokeAgent(sibling);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotAgent.selector, worker));
        wallet.revokeAgent(agent);
        bytes[6] memory owners = [
            abi.encodeCall(IAgentWallet.withdraw, (worker, 1)),
            abi.encodeCall(IAgentWallet.setLimits, (limits())),
            abi.encodeCall(IAgentWallet.setPaused, (true)),
            abi.encodeCall(IAgentWallet.allowProvider, (worker, true)),
            abi.encodeCall(IAgentWallet.transferOwnership, (worker)),
            abi.encodeCall(IAgentWallet.revokeAll, ())
        ];
        for (uint256 i; i < owners.length; ++i) {
            (bool ok, bytes memory reason) = address(wallet).call(owners[i]);
            assertFalse(ok);
            assertEq(reason, abi.encodeWithSelector(IAgentWallet.NotOwner.selector, worker));
        }
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, worker));
        wallet.acceptOwnership();
        vm.stopPrank();
        vm.prank(agent);
        wallet.revokeAgent(worker);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, worker));
        vm.prank(worker);
        wallet.revokeAgent(worker);
    }

    /// @dev A key that is revoked and authorised anew gets no fresh window.
    function test_RevivalForgetsNothing() external {
        KeyPolicy memory p = policy();
        settled();
        wallet.collect(agent);
        uint256 window = wallet.keyState(agent).spentWindow;
        uint96 life = wallet.keyState(agent).lifetimeSpent;
        assertGt(life, 0);
        vm.startPrank(owner);
        wallet.revokeAll();
        wallet.setPaused(false);
        wallet.authorizeAgent(agent, p);
        vm.stopPrank();
        assertEq(wallet.keyState(agent).spentWindow, window);
        assertEq(wallet.keyState(agent).lifetimeSpent, life);
    }

    /// @dev Taking a permission from a parent does not take it from its children: their own count. The owner revokes
    /// the child, or the parent with all of them.
    /// @dev What is taken from a parent is taken from its children at once.
    function test_RevertGiven_ThePermissionWasTakenFromTheParent() external {
        KeyPolicy memory p = policy();
        address worker = delegate(agent, "worker", p);
        p.permissions = 14;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertEq(wallet.availableTo(worker), 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, agent, uint8(1)));
        vm.prank(worker);
        wallet.placeBid(terms());
    }
}
