// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, KeyPolicy, Start, StartItem, Status} from "../../contracts/interfaces/Types.sol";

contract StartTest is Base {
    string private constant START_TYPE =
        "Start(uint96 agreementId,uint64 offerId,address provider,bytes32 specHash,uint40 deadline)";

    function digest(Start memory s) private view returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                "\x19\x01",
                domainSeparator("AIPowerRental", address(market)),
                keccak256(abi.encode(keccak256(bytes(START_TYPE)), s))
            )
        );
    }

    function expected(uint96 id) private view returns (Start memory) {
        return Start(id, offerId, provider, SPEC, market.agreement(id).deadline);
    }

    function test_RunsWithTheAgentsCountersignature() external {
        uint96 id = matched();
        uint40 end = uint40(block.timestamp) + DURATION;
        bytes memory signature = sign(agentKey, digest(expected(id)));
        vm.expectEmit();
        emit IAIPowerRental.AgreementStarted(id, uint40(block.timestamp), end, SPEC, IMAGE);
        vm.prank(operator);
        market.start(id, SPEC, IMAGE, signature);
        Agreement memory a = market.agreement(id);
        assertEq(uint8(a.status), uint8(Status.Running));
        assertEq(a.startOrBillable, block.timestamp);
        assertEq(a.deadline, end + timing.submitGrace);
    }

    function test_OwnerMayCountersign() external {
        uint96 id = matched();
        bytes memory signature = countersign(ownerKey, id);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        assertStatus(id, Status.Running);
    }

    /// @dev Every signed field other than the true one, once each.
    function test_RevertWhen_AnyFieldIsTamperedWith() external {
        uint96 id = matched();
        for (uint256 field; field < 5; ++field) {
            Start memory s = expected(id);
            if (field == 0) s.agreementId ^= 1;
            if (field == 1) s.offerId ^= 1;
            if (field == 2) s.provider = operator;
            if (field == 3) s.specHash ^= bytes32(uint256(1));
            if (field == 4) s.deadline ^= 1;
            bytes memory signature = sign(agentKey, digest(s));
            address signer = ecrecoverOf(market.startDigest(id, SPEC), signature);
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, signer));
            vm.prank(provider);
            market.start(id, SPEC, IMAGE, signature);
        }
    }

    function ecrecoverOf(bytes32 hash, bytes memory signature) private pure returns (address) {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(hash, uint8(signature[64]), r, s);
    }

    /// @dev The spec hash handed in is the signed one or nothing; the image is the provider's word alone.
    function test_RevertWhen_TheSpecIsAnother() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        address signer = ecrecoverOf(market.startDigest(id, RESULT), signature);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, signer));
        vm.prank(provider);
        market.start(id, RESULT, IMAGE, signature);
    }

    function test_RevertGiven_TheProviderIsNotOnTheKeysList() external {
        uint96 id = matched();
        KeyPolicy memory p = policy();
        p.providerList = true;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        bytes memory signature = countersign(agentKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, agent));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.prank(owner);
        wallet.allowProvider(provider, true);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
    }

    function test_DigestIsTheTypedOne() external {
        uint96 id = matched();
        assertEq(market.startDigest(id, SPEC), digest(expected(id)));
    }

    function test_RevertWhen_SignatureIsMalformed() external {
        uint96 id = matched();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, address(0)));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, "");
    }

    function test_RevertWhen_SignerMayNotAct() external {
        uint96 id = matched();
        (address other, uint256 otherKey) = makeAddrAndKey("other");
        bytes memory signature = countersign(otherKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, other));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.start(id, SPEC, IMAGE, signature);
    }

    function test_RevertGiven_DeadlinePassed() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        uint256 state = vm.snapshotState();
        vm.warp(deadline - 1);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.revertToState(state);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
    }

    function test_RevertGiven_NotConfirmed() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Open));
        market.start(id, SPEC, IMAGE, "");
        id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Running));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, "");
    }

    function test_RevertGiven_NotConfirmed_Digest() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Open));
        market.startDigest(id, SPEC);
    }
}

contract StartBatchTest is Base {
    /// @dev One cancelled, one badly signed, one good: only the good one starts and nothing reverts.
    function test_SkipsWhatOthersSpoiled() external {
        StartItem[] memory items = new StartItem[](3);
        for (uint256 i; i < 3; ++i) {
            uint96 id = matched();
            items[i] = StartItem(id, SPEC, IMAGE, countersign(i == 1 ? ownerKey + 1 : agentKey, id));
        }
        vm.prank(agent);
        wallet.cancelBid(items[0].agreementId);
        vm.prank(operator);
        market.startBatch(items);
        assertStatus(items[0].agreementId, Status.Cancelled);
        assertStatus(items[1].agreementId, Status.Confirmed);
        assertStatus(items[2].agreementId, Status.Running);

        // In time the second would start after all; a second late it is skipped.
        items[1].countersignature = countersign(agentKey, items[1].agreementId);
        vm.warp(block.timestamp + timing.startDeadline);
        vm.prank(operator);
        market.startBatch(items);
        assertStatus(items[1].agreementId, Status.Confirmed);
        vm.warp(block.timestamp - 1);
        vm.prank(operator);
        market.startBatch(items);
        assertStatus(items[1].agreementId, Status.Running);
    }

    /// @dev Each item carries its own spec and image.
    function test_EmitsEachItemsHashes() external {
        StartItem[] memory items = new StartItem[](2);
        for (uint256 i; i < 2; ++i) {
            bytes32 specHash = keccak256(abi.encode("spec", i));
            uint96 id = matched();
            items[i] = StartItem(
                id, specHash, keccak256(abi.encode("image", i)), sign(agentKey, market.startDigest(id, specHash))
            );
        }
        uint40 end = uint40(block.timestamp) + DURATION;
        for (uint256 i; i < 2; ++i) {
            vm.expectEmit();
            emit IAIPowerRental.AgreementStarted(
                items[i].agreementId, uint40(block.timestamp), end, items[i].specHash, items[i].imageDigest
            );
        }
        vm.prank(operator);
        market.startBatch(items);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        StartItem[] memory items = new StartItem[](1);
        uint96 id = matched();
        items[0] = StartItem(id, SPEC, IMAGE, countersign(agentKey, id));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.startBatch(items);
    }
}
