// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy} from "../../contracts/interfaces/Types.sol";

contract InitializeTest is Base {
    function test_RevertWhen_CallerIsNotTheFactory() external {
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotFactory.selector, owner));
        vm.prank(owner);
        wallet.initialize(owner, limits(), agent, p);
    }

    function test_RevertGiven_Initialised() external {
        KeyPolicy memory p = policy();
        vm.expectRevert(IAgentWallet.AlreadyInitialized.selector);
        vm.prank(address(factory));
        wallet.initialize(owner, limits(), agent, p);
    }

    function test_RevertGiven_Implementation() external {
        KeyPolicy memory p = policy();
        IWallet implementation = IWallet(factory.implementation());
        vm.expectRevert(IAgentWallet.AlreadyInitialized.selector);
        vm.prank(address(factory));
        implementation.initialize(owner, limits(), agent, p);
    }
}
