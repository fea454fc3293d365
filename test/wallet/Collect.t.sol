// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyAccount, KeyPolicy, KeyState, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @notice `collect`, and counting of what ended in general.
contract CollectTest is Base {
    uint96 private held;
    uint96 private paid;

    function setUp() public override {
        super.setUp();
        held = escrow(TICK, DURATION);
        paid = escrow(TICK, 100);
    }

    /// @dev A rental of `key`, whose private key is `secret`, run for 100 s and paid for.
    function rentBy(address key, uint256 secret) private {
        BidTerms memory t = terms();
        vm.prank(key);
        uint96 id = wallet.placeBid(t);
        if (offerId == 0) post();
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, id), id);
        bytes memory signature = countersign(secret, id);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        skip(100);
        submitAs(provider, id, 100);
        skip(timing.challengeWindow);
        market.advance(id);
    }

    function test_AnyoneBringsTheCreditHomeAndCounts() external {
        settled();
        uint256 before = token.balanceOf(address(wallet));
        assertEq(wallet.reserved(), held);
        vm.expectEmit();
        emit IAIPowerRental.KeyCollected(agent, address(wallet), held - paid, paid, held - paid);
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(agent, paid, held - paid, 0);
        vm.prank(stranger);
        assertEq(wallet.collect(agent), held - paid);
        assertEq(token.balanceOf(address(wallet)), before + held - paid);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), paid);
        assertEq(wallet.spentInWindow(), (paid + 1e12 - 1) / 1e12 * 1e12);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), 0, 0, 0)));
        // Again there is nothing, and nothing is counted twice.
        vm.recordLogs();
        assertEq(wallet.collect(agent), 0);
        assertEq(vm.getRecordedLogs().length, 1);
        assertEq(wallet.lifetimeSpent(), paid);
    }

    function test_RevertWhen_TheKeyIsNotTheWallets() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, address(wallet)));
        wallet.collect(agent);
        settled();
        IWallet other = IWallet(factory.createWallet(stranger, SALT, limits(), agent, policy()));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, address(other)));
        other.collect(agent);
    }

    /// @dev The next bid counts in the same call and uses the credit.
    function test_TheNextBidCounts() external {
        settled();
        uint96 id = idOf(BOOK(), TICK, 1);
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, held, held - paid, paid, held - paid, held);
        place();
        assertEq(wallet.reserved(), held);
        assertEq(wallet.lifetimeSpent(), paid);
        assertEq(wallet.keyState(agent).reserved, held);
        assertEq(wallet.keyState(agent).lifetimeSpent, paid);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), 0, 0, 0)));
    }

    /// @dev Several ends wait together and are counted together.
    function test_SeveralEndsAddUp() external {
        settled();
        uint96 id = place();
        place();
        skip(1 days);
        market.advance(id);
        market.advance(idOf(BOOK(), TICK, 2));
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), paid);
    }

    /// @dev Down to the greatest depth every ledger of the lineage moves alike.
    function test_CountsForEveryAncestor() external {
        (address[4] memory keys, uint256 secret) = lineage();
        rentBy(keys[3], secret);
        for (uint256 i; i < 4; ++i) {
            assertEq(wallet.keyState(keys[i]).reserved, held);
        }
        wallet.collect(keys[3]);
        uint256 window = wallet.keyState(keys[3]).spentWindow;
        assertNotEq(window, 0);
        for (uint256 i; i < 4; ++i) {
            KeyState memory state = wallet.keyState(keys[i]);
            assertEq(state.reserved, 0);
            assertEq(state.lifetimeSpent, paid);
            assertEq(state.spentWindow, window);
        }
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), paid);
    }

    /// @dev Accounts are per key: one key's bid neither counts nor spends what another's left.
    function test_KeysDoNotShareAnAccount() external {
        (address child, uint256 secret) = delegate(agent, "child");
        rentBy(child, secret);
        assertEq(keyCredit(), 0);
        uint256 before = token.balanceOf(address(wallet));
        place();
        assertEq(before - token.balanceOf(address(wallet)), held);
        assertEq(market.keyAccount(child).credit, held - paid);
        assertEq(market.keyAccount(child).spent, paid);
        assertEq(market.keyAccount(child).released, held - paid);
        assertEq(wallet.keyState(agent).reserved, 2 * held);
        assertEq(wallet.keyState(child).reserved, held);
    }

    /// @dev However a key died, what it had reserved comes back and what it spent is counted.
    function test_DeadKeysAreCounted() external {
        (address[4] memory keys, uint256 secret) = lineage();
        rentBy(keys[3], secret);
        uint256 state = vm.snapshotState();
        for (uint256 i; i < 4; ++i) {
            vm.startPrank(owner);
            if (i == 0) wallet.revokeAgent(keys[3]);
            if (i == 1) wallet.revokeAgent(keys[0]);
            if (i == 2) wallet.revokeAll();
            if (i == 3) skip(31 days);
            vm.stopPrank();
            assertFalse(wallet.isActive(keys[3]));
            assertEq(wallet.collect(keys[3]), held - paid);
            assertEq(wallet.reserved(), 0);
            assertEq(wallet.keyState(keys[3]).lifetimeSpent, paid);
            vm.revertToState(state);
        }
    }

    /// @dev Limits below what is reserved or was spent hinder no counting.
    function test_CountsGiven_LimitsWereLowered() external {
        settled();
        KeyPolicy memory p = policy();
        p.daily = p.perBid = p.lifetime = 0;
        vm.startPrank(owner);
        wallet.setLimits(WalletLimits(0, 0, 0));
        wallet.authorizeAgent(agent, p);
        vm.stopPrank();
        assertEq(wallet.availableTo(agent), 0);
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), paid);
        assertEq(wallet.availableTo(agent), 0);
    }

    /// @dev The owner's deposit comes back as credit but not as a release, for it was never reserved.
    function test_AnOwnersDepositIsNoSpending() external {
        uint96 id = submitted();
        vm.prank(owner);
        wallet.dispute(id, 0);
        assertEq(wallet.reserved(), held);
        vm.prank(arbiter);
        market.resolve(id, 0, 0);
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), held + paid, 0, held)));
        wallet.collect(agent);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), 0);
        assertEq(token.balanceOf(address(wallet)), 1000 ether);
    }
}
