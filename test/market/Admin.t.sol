// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Template} from "../../contracts/interfaces/Types.sol";

contract AddClassTest is Base {
    function test_AddsAClassOnce() external {
        vm.expectEmit();
        emit IAIPowerRental.ClassAdded(31, 5e18);
        vm.prank(admin);
        market.addClass(31, 5e18);
        assertEq(market.classBase(31), 5e18);
        assertEq(market.priceOf(31, 0), 5e18);
    }

    function test_RevertWhen_CallerIsNotAdmin() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        market.addClass(1, 1e18);
    }

    function test_RevertWhen_ClassIsOutOfRange() external {
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 0));
        market.addClass(0, 1e18);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 32));
        market.addClass(32, 1e18);
    }

    function test_RevertWhen_BaseIsTooLowForDistinctTicks() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 1));
        vm.prank(admin);
        market.addClass(1, 99);
    }

    function test_LowestBaseKeepsAllTicksIncreasing() external {
        vm.prank(admin);
        market.addClass(1, 100);
        for (uint256 tick = 1; tick < 256; ++tick) {
            assertGt(market.priceOf(1, uint8(tick)), market.priceOf(1, uint8(tick - 1)));
        }
    }

    function test_RevertWhen_DearestPriceDoesNotFit() external {
        vm.expectPartialRevert(SafeCast.SafeCastOverflowedUintDowncast.selector);
        vm.prank(admin);
        market.addClass(1, type(uint128).max / 100);
    }

    function test_RevertGiven_ClassExists() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClassExists.selector, CLS));
        vm.prank(admin);
        market.addClass(CLS, 1e18);
    }
}

contract AddTemplateTest is Base {
    Template private template = Template(1, 2, 3, true, IMAGE);

    function test_AddsATemplate() external {
        vm.expectEmit();
        emit IAIPowerRental.TemplateAdded(9, 6, template);
        vm.prank(admin);
        market.addTemplate(9, 6, template);
    }

    function test_RevertWhen_CallerIsNotAdmin() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        market.addTemplate(9, 6, template);
    }

    function test_RevertWhen_NoClassIsAllowed() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 0));
        vm.prank(admin);
        market.addTemplate(9, 0, template);
    }

    function test_RevertGiven_TemplateExists() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateExists.selector, TEMPLATE));
        vm.prank(admin);
        market.addTemplate(TEMPLATE, 6, template);
    }
}

contract SetConfigTest is Base {
    function test_ReplacesTheSettings() external {
        vm.expectEmit();
        emit IAIPowerRental.ConfigUpdated(1000, admin, owner, agent);
        vm.prank(admin);
        market.setConfig(1000, admin, owner, agent);
        (uint16 fee, address t, address a, address p) = market.config();
        assertEq(abi.encode(fee, t, a, p), abi.encode(1000, admin, owner, agent));
    }

    function test_FeeIsFrozenInBids() external {
        uint96 id = place();
        vm.prank(admin);
        market.setConfig(1000, treasury, arbiter, pauser);
        assertEq(market.agreement(id).feeBps, FEE_BPS);
    }

    function test_RevertWhen_CallerIsNotAdmin() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        market.setConfig(0, treasury, arbiter, pauser);
    }

    function test_RevertWhen_FeeIsTooHigh() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.FeeTooHigh.selector, 1001, 1000));
        vm.prank(admin);
        market.setConfig(1001, treasury, arbiter, pauser);
    }

    function test_RevertWhen_AnAddressIsZero() external {
        vm.startPrank(admin);
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        market.setConfig(0, address(0), arbiter, pauser);
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        market.setConfig(0, treasury, address(0), pauser);
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        market.setConfig(0, treasury, arbiter, address(0));
    }
}
