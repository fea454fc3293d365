// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAgentWalletFactory} from "../../contracts/interfaces/IAgentWalletFactory.sol";
import {WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @notice Limits count in millionths of a token, whatever its decimals are.
contract DecimalsTest is Base {
    /// @dev A wallet over a token that says it has `decimals`.
    function walletWith(uint8 decimals) private returns (IWallet) {
        vm.mockCall(address(token), abi.encodeWithSignature("decimals()"), abi.encode(decimals));
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        address other = address(deployMarket(address(token), next, timing));
        IAgentWalletFactory made = IAgentWalletFactory(
            deployCode("AgentWalletFactory.sol:AgentWalletFactory", abi.encode(other, address(forwarder)))
        );
        return IWallet(made.createWallet(owner, SALT, WalletLimits(0, 0, 0), address(0), policy()));
    }

    function check(uint8 decimals, uint96 unit) private {
        IWallet made = walletWith(decimals);
        uint96 max = uint96(type(uint32).max) * unit;
        vm.startPrank(owner);
        made.setLimits(WalletLimits(2 * unit - 1, unit, 3 * unit));
        assertEq(abi.encode(made.limits()), abi.encode(WalletLimits(unit, unit, 3 * unit)));
        made.setLimits(WalletLimits(max + unit - 1, max, 0));
        assertEq(made.limits().daily, max);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, max + unit, max));
        made.setLimits(WalletLimits(max + unit, 0, 0));
        vm.stopPrank();
    }

    function test_UpToSixDecimalsCountExactly() external {
        check(0, 1);
        check(6, 1);
    }

    function test_MoreAreRoundedToMillionths() external {
        check(7, 10);
        check(8, 100);
        check(18, 1e12);
    }

    /// @dev Only with few decimals can a lifetime be more than its field holds.
    function test_RevertWhen_TheLifetimeIsTooLarge() external {
        IWallet made = walletWith(6);
        uint96 max = type(uint64).max;
        vm.startPrank(owner);
        made.setLimits(WalletLimits(0, 0, max));
        assertEq(made.limits().lifetime, max);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.LimitTooLarge.selector, max + 1, max));
        made.setLimits(WalletLimits(0, 0, max + 1));
    }
}
