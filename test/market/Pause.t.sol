// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, Status} from "../../contracts/interfaces/Types.sol";

contract PauseTest is Base {
    function test_PauserAndAdminMaySwitch() external {
        vm.prank(pauser);
        market.pause();
        assertTrue(market.paused());
        vm.prank(admin);
        market.unpause();
        assertFalse(market.paused());
    }

    function test_RevertWhen_CallerIsNotPauser() external {
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotPauser.selector, stranger));
        market.pause();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotPauser.selector, stranger));
        market.unpause();
    }

    function test_RevertGiven_Paused_Entries() external {
        post();
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        vm.prank(pauser);
        market.pause();

        vm.expectRevert(Pausable.EnforcedPause.selector);
        place();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        market.placeBidWithSignature(b, signature);
        uint40 validUntil = uint40(block.timestamp + 1 days);
        vm.startPrank(provider);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        market.postOffer(CLS, 255, 1, 0, 1 ether, validUntil);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        market.matchBest(1, 1, 0, 0);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        market.matchBestBatch(1, 1, 0, 1);
    }

    function test_RunningRentalEndsGiven_Paused() external {
        uint96 id = running();
        vm.prank(pauser);
        market.pause();
        skip(50);
        submitAs(provider, id, 50);
        vm.prank(agent);
        wallet.dispute(id, 0);
        vm.prank(arbiter);
        market.resolve(id, 0, 0);
        vm.startPrank(provider);
        market.updateOffer(offerId, 1, uint40(block.timestamp + 1));
        market.closeOffer(offerId);
        market.withdraw(provider);
        vm.stopPrank();
        wallet.collect(agent);
        assertEq(token.balanceOf(address(market)), 0);
    }

    function test_StartDeclineCancelAndAdvanceGiven_Paused() external {
        uint96 first = matched();
        uint96 second = matched();
        uint96 third = matched();
        uint96 fourth = place();
        vm.prank(pauser);
        market.pause();
        startAs(provider, first);
        vm.prank(provider);
        market.decline(second);
        vm.prank(agent);
        wallet.cancelBid(third);
        skip(1 days);
        assertEq(uint8(market.advance(fourth)), uint8(Status.Expired));
        assertEq(uint8(market.advance(first)), uint8(Status.Failed));
    }
}
