// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy} from "../../contracts/interfaces/Types.sol";

/// @title Key theft, paid by cancelling
/// @notice The attack: a thief with a session key's permission to cancel bids for the minimum time at the dearest tick,
/// matches with a provider of its own and cancels. If cancelling paid the provider, no countersignature (and so no
/// provider list) and no challenge window (and so no veto of the owner) would stand between the thief and the money.
contract KeyTheftCancelTest is Attack {
    function setUp() public override {
        super.setUp();
        postRogue(200);
    }

    function shortest() private view returns (BidTerms memory t) {
        t = terms();
        t.tick = 200;
        t.maxDuration = uint24(timing.minBilled);
    }

    /// @dev The thief's provider is not on the list, so that it must get nothing.
    function test_CancellingBeforeTheStartPaysNoUnlistedProvider() external {
        KeyPolicy memory p = policy();
        p.providerList = true;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        BidTerms memory t = shortest();
        for (uint256 i; i < 20; ++i) {
            vm.prank(agent);
            wallet.placeBid(t);
            uint96 id = matchAsRogue(t);
            vm.prank(agent);
            wallet.cancelBid(id);
        }
        assertEq(market.creditOf(rogue), 0, "paid without a countersignature");
    }

    /// @dev A match that overtakes the cancel of an open bid must not earn the provider anything either.
    function test_AMatchThatOvertakesACancelEarnsNothing() external {
        BidTerms memory t = terms();
        place(t);
        skip(timing.minBidLifetime);
        uint96 id = matchAsRogue(t);
        vm.prank(agent);
        wallet.cancelBid(id);
        assertEq(market.creditOf(rogue), 0, "paid for a start that never came");
    }

    /// @dev What a session key ends early must leave the owner's veto in place.
    function test_AKeysCancelWhileRunningLeavesTheOwnerItsVeto() external {
        BidTerms memory t = shortest();
        vm.prank(agent);
        wallet.placeBid(t);
        uint96 id = matchAsRogue(t);
        bytes memory signature = countersign(agentKey, id);
        vm.prank(rogue);
        market.start(id, SPEC, IMAGE, signature);
        vm.prank(agent);
        try wallet.cancelBid(id) {} catch {}
        assertEq(market.creditOf(rogue), 0, "paid at once");
    }
}
