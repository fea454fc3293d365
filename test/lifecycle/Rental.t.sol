// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {Agreement, Status} from "../../contracts/interfaces/Types.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";

contract RentalTest is Base {
    /// @dev The whole way through the real forwarder, to the last token.
    function test_RentalFromBidToWithdrawal() external {
        uint96 held = escrow(TICK, DURATION);
        forwarder.execute(request(agentKey, abi.encodeCall(IAgentWallet.placeBid, (terms()))));
        uint96 id = idOf(BOOK(), TICK, 0);
        assertStatus(id, Status.Open);
        assertEq(wallet.reserved(), held);
        assertEq(token.balanceOf(address(market)), held);

        post();
        vm.prank(operator);
        assertEq(market.matchBest(offerId, BOOK(), 0, id), id);
        assertStatus(id, Status.Confirmed);
        startAs(operator, id);
        assertStatus(id, Status.Running);
        skip(100);
        submitAs(operator, id, 90);
        assertStatus(id, Status.Submitted);
        skip(timing.challengeWindow);
        vm.prank(stranger);
        assertEq(uint8(market.advance(id)), uint8(Status.Settled));

        uint96 gross = escrow(TICK, 90);
        Agreement memory a = market.agreement(id);
        assertEq(a.paid, gross);
        assertEq(market.creditOf(provider), gross - feeOf(gross));
        assertEq(market.creditOf(treasury), feeOf(gross));
        assertEq(keyCredit(), held - gross);
        // Until the wallet counts, it holds the whole reservation.
        assertEq(wallet.reserved(), held);
        assertEq(wallet.lifetimeSpent(), 0);
        assertEq(wallet.collect(agent), held - gross);
        assertEq(wallet.reserved(), 0);
        assertEq(wallet.lifetimeSpent(), gross);
        assertGe(wallet.spentInWindow(), gross);

        vm.prank(provider);
        market.closeOffer(offerId);
        vm.prank(provider);
        market.withdraw(provider);
        vm.prank(treasury);
        market.withdraw(treasury);
        assertEq(token.balanceOf(address(market)), 0);
        assertEq(token.balanceOf(provider), 1000 ether + gross - feeOf(gross));
        assertEq(token.balanceOf(address(wallet)), 1000 ether - gross);
    }
}
