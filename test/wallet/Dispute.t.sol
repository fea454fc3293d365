// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract WalletDisputeTest is Base {
    uint96 private id;
    uint96 private held;
    uint96 private deposit;

    function setUp() public override {
        super.setUp();
        id = submitted();
        held = escrow(TICK, DURATION);
        deposit = escrow(TICK, 100);
    }

    function test_AKeysDepositIsReserved() external {
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, deposit, 0, 0, 0, held + deposit);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(wallet.reserved(), held + deposit);
        assertEq(wallet.keyState(agent).reserved, held + deposit);
    }

    /// @dev The owner's veto needs no room under any limit, and is nobody's spending.
    function test_TheOwnersDepositStandsOutsideTheLimits() external {
        vm.startPrank(owner);
        wallet.setLimits(WalletLimits(0, 0, 0));
        wallet.dispute(id, 0);
        vm.stopPrank();
        assertEq(wallet.reserved(), held);
        vm.prank(arbiter);
        market.resolve(id, deposit, 0);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), deposit);
        assertEq(wallet.keyState(agent).lifetimeSpent, deposit);
    }

    function test_RevertWhen_DepositExceedsALimit() external {
        vm.prank(owner);
        wallet.setLimits(WalletLimits(held / 1e12 * 1e12, 1 ether, 1000 ether));
        vm.expectRevert(
            abi.encodeWithSelector(
                IAgentWallet.DailyLimitExceeded.selector,
                address(wallet),
                uint256(held) + deposit,
                uint96(held / 1e12 * 1e12)
            )
        );
        vm.prank(agent);
        wallet.dispute(id, 0);
    }

    function test_RevertGiven_PausedUnlessOwner() external {
        vm.prank(owner);
        wallet.setPaused(true);
        vm.expectRevert(IAgentWallet.WalletPaused.selector);
        vm.prank(agent);
        wallet.dispute(id, 0);
        vm.prank(owner);
        wallet.dispute(id, 0);
    }

    function test_RevertGiven_KeyMayNotDispute() external {
        KeyPolicy memory p = policy();
        p.permissions = 3;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, agent, 4));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }

    function test_RevertWhen_CallerIsStranger() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotBidAgent.selector, id, stranger));
        vm.prank(stranger);
        wallet.dispute(id, 0);
    }

    function test_RevertGiven_TooFewFunds() external {
        uint96 all = uint96(token.balanceOf(address(wallet)));
        vm.prank(owner);
        wallet.withdraw(owner, all);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, wallet, 0, deposit));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }

    /// @dev Whose key it was pays, whoever of its ancestors disputes.
    function test_AnAncestorDisputesAtTheKeysCost() external {
        (address child, uint256 secret) = delegate(agent, "child");
        BidTerms memory t = terms();
        vm.prank(child);
        id = wallet.placeBid(t);
        vm.prank(provider);
        market.matchBest(offerId, BOOK(), 0, id);
        bytes memory signature = countersign(secret, id);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        skip(100);
        submitAs(provider, id, 100);
        KeyPolicy memory p = policy();
        p.permissions = 4;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, child, deposit, 0, 0, 0, 2 * held + deposit);
        vm.prank(agent);
        wallet.dispute(id, 0);
        assertEq(wallet.keyState(child).reserved, held + deposit);
        assertEq(wallet.keyState(agent).reserved, 2 * held + deposit);
    }

    function test_RevertWhen_BidIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 5));
        vm.prank(owner);
        wallet.dispute(5, 0);
    }

    function test_RevertGiven_KeyIsDead() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        vm.prank(agent);
        wallet.dispute(id, 0);
    }
}
