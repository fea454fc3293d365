// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IForwarder, IWallet} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {BidTerms, KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @title Front-running
/// @notice The attack: somebody copies one request out of a relayer's pending batch and sends it first, so that the
/// batch fails; or creates somebody else's wallet first; or bids or matches just before a provider's match.
/// Why it fails: with a refund receiver the forwarder skips what was already sent; a wallet's address commits to all
/// its parameters, so that whoever creates it creates just that one; `expectedId` names the bid a provider will take.
/// Loss: none for the batch (the front-runner paid for the request it took).
contract FrontRunTest is Attack {
    function batchOf(uint256 count) private view returns (IForwarder.ForwardRequestData[] memory batch) {
        batch = new IForwarder.ForwardRequestData[](count);
        for (uint256 i; i < count; ++i) {
            batch[i] = request(agentKey, abi.encodeCall(IAgentWallet.placeBid, (terms())));
            batch[i].signature = sign(agentKey, requestDigest(batch[i], i));
        }
    }

    function test_ABatchGoesOnWithoutTheStolenRequest() external {
        IForwarder.ForwardRequestData[] memory batch = batchOf(4);
        vm.prank(rogue);
        forwarder.execute(batch[0]);
        vm.prank(stranger);
        forwarder.executeBatch(batch, payable(stranger));
        assertEq(market.level(BOOK(), TICK).live, 4, "each bid was placed once");
        assertEq(forwarder.nonces(agent), 4);
    }

    /// @dev Control, and why relayers must name a receiver.
    function test_RevertWhen_TheBatchHasNoRefundReceiver() external {
        IForwarder.ForwardRequestData[] memory batch = batchOf(4);
        vm.prank(rogue);
        forwarder.execute(batch[0]);
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.executeBatch(batch, payable(address(0)));
    }

    /// @dev Value sent along comes back to the receiver that the relayer named, and the thief gets none of it.
    function test_TheRefundGoesToTheReceiver() external {
        IForwarder.ForwardRequestData[] memory batch = batchOf(1);
        batch[0].value = 1 ether;
        batch[0].signature = sign(agentKey, requestDigest(batch[0], 0));
        vm.deal(address(this), 1 ether);
        // The wallet takes no value, so that the request fails and its nonce is used.
        forwarder.executeBatch{value: 1 ether}(batch, payable(stranger));
        assertEq(stranger.balance, 1 ether);
        assertEq(address(forwarder).balance, 0);
    }

    function test_AWalletCreatedByAnotherIsTheSame() external {
        address expected = factory.walletAddress(owner, "next", limits(), agent, policy());
        vm.prank(rogue);
        IWallet created = IWallet(factory.createWallet(owner, "next", limits(), agent, policy()));
        assertEq(address(created), expected);
        assertEq(created.owner(), owner);
        KeyPolicy memory p = policy();
        WalletLimits memory l = limits();
        vm.prank(owner);
        assertEq(factory.createWallet(owner, "next", l, agent, p), expected, "the late owner gets the same wallet");
        // Another owner, other limits: another address.
        vm.prank(rogue);
        assertNotEq(factory.createWallet(rogue, "next", limits(), agent, policy()), expected);
    }

    /// @dev Money sent to a wallet that does not exist yet stays reachable when its first key expires before it is created.
    function test_AWalletWhoseFirstKeyExpiredIsCreatedWithoutIt() external {
        KeyPolicy memory p = policy();
        WalletLimits memory l = limits();
        bytes32[2] memory salts = [bytes32("late"), "later"];
        for (uint256 i; i < salts.length; ++i) {
            token.mint(factory.walletAddress(owner, salts[i], l, agent, p), 1 ether);
            vm.warp(p.expiry + i);
            IWallet late = IWallet(factory.createWallet(owner, salts[i], l, agent, p));
            assertFalse(late.isActive(agent));
            vm.prank(owner);
            late.withdraw(owner, 1 ether);
            assertEq(token.balanceOf(owner), (i + 1) * 1 ether);
        }
    }

    function test_RevertWhen_InitialisedByAnother() external {
        KeyPolicy memory p = policy();
        address implementation = factory.implementation();
        vm.startPrank(rogue);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotFactory.selector, rogue));
        wallet.initialize(rogue, limits(), rogue, p);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotFactory.selector, rogue));
        IWallet(implementation).initialize(rogue, limits(), rogue, p);
        vm.stopPrank();
        vm.prank(address(factory));
        vm.expectRevert(IAgentWallet.AlreadyInitialized.selector);
        wallet.initialize(rogue, limits(), rogue, p);
        vm.prank(address(factory));
        vm.expectRevert(IAgentWallet.AlreadyInitialized.selector);
        IWallet(implementation).initialize(rogue, limits(), rogue, p);
    }

    /// @dev A better bid or a quicker rival between look and match: the provider gets nothing rather than another bid.
    function test_AProviderNeverTakesABidItDidNotMean() external {
        uint96 meant = place();
        post();
        BidTerms memory better = terms();
        better.tick = TICK + 1;
        place(better);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, meant), 0);
        postRogue(1);
        assertNotEq(matchAsRogue(better), 0);
        assertEq(matchAsOther(), meant);
        vm.prank(provider);
        assertEq(market.matchBest(offerId, BOOK(), 0, meant), 0);
        assertEq(market.offer(offerId).used, 0);
    }

    function matchAsOther() private returns (uint96) {
        postRogue(1);
        return matchAsRogue(terms());
    }
}
