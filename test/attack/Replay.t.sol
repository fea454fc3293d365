// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Attack} from "./Attack.t.sol";
import {IForwarder, IMarket, IWallet} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, Status} from "../../contracts/interfaces/Types.sol";

/// @title Replay: again, on another chain, at another contract
/// @notice The attack: a relayer that saw a signed request, bid or countersignature sends it twice, on a fork of the
/// chain, or to a second deployment of the same contracts.
/// Why it fails: requests and bids consume nonces (a bid's per key); every digest holds the chain and the verifying
/// contract, and a bid also its wallet; a countersignature names one agreement, its offer and its deadline.
/// Loss: none. Each test sends the same bytes once with success first, or restores what it changed and then succeeds.
contract ReplayTest is Attack {
    function placeRequest() private view returns (IForwarder.ForwardRequestData memory) {
        return request(agentKey, abi.encodeCall(IAgentWallet.placeBid, (terms())));
    }

    function test_RevertWhen_ARequestIsSentTwice() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        forwarder.execute(r);
        assertEq(market.level(BOOK(), TICK).live, 1, "the first time works");
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.execute(r);
        assertEq(market.level(BOOK(), TICK).live, 1);
    }

    function test_RevertWhen_ARequestCrossesChains() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.execute(r);
        vm.chainId(home);
        forwarder.execute(r);
    }

    function test_RevertWhen_ARequestGoesToAnotherForwarder() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        IForwarder other =
            IForwarder(deployCode("ERC2771Forwarder.sol:ERC2771Forwarder", abi.encode("OpenClawForwarder")));
        vm.expectRevert(
            abi.encodeWithSelector(IForwarder.ERC2771UntrustfulTarget.selector, address(wallet), address(other))
        );
        other.execute(r);
        forwarder.execute(r);
    }

    function test_RevertWhen_ASignedBidIsSentTwice() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        market.placeBidWithSignature(b, signature);
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, address(wallet), b.nonce + 1));
        market.placeBidWithSignature(b, signature);
        // Nor with the nonce that is due, which was not signed.
        b.nonce += 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(wallet), agent));
        market.placeBidWithSignature(b, signature);
    }

    function test_RevertWhen_ASignedBidCrossesChains() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(wallet), agent));
        market.placeBidWithSignature(b, signature);
        // Nor does it help to present the separator of the chain at hand.
        vm.chainId(home);
        bytes memory inner = sign(agentKey, nestedDigest(b, address(wallet)));
        vm.chainId(home + 1);
        bytes memory moved = nest(b, agent, inner);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(wallet), agent));
        market.placeBidWithSignature(b, moved);
        vm.chainId(home);
        market.placeBidWithSignature(b, signature);
    }

    /// @dev A second market with wallets of its own: neither the wallet nor the signature is good there.
    function test_RevertWhen_ASignedBidGoesToAnotherMarket() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        IMarket first = market;
        IWallet home = wallet;
        redeploy(address(token));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, address(home)));
        market.placeBidWithSignature(b, signature);
        b.wallet = address(wallet);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(wallet), agent));
        market.placeBidWithSignature(b, signature);
        b.wallet = address(home);
        first.placeBidWithSignature(b, signature);
    }

    function test_RevertWhen_ACountersignatureServesTwice() external {
        uint96 first = matched();
        bytes memory signature = countersign(agentKey, first);
        vm.startPrank(provider);
        market.start(first, SPEC, IMAGE, signature);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, first, Status.Running));
        market.start(first, SPEC, IMAGE, signature);
        vm.stopPrank();
        // The next rental of the same key at the same offer in the same second needs its own.
        uint96 second = matched();
        vm.expectPartialRevert(IAIPowerRental.InvalidStartSignature.selector);
        vm.prank(provider);
        market.start(second, SPEC, IMAGE, signature);
        startAs(provider, second);
    }

    function test_RevertWhen_ACountersignatureCrossesChains() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        vm.expectPartialRevert(IAIPowerRental.InvalidStartSignature.selector);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.chainId(home);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
    }
}
