// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";

contract RegisterProviderTest is Base {
    function test_RegistersOnceAndPublishesEachTime() external {
        vm.startPrank(stranger);
        vm.expectEmit();
        emit IAIPowerRental.ProviderAuthorized(stranger);
        vm.expectEmit();
        emit IAIPowerRental.EndpointUpdated(stranger, "http://a");
        market.registerProvider("http://a");
        assertTrue(market.isProvider(stranger));

        vm.recordLogs();
        market.registerProvider("http://b");
        assertEq(vm.getRecordedLogs().length, 1);
    }

    function test_RevertWhen_EndpointIsTooLong() external {
        string memory endpoint = string(new bytes(257));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.EndpointTooLong.selector, 257, 256));
        market.registerProvider(endpoint);
        market.registerProvider(string(new bytes(256)));
        assertTrue(market.isProvider(address(this)));
    }
}

contract SetOperatorTest is Base {
    function test_AllowsAndForbids() external {
        vm.startPrank(provider);
        vm.expectEmit();
        emit IAIPowerRental.OperatorUpdated(provider, stranger, true);
        market.setOperator(stranger, true);
        assertTrue(market.isOperator(provider, stranger));
        market.setOperator(stranger, false);
        assertFalse(market.isOperator(provider, stranger));
    }

    function test_RevertWhen_CallerIsNotProvider() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotProvider.selector, stranger));
        vm.prank(stranger);
        market.setOperator(operator, true);
    }
}
