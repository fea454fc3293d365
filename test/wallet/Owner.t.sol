// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Base} from "../Base.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract SetLimitsTest is Base {
    function test_ReplacesTheLimitsRoundedDown() external {
        vm.expectEmit();
        emit IAgentWallet.SpendingLimitUpdated(2 ether, 1 ether, 3 ether);
        vm.prank(owner);
        wallet.setLimits(WalletLimits(2 ether + 1, 1 ether + 2, 3 ether + 3));
        assertEq(abi.encode(wallet.limits()), abi.encode(WalletLimits(2 ether, 1 ether, 3 ether)));
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.setLimits(limits());
    }

    function test_RevertWhen_ALimitIsTooLarge() external {
        uint96 max = uint96(type(uint32).max) * 1e12;
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, max + 1e12, max));
        wallet.setLimits(WalletLimits(max + 1e12, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, max + 1e12, max));
        wallet.setLimits(WalletLimits(0, max + 1e12, 0));
        wallet.setLimits(WalletLimits(max, max, type(uint96).max));
        assertEq(abi.encode(wallet.limits()), abi.encode(WalletLimits(max, max, type(uint96).max / 1e12 * 1e12)));
    }
}

contract SetPausedTest is Base {
    function test_PausesAndResumes() external {
        vm.startPrank(owner);
        vm.expectEmit();
        emit IAgentWallet.PausedSet(true);
        wallet.setPaused(true);
        assertTrue(wallet.paused());
        assertEq(wallet.availableTo(agent), 0);
        wallet.setPaused(false);
        assertFalse(wallet.paused());
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.setPaused(true);
    }
}

contract AllowProviderTest is Base {
    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.allowProvider(provider, true);
    }

    function test_AListingKeyStartsOnlyWithAllowedProviders() external {
        KeyPolicy memory p = policy();
        p.providerList = true;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertFalse(wallet.mayStart(agent, agent, provider));
        vm.expectEmit();
        emit IAgentWallet.ProviderAllowed(provider, true);
        vm.prank(owner);
        wallet.allowProvider(provider, true);
        assertTrue(wallet.mayStart(agent, agent, provider));
        vm.prank(owner);
        wallet.allowProvider(provider, false);
        assertFalse(wallet.mayStart(agent, agent, provider));
        assertTrue(wallet.mayStart(agent, owner, provider));
    }
}

contract WithdrawTest is Base {
    function test_SendsTokens() external {
        vm.expectEmit();
        emit IAgentWallet.FundsWithdrawn(stranger, 7 ether);
        vm.prank(owner);
        wallet.withdraw(stranger, 7 ether);
        assertEq(token.balanceOf(stranger), 7 ether);
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.withdraw(agent, 1);
    }

    function test_RevertWhen_FundsAreTooFew() external {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, wallet, 1000 ether, 1000 ether + 1)
        );
        vm.prank(owner);
        wallet.withdraw(owner, 1000 ether + 1);
    }
}

contract OwnershipTest is Base {
    function test_MovesInTwoSteps() external {
        vm.expectEmit();
        emit IAgentWallet.OwnershipTransferStarted(owner, stranger);
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        assertEq(wallet.owner(), owner);
        vm.expectEmit();
        emit IAgentWallet.OwnershipTransferred(owner, stranger);
        vm.prank(stranger);
        wallet.acceptOwnership();
        assertEq(wallet.owner(), stranger);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, stranger));
        vm.prank(stranger);
        wallet.acceptOwnership();
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, stranger));
        vm.prank(stranger);
        wallet.transferOwnership(stranger);
    }

    function test_RevertWhen_AcceptedByAnother() external {
        vm.prank(owner);
        wallet.transferOwnership(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, agent));
        vm.prank(agent);
        wallet.acceptOwnership();
    }
}
