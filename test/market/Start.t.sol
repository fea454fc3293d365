// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, BidTerms, Start, Status} from "../../contracts/interfaces/Types.sol";

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
        emit IAIPowerRental.AgreementStarted(id, uint40(block.timestamp), end, IMAGE);
        vm.prank(operator);
        market.start(id, IMAGE, signature);
        Agreement memory a = market.agreement(id);
        assertEq(uint8(a.status), uint8(Status.Running));
        assertEq(a.startOrBillable, block.timestamp);
        assertEq(a.deadline, end + timing.submitGrace);
    }

    function test_OwnerMayCountersign() external {
        uint96 id = matched();
        bytes memory signature = countersign(ownerKey, id);
        vm.prank(provider);
        market.start(id, IMAGE, signature);
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
            address signer = ecrecoverOf(market.startDigest(id), signature);
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, signer));
            vm.prank(provider);
            market.start(id, IMAGE, signature);
        }
    }

    function ecrecoverOf(bytes32 hash, bytes memory signature) private pure returns (address) {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(hash, uint8(signature[64]), r, s);
    }

    function test_RevertWhen_SignatureIsMalformed() external {
        uint96 id = matched();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, address(0)));
        vm.prank(provider);
        market.start(id, IMAGE, "");
    }

    function test_RevertWhen_SignerMayNotAct() external {
        uint96 id = matched();
        (address other, uint256 otherKey) = makeAddrAndKey("other");
        bytes memory signature = countersign(otherKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, other));
        vm.prank(provider);
        market.start(id, IMAGE, signature);
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.start(id, IMAGE, signature);
    }

    function test_RevertGiven_DeadlinePassed() external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        uint40 deadline = uint40(block.timestamp) + timing.startDeadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TooLate.selector, id, deadline));
        vm.prank(provider);
        market.start(id, IMAGE, signature);
    }

    function test_RevertGiven_NotConfirmed() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Open));
        market.start(id, IMAGE, "");
        id = running();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Running));
        vm.prank(provider);
        market.start(id, IMAGE, "");
    }

    function test_RevertGiven_NotConfirmed_Digest() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, id, Status.Open));
        market.startDigest(id);
    }
}

contract StartBatchTest is Base {
    /// @dev One cancelled, one badly signed, one good: only the good one starts and nothing reverts.
    function test_SkipsWhatOthersSpoiled() external {
        uint96[] memory ids = new uint96[](3);
        bytes[] memory signatures = new bytes[](3);
        for (uint256 i; i < 3; ++i) {
            ids[i] = matched();
            signatures[i] = countersign(i == 1 ? ownerKey + 1 : agentKey, ids[i]);
        }
        vm.prank(agent);
        wallet.cancelBid(ids[0]);
        vm.prank(operator);
        market.startBatch(ids, IMAGE, signatures);
        assertStatus(ids[0], Status.Cancelled);
        assertStatus(ids[1], Status.Confirmed);
        assertStatus(ids[2], Status.Running);

        vm.warp(block.timestamp + timing.startDeadline);
        vm.prank(operator);
        market.startBatch(ids, IMAGE, signatures);
        assertStatus(ids[1], Status.Confirmed);
    }

    function test_RevertWhen_LengthsDiffer() external {
        vm.expectRevert(IAIPowerRental.LengthMismatch.selector);
        market.startBatch(new uint96[](1), IMAGE, new bytes[](2));
    }

    function test_RevertWhen_CallerIsNotOperator() external {
        uint96[] memory ids = new uint96[](1);
        bytes[] memory signatures = new bytes[](1);
        ids[0] = matched();
        signatures[0] = countersign(agentKey, ids[0]);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotOperator.selector, offerId, stranger));
        vm.prank(stranger);
        market.startBatch(ids, IMAGE, signatures);
    }
}
