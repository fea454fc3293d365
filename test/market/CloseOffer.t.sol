// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Offer} from "../../contracts/interfaces/Types.sol";

contract CloseOfferTest is Base {
    function test_CreditsFreeSlotsNowAndHeldOnesLater() external {
        uint96 perSlot = bond();
        uint96 id = running();
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, 1, 0, 0, false, perSlot * (SLOTS - 1));
        vm.prank(operator);
        market.closeOffer(offerId);
        assertEq(market.creditOf(provider), perSlot * (SLOTS - 1));
        Offer memory o = market.offer(offerId);
        assertEq(o.validUntil, 0);
        assertEq(o.slots, 1);
        assertEq(o.used, 1);

        skip(10);
        submitAs(provider, id, 10);
        skip(timing.challengeWindow);
        vm.expectEmit();
        emit IAIPowerRental.OfferUpdated(offerId, 0, 0, 0, false, perSlot);
        market.advance(id);
        uint96 gross = escrow(TICK, 10);
        assertEq(market.creditOf(provider), perSlot * SLOTS + gross - feeOf(gross));
        assertEq(market.offer(offerId).slots, 0);
    }

    function test_RevertWhen_OfferIsUnknown() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferUnknown.selector, 9));
        market.closeOffer(9);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        post();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.closeOffer(offerId);
    }

    function test_RevertGiven_Closed() external {
        post();
        vm.startPrank(provider);
        market.closeOffer(offerId);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.OfferInactive.selector, offerId));
        market.closeOffer(offerId);
    }
}
