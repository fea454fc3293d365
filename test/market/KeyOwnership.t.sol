// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Bid, BidTerms} from "../../contracts/interfaces/Types.sol";

/// @notice A key belongs for good to the wallet it first bids for.
contract KeyOwnershipTest is Base {
    IWallet private other;

    function setUp() public override {
        super.setUp();
        other = IWallet(factory.createWallet(stranger, SALT, limits(), agent, policy()));
        token.mint(address(other), 100 ether);
    }

    function expectOwned() private {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.KeyOfAnotherWallet.selector, agent, address(wallet)));
    }

    function test_RevertGiven_TheKeyBidForAnother() external {
        assertEq(market.keyAccount(agent).wallet, address(0));
        assertEq(other.availableTo(agent), 20 ether);
        place();
        assertEq(market.keyAccount(agent).wallet, address(wallet));
        assertEq(other.availableTo(agent), 0);
        BidTerms memory t = terms();
        expectOwned();
        vm.prank(agent);
        other.placeBid(t);
        Bid memory b = bidOf(t, address(other), agent);
        bytes memory signature = signBid(agentKey, b);
        expectOwned();
        market.placeBidWithSignature(b, signature);
    }

    /// @dev Neither revoking nor the end of its bids sets it free.
    function test_RevertGiven_TheKeyIsDeadAndPaidOut() external {
        settled();
        wallet.collect(agent);
        vm.prank(owner);
        wallet.revokeAgent(agent);
        BidTerms memory t = terms();
        expectOwned();
        vm.prank(agent);
        other.placeBid(t);
    }

    /// @dev A bid that fails binds nothing, nor does an authorisation: nobody can take a key by naming it.
    function test_AFailedBidBindsNothing() external {
        vm.prank(owner);
        wallet.setPaused(true);
        vm.expectRevert(IAgentWallet.WalletPaused.selector);
        place();
        assertEq(market.keyAccount(agent).wallet, address(0));
        BidTerms memory t = terms();
        vm.prank(agent);
        other.placeBid(t);
        assertEq(market.keyAccount(agent).wallet, address(other));
    }

    function test_ASignedBidBindsToo() external {
        Bid memory b = bidOf(terms(), address(other), agent);
        market.placeBidWithSignature(b, signBid(agentKey, b));
        assertEq(market.keyAccount(agent).wallet, address(other));
        (address wallet_, address agent_) = market.partiesOf(idOf(BOOK(), TICK, 0));
        assertEq(wallet_, address(other));
        assertEq(agent_, agent);
    }

    /// @dev The other wallet's keys can neither cancel nor dispute what is not its own.
    function test_RevertWhen_AnotherWalletCancels() external {
        uint96 id = place();
        skip(timing.minBidLifetime);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, id, address(other)));
        vm.prank(address(other));
        market.cancel(id);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, id));
        vm.prank(agent);
        other.cancelBid(id);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, id));
        vm.prank(agent);
        other.dispute(id, 0);
    }
}
