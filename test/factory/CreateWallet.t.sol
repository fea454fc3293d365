// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAgentWalletFactory} from "../../contracts/interfaces/IAgentWalletFactory.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

contract CreateWalletTest is Base {
    function test_CreatesAtTheAddressThatCommitsToEverything() external {
        KeyPolicy memory p = policy();
        address expected = factory.walletAddress(stranger, "s", limits(), agent, p);
        assertFalse(factory.isWallet(expected));
        vm.expectEmit(address(factory));
        emit IAgentWalletFactory.AgentRegistered(expected, stranger, agent, "s");
        vm.expectEmit(expected);
        emit IAgentWallet.OwnershipTransferred(address(0), stranger);
        vm.expectEmit(expected);
        emit IAgentWallet.SpendingLimitUpdated(100 ether, 50 ether, 1000 ether);
        vm.expectEmit(expected);
        emit IAgentWallet.AgentAuthorized(
            agent, address(0), p.expiry, p.perBid, p.daily, p.lifetime, p.maxTicks, p.classMask, 15, false
        );
        IWallet created = IWallet(factory.createWallet(stranger, "s", limits(), agent, p));
        assertEq(address(created), expected);
        assertTrue(factory.isWallet(expected));
        assertEq(created.owner(), stranger);
        assertEq(created.market(), address(market));
        assertEq(created.token(), address(token));
        assertTrue(created.isTrustedForwarder(address(forwarder)));
        assertTrue(created.isActive(agent));
        assertEq(abi.encode(created.limits()), abi.encode(limits()));
    }

    function test_CreatesWithoutAKey() external {
        KeyPolicy memory none;
        IWallet created = IWallet(factory.createWallet(stranger, "s", limits(), address(0), none));
        assertFalse(created.isActive(address(0)));
    }

    function test_EveryArgumentChangesTheAddress() external view {
        address first = factory.walletAddress(owner, SALT, limits(), agent, policy());
        assertEq(first, address(wallet));
        assertNotEq(factory.walletAddress(stranger, SALT, limits(), agent, policy()), first);
        assertNotEq(factory.walletAddress(owner, "x", limits(), agent, policy()), first);
        WalletLimits memory l = limits();
        l.daily++;
        assertNotEq(factory.walletAddress(owner, SALT, l, agent, policy()), first);
        l = limits();
        l.perBid++;
        assertNotEq(factory.walletAddress(owner, SALT, l, agent, policy()), first);
        l = limits();
        l.lifetime++;
        assertNotEq(factory.walletAddress(owner, SALT, l, agent, policy()), first);
        assertNotEq(factory.walletAddress(owner, SALT, limits(), stranger, policy()), first);
        for (uint256 field; field < 8; ++field) {
            KeyPolicy memory p = policy();
            if (field == 0) p.expiry++;
            if (field == 1) p.permissions--;
            if (field == 2) p.classMask++;
            if (field == 3) p.providerList = true;
            if (field == 4) p.daily++;
            if (field == 5) p.perBid++;
            if (field == 6) p.lifetime++;
            if (field == 7) p.maxTicks++;
            assertNotEq(factory.walletAddress(owner, SALT, limits(), agent, p), first);
        }
    }

    function test_RevertWhen_OwnerIsZero() external {
        KeyPolicy memory p = policy();
        vm.expectRevert(IAgentWalletFactory.ZeroOwner.selector);
        factory.createWallet(address(0), SALT, limits(), agent, p);
    }

    /// @dev Whoever comes second gets the same wallet and changes nothing in it.
    function test_ReturnsTheOneThereIs() external {
        KeyPolicy memory p = policy();
        vm.prank(owner);
        wallet.revokeAgent(agent);
        vm.recordLogs();
        vm.prank(stranger);
        assertEq(factory.createWallet(owner, SALT, limits(), agent, p), address(wallet));
        assertEq(vm.getRecordedLogs().length, 0);
        assertFalse(wallet.isActive(agent));
    }
}

contract IsWalletTest is Base {
    function test_OthersAreNot() external {
        assertFalse(factory.isWallet(stranger));
        assertFalse(factory.isWallet(address(market)));
        assertFalse(factory.isWallet(factory.implementation()));
        // The same code at another address: a copy that anybody could deploy.
        vm.etch(stranger, address(wallet).code);
        assertFalse(factory.isWallet(stranger));
        assertFalse(factory.isWallet(address(0)));
        // Nor is another factory's clone.
        vm.etch(address(wallet), abi.encodePacked(address(wallet).code, uint8(0)));
        assertFalse(factory.isWallet(address(wallet)));
    }
}

contract FactoryConstructorTest is Base {
    function test_RevertWhen_MarketNamesAnotherFactory() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWalletFactory.MarketMismatch.selector, address(market)));
        deployCode("AgentWalletFactory.sol:AgentWalletFactory", abi.encode(address(market), address(forwarder)));
    }

    function test_RevertWhen_TokenHasTooManyDecimals() external {
        vm.mockCall(address(token), abi.encodeWithSignature("decimals()"), abi.encode(19));
        vm.mockCall(
            address(market),
            abi.encodeWithSignature("factory()"),
            abi.encode(vm.computeCreateAddress(address(this), vm.getNonce(address(this))))
        );
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.UnsupportedDecimals.selector, 19));
        deployCode("AgentWalletFactory.sol:AgentWalletFactory", abi.encode(address(market), address(forwarder)));
    }
}
