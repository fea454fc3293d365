// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Offer} from "../../contracts/interfaces/Types.sol";

contract PostOfferTest is Base {
    uint40 private validUntil;

    function setUp() public override {
        super.setUp();
        validUntil = uint40(block.timestamp + 1 days);
    }

    function test_PullsBondsAndListsSlots() external {
        vm.expectEmit();
        emit IAIPowerRental.OfferPosted(1, provider, CLS, 3, 5, 7, 1 ether, validUntil);
        vm.prank(provider);
        assertEq(market.postOffer(CLS, 3, 5, 7, 1 ether, validUntil), 1);
        assertEq(token.balanceOf(address(market)), 5 ether);
        Offer memory o = market.offer(1);
        assertEq(abi.encode(o), abi.encode(Offer(provider, CLS, 3, 7, 5, 0, validUntil, 1 ether)));
    }

    function test_UsesCreditFirst() external {
        post();
        vm.startPrank(provider);
        market.closeOffer(offerId);
        uint96 credit = market.creditOf(provider);
        uint256 before = token.balanceOf(provider);
        market.postOffer(CLS, 1, 1, 0, credit + 5, validUntil);
        assertEq(market.creditOf(provider), 0);
        assertEq(token.balanceOf(provider), before - 5);
        assertEq(token.balanceOf(address(market)), credit + 5);
    }

    function test_NeedsNoTokensWhenCreditCovers() external {
        post();
        vm.startPrank(provider);
        market.closeOffer(offerId);
        token.approve(address(market), 0);
        uint96 credit = market.creditOf(provider);
        market.postOffer(CLS, 1, 1, 0, credit - 1, validUntil);
        assertEq(market.creditOf(provider), 1);
    }

    function test_RevertWhen_CallerIsNotProvider() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotProvider.selector, stranger));
        vm.prank(stranger);
        market.postOffer(CLS, 1, 1, 0, 1 ether, validUntil);
    }

    function test_RevertWhen_OfferIsEmptyOrPast() external {
        vm.startPrank(provider);
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        market.postOffer(CLS, 0, 1, 0, 1 ether, validUntil);
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        market.postOffer(CLS, 1, 0, 0, 1 ether, validUntil);
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        market.postOffer(CLS, 1, 1, 0, 1 ether, uint40(block.timestamp));
    }

    function test_RevertWhen_ClassIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClassUnknown.selector, 9));
        vm.prank(provider);
        market.postOffer(9, 1, 1, 0, 1 ether, validUntil);
    }

    function test_RevertWhen_BondIsTooSmall() external {
        uint96 minimum = escrow(50, timing.bondSeconds);
        vm.startPrank(provider);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BondTooSmall.selector, minimum - 1, minimum));
        market.postOffer(CLS, 1, 1, 50, minimum - 1, validUntil);
        market.postOffer(CLS, 1, 1, 50, minimum, validUntil);
    }

    function test_RevertGiven_TokenKeepsAPart() external {
        vm.mockCall(address(token), abi.encodeWithSelector(IERC20.transferFrom.selector), abi.encode(true));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, 1 ether, 0));
        vm.prank(provider);
        market.postOffer(CLS, 1, 1, 0, 1 ether, validUntil);
    }

    function test_NumbersOffersFromOneOn() external {
        vm.startPrank(provider);
        assertEq(market.postOffer(CLS, 1, 1, 0, 1 ether, uint40(block.timestamp + 1)), 1);
        assertEq(market.postOffer(CLS, 255, 2, 1, 2 ether, validUntil), 2);
        assertEq(
            abi.encode(market.offer(1)),
            abi.encode(Offer(provider, CLS, 1, 0, 1, 0, uint40(block.timestamp + 1), 1 ether))
        );
        assertEq(abi.encode(market.offer(2)), abi.encode(Offer(provider, CLS, 255, 1, 2, 0, validUntil, 2 ether)));
        assertEq(token.balanceOf(address(market)), 5 ether);
    }

    function test_RevertGiven_BondsExceedTheBalance() external {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, provider, 1000 ether, 1200 ether)
        );
        vm.prank(provider);
        market.postOffer(CLS, 1, 3, 0, 400 ether, validUntil);
    }

    /// @dev 65,535 slots of the greatest bond: the sum is not cut off.
    function test_RevertWhen_TheBondsDoNotFit() external {
        uint256 bonds = uint256(type(uint16).max) * type(uint96).max;
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, bonds));
        vm.prank(provider);
        market.postOffer(CLS, 1, type(uint16).max, 0, type(uint96).max, validUntil);
    }
}
