// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, KeyState, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract WalletPlaceBidTest is Base {
    function child(KeyPolicy memory p) private returns (address key) {
        key = makeAddr("child");
        vm.prank(agent);
        wallet.authorizeAgent(key, p);
    }

    function test_ReservesOnTheKeyAndTheWallet() external {
        uint96 held = escrow(TICK, DURATION);
        uint96 id = idOf(768, TICK, 0);
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, held, 0, 0, 0, held);
        place();
        assertEq(wallet.keyState(agent).reserved, held);
        assertEq(wallet.reserved(), held);
        assertEq(wallet.availableTo(agent), 20 ether);
    }

    function test_ChargesEveryAncestor() external {
        address key = child(policy());
        BidTerms memory t = terms();
        vm.prank(key);
        uint96 id = wallet.placeBid(t);
        uint96 held = escrow(TICK, DURATION);
        assertEq(wallet.keyState(key).reserved, held);
        assertEq(wallet.keyState(agent).reserved, held);

        post();
        vm.prank(provider);
        market.matchBest(offerId, 768, 0, 0);
        startAs(provider, id);
        skip(20);
        submitAs(provider, id, 20);
        skip(timing.challengeWindow);
        uint96 paid = escrow(TICK, 20);
        market.advance(id);
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(key, paid, held - paid, 0);
        wallet.collect(key);
        for (uint256 i; i < 2; ++i) {
            KeyState memory state = wallet.keyState(i == 0 ? key : agent);
            assertEq(state.reserved, 0);
            assertEq(state.lifetimeSpent, paid);
            assertNotEq(state.spentWindow, 0);
        }
    }

    function test_RevertWhen_CallerIsNoKey() external {
        BidTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, owner));
        vm.prank(owner);
        wallet.placeBid(t);
    }

    function test_RevertGiven_KeyMayNotBid() external {
        KeyPolicy memory p = policy();
        p.permissions = 2;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PermissionMissing.selector, agent, 1));
        place();
    }

    function test_RevertGiven_KeyExpired() external {
        skip(30 days);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExpired.selector, agent, uint40(block.timestamp)));
        place();
    }

    function test_RevertGiven_KeyRevoked() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        place();
    }

    function test_RevertGiven_AncestorRevoked() external {
        address key = child(policy());
        vm.prank(owner);
        wallet.revokeAgent(agent);
        BidTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, agent));
        vm.prank(key);
        wallet.placeBid(t);
    }

    function test_RevertGiven_AncestorsCapsWereLowered() external {
        address key = child(policy());
        KeyPolicy memory p = policy();
        p.maxTicks = uint256(TICK - 1) << (8 * CLS);
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        BidTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TickAboveCap.selector, agent, TICK, TICK - 1));
        vm.prank(key);
        wallet.placeBid(t);
    }

    function test_RevertGiven_Paused() external {
        vm.prank(owner);
        wallet.setPaused(true);
        vm.expectRevert(IAgentWallet.WalletPaused.selector);
        place();
    }

    function test_RevertWhen_ClassIsForbidden() external {
        KeyPolicy memory p = policy();
        p.classMask = 1 << 5;
        p.maxTicks = 200 << (8 * 5);
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ClassForbidden.selector, agent, CLS));
        place();
    }

    function test_RevertWhen_TickIsAboveTheCap() external {
        BidTerms memory t = terms();
        t.tick = 201;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TickAboveCap.selector, agent, 201, 200));
        place(t);
    }

    function test_RevertWhen_PerBidLimitIsExceeded() external {
        uint96 held = escrow(TICK, DURATION);
        uint96 limit = held / 1e12 * 1e12;
        KeyPolicy memory p = policy();
        p.perBid = held;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        // Limits round down to millionths: the exact amount is more than that.
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, agent, held, limit));
        place();
        p.perBid = limit + 1e12;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        place();
    }

    function test_RevertWhen_WalletsPerBidLimitIsExceeded() external {
        vm.prank(owner);
        wallet.setLimits(WalletLimits(100 ether, 1e12, 1000 ether));
        uint96 held = escrow(TICK, DURATION);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, address(wallet), held, 1e12));
        place();
    }

    function test_RevertWhen_DailyLimitIsExceeded() external {
        uint96 held = escrow(TICK, DURATION);
        uint96 limit = (2 * held / 1e12 + 1) * 1e12;
        KeyPolicy memory p = policy();
        p.daily = limit;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        place();
        place();
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, agent, 3 * uint256(held), limit)
        );
        place();
    }

    function test_RevertWhen_WalletsDailyLimitIsExceeded() external {
        uint96 held = escrow(TICK, DURATION);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(1e12, 50 ether, 1000 ether));
        vm.expectRevert(
            abi.encodeWithSelector(
                IAgentWallet.DailyLimitExceeded.selector, address(wallet), uint256(held), uint96(1e12)
            )
        );
        place();
    }

    /// @dev Refunds release at once, but what was spent counts for a day and no less.
    function test_SpendingCountsForADayAndRefundsDoNot() external {
        uint96 id = matched();
        startAs(provider, id);
        skip(DURATION);
        submitAs(provider, id, DURATION);
        skip(timing.challengeWindow);
        market.advance(id);
        wallet.collect(agent);
        uint256 closedAt = block.timestamp;
        uint96 held = escrow(TICK, DURATION);
        uint96 counted = (held + 1e12 - 1) / 1e12 * 1e12;
        assertEq(wallet.spentInWindow(), counted);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(counted + held / 1e12 * 1e12, 50 ether, 1000 ether));
        vm.warp(closedAt + 1 days - 1);
        vm.expectRevert();
        place();
        vm.warp(closedAt + 7 * 2 ** 14);
        assertEq(wallet.spentInWindow(), 0);
        place();
    }

    function test_RevertWhen_LifetimeLimitIsExceeded() external {
        uint96 held = escrow(TICK, DURATION);
        KeyPolicy memory p = policy();
        p.lifetime = 1e12;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, agent, uint256(held), uint96(1e12))
        );
        place();
    }

    function test_RevertGiven_TooFewFunds() external {
        vm.prank(owner);
        wallet.withdraw(owner, 1000 ether);
        uint96 held = escrow(TICK, DURATION);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, wallet, 0, held));
        place();
    }
}
