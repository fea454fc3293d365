// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Funding, FundingKind, KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract FundTest is Base {
    uint96 private constant HELD = 10 ether;
    uint96 private id;

    function setUp() public override {
        super.setUp();
        id = idOf(BOOK(), TICK, 0);
    }

    function fund(Funding memory funding) private {
        vm.prank(address(market));
        wallet.fund(id, agent, funding);
    }

    function reserve(uint96 amount) private {
        fund(Funding(FundingKind.Bid, amount, 0, 0, 0));
    }

    function test_RevertWhen_CallerIsNotTheMarket() external {
        Funding memory f = Funding(FundingKind.Bid, 1, 0, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotMarket.selector, owner));
        vm.prank(owner);
        wallet.fund(id, agent, f);
    }

    /// @dev The market's address as a forwarded sender is still not the market.
    function test_RevertWhen_TheForwarderSpeaksForTheMarket() external {
        bytes memory data =
            abi.encodeCall(IAgentWallet.fund, (id, agent, Funding(FundingKind.OwnerDeposit, 1, 0, 0, 0)));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotMarket.selector, address(forwarder)));
        vm.prank(address(forwarder));
        (bool ok,) = address(wallet).call(abi.encodePacked(data, address(market)));
        assertTrue(ok);
    }

    function test_SendsWhatCreditDoesNotGive() external {
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, HELD, 4 ether, 0, 0, HELD);
        vm.expectEmit(address(token));
        emit IERC20.Transfer(address(wallet), address(market), 6 ether);
        fund(Funding(FundingKind.Bid, HELD, 4 ether, 0, 0));
        assertEq(wallet.reserved(), HELD);
        assertEq(wallet.keyState(agent).reserved, HELD);
    }

    function test_SendsNothingWhenCreditCovers() external {
        vm.recordLogs();
        fund(Funding(FundingKind.Bid, HELD, HELD, 0, 0));
        assertEq(vm.getRecordedLogs().length, 1);
        assertEq(token.balanceOf(address(market)), 0);
    }

    /// @dev What ended makes room before the new reservation is checked.
    function test_CountsBeforeItReserves() external {
        reserve(20 ether);
        reserve(20 ether);
        vm.expectPartialRevert(IAgentWallet.DailyLimitExceeded.selector);
        reserve(20 ether);
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, 20 ether, 0, 3 ether, 17 ether, 40 ether);
        fund(Funding(FundingKind.Bid, 20 ether, 0, 3 ether, 17 ether));
        assertEq(wallet.reserved(), 40 ether);
        assertEq(wallet.lifetimeSpent(), 3 ether);
        assertEq(wallet.spentInWindow(), 3 ether);
        assertEq(wallet.keyState(agent).lifetimeSpent, 3 ether);
    }

    /// @dev A deposit needs no right to bid: whoever may dispute was checked when it asked to.
    function test_ADepositIsReservedWithoutTheChecksOfABid() external {
        vm.startPrank(owner);
        wallet.revokeAgent(agent);
        wallet.setPaused(true);
        wallet.setLimits(WalletLimits(100 ether, 0, 1000 ether));
        vm.stopPrank();
        vm.expectEmit();
        emit IAgentWallet.MicroTransactionExecuted(id, agent, HELD, 1, 0, 0, HELD);
        fund(Funding(FundingKind.Deposit, HELD, 1, 0, 0));
        assertEq(wallet.reserved(), HELD);
        assertEq(token.balanceOf(address(market)), HELD - 1);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(HELD, 0, 1000 ether));
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, address(wallet), HELD + 1, HELD)
        );
        fund(Funding(FundingKind.Deposit, 1, 0, 0, 0));
    }

    function test_AnOwnersDepositIsSentAndNotReserved() external {
        reserve(HELD);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(0, 0, 0));
        uint256 before = token.balanceOf(address(market));
        vm.recordLogs();
        fund(Funding(FundingKind.OwnerDeposit, 5 ether, 2 ether, 0, 0));
        assertEq(vm.getRecordedLogs().length, 1, "the transfer alone");
        assertEq(token.balanceOf(address(market)), before + 3 ether);
        assertEq(wallet.reserved(), HELD);
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(agent, 0, 1 ether, 9 ether);
        fund(Funding(FundingKind.OwnerDeposit, 1, 1, 0, 1 ether));
        vm.expectEmit();
        emit IAgentWallet.SpendReconciled(agent, 2 ether, 0, 7 ether);
        fund(Funding(FundingKind.OwnerDeposit, 1, 1, 2 ether, 0));
        assertEq(wallet.lifetimeSpent(), 2 ether);
    }

    function test_RevertWhen_CreditExceedsTheAmount() external {
        vm.expectRevert();
        fund(Funding(FundingKind.Bid, 1, 2, 0, 0));
    }

    function test_RevertGiven_FundsAreTooFew() external {
        vm.prank(owner);
        wallet.withdraw(owner, 1000 ether - 1 ether);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientBalance.selector, address(wallet), 1 ether, 1 ether + 1
            )
        );
        reserve(1 ether + 1);
        reserve(1 ether);
    }

    /// @dev Class and tick are read from the bid's id.
    function test_CapsGoByTheId() external {
        KeyPolicy memory p = policy();
        p.classMask = 1 << 31 | 1 << 1;
        p.maxTicks = uint256(7) << (8 * 31) | 9 << 8;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        id = idOf(31 << 8, 7, 0);
        reserve(1);
        id = idOf(1 << 8 | 5, 9, 3);
        reserve(1);
        id = idOf(31 << 8, 8, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.TickAboveCap.selector, agent, 8, 7));
        reserve(1);
        id = idOf(2 << 8, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.ClassForbidden.selector, agent, 2));
        reserve(1);
    }

    function test_PerBidLimitsAreInclusive() external {
        reserve(20 ether);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, agent, 20 ether + 1, 20 ether)
        );
        reserve(20 ether + 1);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(100 ether, 3 ether, 1000 ether));
        reserve(3 ether);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, address(wallet), 3 ether + 1, 3 ether)
        );
        reserve(3 ether + 1);
    }

    /// @dev Each limit names whose it was: the key's, its ancestor's, the wallet's.
    function test_LimitsOfTheKeyItsAncestorAndTheWallet() external {
        (address child,) = delegate(agent, "child");
        id = idOf(BOOK(), TICK, 0);
        KeyPolicy memory p = policy();
        p.lifetime = 5 ether;
        vm.prank(agent);
        wallet.authorizeAgent(child, p);
        Funding memory f = Funding(FundingKind.Bid, 5 ether + 1, 0, 0, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, child, 5 ether + 1, 5 ether)
        );
        vm.prank(address(market));
        wallet.fund(id, child, f);
        p.lifetime = 4 ether;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        f.amount = 5 ether;
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, agent, 5 ether, 4 ether));
        vm.prank(address(market));
        wallet.fund(id, child, f);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(100 ether, 50 ether, 3 ether));
        f.amount = 4 ether;
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.LifetimeLimitExceeded.selector, address(wallet), 4 ether, 3 ether)
        );
        vm.prank(address(market));
        wallet.fund(id, child, f);
    }
}
