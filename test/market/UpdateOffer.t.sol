// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Offer, Status} from "../../contracts/interfaces/Types.sol";

contract UpdateOfferTest is Base {
    function test_ChangesReserveAndValidity() external {
        post();
        uint40 validUntil = uint40(block.timestamp + 9);
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, SLOTS, 33, validUntil, true, 0);
        vm.prank(operator);
        market.updateOffer(offerId, 33, validUntil);
        Offer memory o = market.offer(offerId);
        assertEq(o.reserveTick, 33);
        assertEq(o.validUntil, validUntil);
    }

    function test_RevertWhen_OfferIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferUnknown.selector, 9));
        market.updateOffer(9, 0, 0);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        post();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.updateOffer(offerId, 0, 0);
    }

    function test_RevertWhen_ValidityIsPast() external {
        post();
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        vm.prank(provider);
        market.updateOffer(offerId, 0, uint40(block.timestamp));
    }

    function test_RevertWhen_ReserveOutgrowsTheBond() external {
        post();
        uint96 perSlot = bond();
        uint96 minimum = escrow(255, timing.bondSeconds);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BondTooSmall.selector, perSlot, minimum));
        vm.prank(provider);
        market.updateOffer(offerId, 255, uint40(block.timestamp + 1));
    }

    function test_RevertGiven_Closed() external {
        post();
        vm.startPrank(provider);
        market.closeOffer(offerId);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferInactive.selector, offerId));
        market.updateOffer(offerId, 0, uint40(block.timestamp + 1));
    }

    function test_TheBondMustReachTheReserve() external {
        uint96 minimum = escrow(50, timing.bondSeconds);
        uint96 above = escrow(51, timing.bondSeconds);
        uint40 validUntil = uint40(block.timestamp + 1);
        vm.startPrank(provider);
        uint64 id = market.postOffer(CLS, 1, 1, 0, minimum, validUntil);
        market.updateOffer(id, 50, validUntil);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BondTooSmall.selector, minimum, above));
        market.updateOffer(id, 51, validUntil);
    }

    /// @dev Run out is not closed.
    function test_RevivesAnOfferThatRanOut() external {
        post();
        uint96 id = place();
        vm.warp(NOW + 30 days);
        vm.startPrank(provider);
        market.updateOffer(offerId, 0, uint40(block.timestamp + 1));
        vm.warp(NOW + 30 days);
        assertEq(market.matchBest(offerId, BOOK(), 0, 0), 0);
        assertStatus(id, Status.Expired);
    }
}
