// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {Base} from "../Base.t.sol";
import {IForwarder} from "../Interfaces.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {KeyPolicy, Status} from "../../contracts/interfaces/Types.sol";

contract ForwarderTest is Base {
    function placeRequest() private view returns (IForwarder.ForwardRequestData memory) {
        return request(agentKey, abi.encodeCall(IAgentWallet.placeBid, (terms())));
    }

    function test_KeysAndOwnerActThroughIt() external {
        uint96 id = idOf(BOOK(), TICK, 0);
        vm.prank(stranger);
        forwarder.execute(placeRequest());
        assertStatus(id, Status.Open);
        assertEq(market.agreement(id).agent, agent);
        skip(timing.minBidLifetime);
        forwarder.execute(request(agentKey, abi.encodeCall(IAgentWallet.cancelBid, (id))));
        assertStatus(id, Status.Cancelled);
        forwarder.execute(request(ownerKey, abi.encodeCall(IAgentWallet.revokeAll, ())));
        assertFalse(wallet.isActive(agent));
    }

    function test_ABatchSkipsWhatFails() external {
        IForwarder.ForwardRequestData[] memory batch = new IForwarder.ForwardRequestData[](2);
        batch[0] = request(ownerKey, abi.encodeCall(IAgentWallet.placeBid, (terms())));
        batch[1] = placeRequest();
        vm.expectEmit();
        emit IForwarder.ExecutedForwardRequest(owner, 0, false);
        vm.expectEmit();
        emit IForwarder.ExecutedForwardRequest(agent, 0, true);
        forwarder.executeBatch(batch, payable(stranger));
    }

    /// @dev Every signed field changed after signing, once each.
    function test_RevertWhen_AnyFieldIsTamperedWith() external {
        IForwarder.ForwardRequestData memory original = placeRequest();
        assertTrue(forwarder.verify(original));
        for (uint256 field; field < 6; ++field) {
            IForwarder.ForwardRequestData memory r = abi.decode(abi.encode(original), (IForwarder.ForwardRequestData));
            if (field == 0) r.from = owner;
            if (field == 1) r.to = factory.createWallet(owner, "other", limits(), agent, policy());
            if (field == 2) r.value = 1;
            if (field == 3) r.gas -= 1;
            if (field == 4) r.deadline += 1;
            if (field == 5) r.data[r.data.length - 1] ^= 0x01;
            assertFalse(forwarder.verify(r));
            vm.deal(address(this), 1);
            vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
            forwarder.execute{value: r.value}(r);
        }
    }

    function test_RevertWhen_Replayed() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        forwarder.execute(r);
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.execute(r);
    }

    function test_RevertWhen_ReplayedOnAnotherChain() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        vm.chainId(block.chainid + 1);
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.execute(r);
    }

    function test_RevertWhen_Expired() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        skip(61);
        vm.expectRevert(abi.encodeWithSelector(IForwarder.ERC2771ForwarderExpiredRequest.selector, r.deadline));
        forwarder.execute(r);
    }

    /// @dev The market trusts no forwarder.
    function test_RevertWhen_TargetIsTheMarket() external {
        IForwarder.ForwardRequestData memory r = placeRequest();
        r.to = address(market);
        r.data = abi.encodeCall(IAIPowerRental.withdraw, (agent));
        r.signature = sign(agentKey, requestDigest(r, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IForwarder.ERC2771UntrustfulTarget.selector, address(market), address(forwarder))
        );
        forwarder.execute(r);
    }

    /// @dev An address glued to the calldata names nobody unless the forwarder sent it.
    function test_AForgedSuffixIsIgnored() external {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, stranger));
        vm.prank(stranger);
        (bool ok,) = address(wallet).call(abi.encodePacked(abi.encodeCall(IAgentWallet.revokeAll, ()), owner));
        assertTrue(ok);
    }

    function test_RevertGiven_TheInnerCallFails() external {
        vm.prank(owner);
        wallet.setPaused(true);
        IForwarder.ForwardRequestData memory r = placeRequest();
        vm.expectRevert(Errors.FailedCall.selector);
        forwarder.execute(r);
    }
}
