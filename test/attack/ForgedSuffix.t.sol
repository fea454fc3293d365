// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IForwarder} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Funding, Status} from "../../contracts/interfaces/Types.sol";

/// @title Forged suffix, multicall suffix
/// @notice The attack: ERC-2771 reads the sender from the last 20 bytes of the calldata. A caller glues the owner's
/// address to its own call, hides it at the end of a forwarded call, or splits one forwarded call into several by a
/// multicall, each of which would carry bytes of the caller's choice.
/// Why it fails: the wallet reads the suffix only of calls that come from the forwarder, and the forwarder appends the
/// recovered signer last. There is no multicall, no delegatecall and no arbitrary call. The market trusts no forwarder.
/// Loss: none.
contract ForgedSuffixTest is Attack {
    uint256 private thiefKey;
    address private thief;

    function setUp() public override {
        super.setUp();
        (thief, thiefKey) = makeAddrAndKey("thief");
    }

    function withdrawal() private view returns (bytes memory) {
        return abi.encodeCall(IAgentWallet.withdraw, (thief, 1 ether));
    }

    function expectNotOwner(bytes memory data) private {
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, thief));
        vm.prank(thief);
        (bool reverted,) = address(wallet).call(data);
        assertTrue(reverted, "expectRevert turns the failure round");
    }

    /// @dev Control: from the forwarder the same bytes do act for the owner.
    function test_TheSuffixWorksFromTheForwarder() external {
        vm.prank(address(forwarder));
        (bool ok,) = address(wallet).call(abi.encodePacked(withdrawal(), owner));
        assertTrue(ok);
        assertEq(token.balanceOf(thief), 1 ether);
    }

    function test_RevertWhen_GluedToADirectCall() external {
        expectNotOwner(abi.encodePacked(withdrawal(), owner));
        expectNotOwner(abi.encodePacked(withdrawal(), address(forwarder), owner));
        expectNotOwner(abi.encodePacked(withdrawal(), bytes32(uint256(uint160(owner)))));
    }

    /// @dev The forwarder appends the signer behind the forged bytes.
    function test_RevertWhen_HiddenInAForwardedCall() external {
        IForwarder.ForwardRequestData memory r = request(thiefKey, abi.encodePacked(withdrawal(), owner));
        vm.expectCall(address(wallet), abi.encodePacked(withdrawal(), owner, thief));
        IForwarder.ForwardRequestData[] memory batch = new IForwarder.ForwardRequestData[](1);
        batch[0] = r;
        vm.expectEmit();
        emit IForwarder.ExecutedForwardRequest(thief, 0, false);
        vm.prank(thief);
        forwarder.executeBatch(batch, payable(thief));
        assertEq(token.balanceOf(thief), 0);
    }

    /// @dev `from` is signed for: naming the owner there needs the owner's signature.
    function test_RevertWhen_TheRequestNamesTheOwner() external {
        IForwarder.ForwardRequestData memory r = request(thiefKey, withdrawal());
        r.from = owner;
        r.signature = sign(thiefKey, requestDigest(r, 0));
        vm.expectRevert(abi.encodeWithSelector(IForwarder.ERC2771ForwarderInvalidSigner.selector, thief, owner));
        forwarder.execute(r);
    }

    /// @dev A forwarder that anybody can deploy is not the trusted one.
    function test_RevertWhen_TheForwarderIsAnother() external {
        IForwarder own = IForwarder(deployCode("ERC2771Forwarder.sol:ERC2771Forwarder", abi.encode("Own")));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotOwner.selector, address(own)));
        vm.prank(address(own));
        (bool reverted,) = address(wallet).call(abi.encodePacked(withdrawal(), owner));
        assertTrue(reverted);
    }

    /// @dev Hooks and EIP-1271 go by the raw sender.
    function test_RevertWhen_TheSuffixNamesTheMarket() external {
        Funding memory funding;
        bytes memory data = abi.encodeCall(IAgentWallet.fund, (1, agent, funding));
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotMarket.selector, address(forwarder)));
        vm.prank(address(forwarder));
        (bool reverted,) = address(wallet).call(abi.encodePacked(data, address(market)));
        assertTrue(reverted);
    }

    /// @dev In the market a suffix is mere padding: the bid belongs to whoever called.
    function test_RevertWhen_TheMarketGetsASuffix() external {
        uint96 id = place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotConsumer.selector, id, address(forwarder)));
        vm.prank(address(forwarder));
        (bool reverted,) =
            address(market).call(abi.encodePacked(abi.encodeCall(IAIPowerRental.cancel, (id)), address(wallet)));
        assertTrue(reverted);
        assertStatus(id, Status.Open);
    }

    /// @dev None of the usual ways to run several or arbitrary calls exists, on wallet or market, for the owner neither.
    function test_ThereIsNoMulticallAndNoArbitraryCall() external {
        bytes[] memory inner = new bytes[](1);
        inner[0] = abi.encodePacked(withdrawal(), owner);
        bytes[5] memory tries = [
            abi.encodeWithSignature("multicall(bytes[])", inner),
            abi.encodeWithSignature("execute(address,uint256,bytes)", address(token), 0, inner[0]),
            abi.encodeWithSignature("execute(bytes32,bytes)", bytes32(0), inner[0]),
            abi.encodeWithSignature("upgradeToAndCall(address,bytes)", address(token), inner[0]),
            abi.encodePacked(owner)
        ];
        for (uint256 i; i < tries.length; ++i) {
            vm.prank(owner);
            (bool ok, bytes memory result) = address(wallet).call(tries[i]);
            assertFalse(ok);
            assertEq(result.length, 0, "no such function");
            (ok, result) = address(market).call(tries[i]);
            assertFalse(ok);
            assertEq(result.length, 0, "no such function");
        }
        assertNoOpcode(factory.implementation().code, 0xf4);
        assertNoOpcode(address(market).code, 0xf4);
        // Control: a clone is a delegatecall to the implementation and little else.
        assertTrue(hasOpcode(address(wallet).code, 0xf4));
    }

    function assertNoOpcode(bytes memory code, uint8 opcode) private pure {
        assertFalse(hasOpcode(code, opcode));
    }

    function hasOpcode(bytes memory code, uint8 opcode) private pure returns (bool) {
        for (uint256 i; i < code.length; ++i) {
            uint8 op = uint8(code[i]);
            if (op == opcode) return true;
            if (op >= 0x60 && op <= 0x7f) i += op - 0x5f;
        }
        return false;
    }
}
