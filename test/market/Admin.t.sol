// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Price} from "../../contracts/libraries/Price.sol";
import {BidTerms, KeyPolicy, Template} from "../../contracts/interfaces/Types.sol";

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
        // The greatest base whose price at tick 255 still fits, by bisection.
        uint256 fits = type(uint128).max / 200;
        uint256 above = type(uint128).max / 100;
        while (above - fits > 1) {
            uint256 middle = (fits + above) / 2;
            if (Price.ofTick(middle, 255) <= type(uint128).max) fits = middle;
            else above = middle;
        }
        vm.startPrank(admin);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, Price.ofTick(above, 255))
        );
        market.addClass(1, uint128(above));
        market.addClass(1, uint128(fits));
        assertEq(market.priceOf(1, 255), Price.ofTick(fits, 255));
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
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 0));
        market.addTemplate(9, 0, template);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 0));
        market.addTemplate(9, 1, template);
        market.addTemplate(9, 2, template);
    }

    function test_RevertWhen_NumberIsTooHigh() external {
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidTemplate.selector, 128, 127));
        market.addTemplate(128, 6, template);
        market.addTemplate(127, 6, template);
        market.addTemplate(0, 6, template);
    }

    /// @dev Bids of the classes in the mask, the first and the last included, may name it; others may not.
    function test_IsForTheClassesOfTheMaskAlone() external {
        vm.startPrank(admin);
        market.addClass(1, BASE_PRICE);
        market.addClass(31, BASE_PRICE);
        market.addTemplate(127, uint32(1) << 31 | 2, template);
        vm.stopPrank();
        KeyPolicy memory p = policy();
        p.classMask = type(uint32).max;
        p.maxTicks = type(uint256).max;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        BidTerms memory t = terms();
        t.templateId = 127;
        t.cls = 1;
        place(t);
        t.cls = 31;
        place(t);
        t.cls = CLS;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, 127, CLS));
        place(t);
        // Further templates, of the same class too, leave the first as it was.
        vm.startPrank(admin);
        market.addTemplate(9, uint32(1) << CLS, template);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateExists.selector, TEMPLATE));
        market.addTemplate(TEMPLATE, 2, template);
        vm.stopPrank();
        t.templateId = 9;
        place(t);
        t.templateId = TEMPLATE;
        place(t);
        t.cls = 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, TEMPLATE, 1));
        place(t);
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
        uint96 id = running();
        vm.prank(admin);
        market.setConfig(1000, treasury, arbiter, pauser);
        assertEq(market.agreement(id).feeBps, FEE_BPS);
        skip(100);
        submitAs(provider, id, 100);
        skip(timing.challengeWindow);
        market.advance(id);
        assertEq(market.creditOf(treasury), feeOf(escrow(TICK, 100)));
        assertEq(market.agreement(place()).feeBps, 1000);
    }

    /// @dev What a treasury earned stays its own, whoever follows, and comes together if it returns.
    function test_TreasuriesKeepWhatTheyEarned() external {
        address second = makeAddr("second");
        uint96 fee = feeOf(escrow(TICK, 100));
        settled();
        vm.prank(admin);
        market.setConfig(FEE_BPS, second, arbiter, pauser);
        assertEq(market.creditOf(treasury), fee);
        assertEq(market.creditOf(second), 0);
        settled();
        settled();
        assertEq(market.creditOf(treasury), fee);
        assertEq(market.creditOf(second), 2 * fee);
        vm.prank(admin);
        market.setConfig(FEE_BPS, treasury, arbiter, pauser);
        settled();
        assertEq(market.creditOf(treasury), 2 * fee);
        // Set once more, earlier and later earnings are one sum.
        vm.prank(admin);
        market.setConfig(FEE_BPS, treasury, arbiter, pauser);
        assertEq(market.creditOf(treasury), 2 * fee);
        vm.expectEmit();
        emit IAIPowerRental.Withdrawn(treasury, stranger, 2 * fee);
        vm.prank(treasury);
        assertEq(market.withdraw(stranger), 2 * fee);
        assertEq(market.creditOf(treasury), 0);
        vm.prank(second);
        assertEq(market.withdraw(second), 2 * fee);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NothingToWithdraw.selector, treasury));
        vm.prank(treasury);
        market.withdraw(stranger);
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
