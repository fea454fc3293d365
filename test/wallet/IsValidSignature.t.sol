// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {Bid, KeyPolicy} from "../../contracts/interfaces/Types.sol";

contract IsValidSignatureTest is Base {
    bytes4 private constant MAGIC = 0x1626ba7e;
    bytes4 private constant INVALID = 0xffffffff;
    Bid private b;
    bytes32 private digest;
    bytes private signature;

    function setUp() public override {
        super.setUp();
        b = bid();
        digest = market.bidDigest(b);
        signature = signBid(agentKey, b);
    }

    function ask(bytes32 hash, bytes memory blob) private returns (bytes4) {
        vm.prank(address(market));
        return wallet.isValidSignature(hash, blob);
    }

    function test_AnswersTheMarketAlone() external {
        assertEq(ask(digest, signature), MAGIC);
        assertEq(wallet.isValidSignature(digest, signature), INVALID);
        vm.prank(address(forwarder));
        assertEq(wallet.isValidSignature(digest, signature), INVALID);
        // Not even the probe for ERC-7739 support.
        assertEq(
            wallet.isValidSignature(0x7739773977397739773977397739773977397739773977397739773977397739, ""), INVALID
        );
    }

    function test_RefusesAnotherDigest() external {
        assertEq(ask(keccak256("other"), signature), INVALID);
    }

    /// @dev Every byte of the agent and the signature counts, and so does every part of the blob.
    function test_RefusesAnyFlippedByte() external {
        for (uint256 i; i < signature.length; ++i) {
            bytes memory changed = signature;
            changed[i] ^= 0x01;
            assertEq(ask(digest, changed), INVALID, vm.toString(i));
        }
    }

    function test_RefusesEveryShorterBlob() external {
        for (uint256 length; length < signature.length; ++length) {
            bytes memory shorter = new bytes(length);
            for (uint256 i; i < length; ++i) {
                shorter[i] = signature[i];
            }
            assertEq(ask(digest, shorter), INVALID, vm.toString(length));
        }
    }

    function test_RefusesAPlainSignatureOfTheDigest() external {
        assertEq(ask(digest, abi.encodePacked(agent, sign(agentKey, digest))), INVALID);
        assertEq(ask(digest, nest(b, agent, sign(agentKey, digest))), INVALID);
    }

    /// @dev A key that signs, nested as it should be and for this wallet, another type of the market's domain.
    function test_RefusesAnotherTypeThoughTheKeySignedIt() external {
        string memory gift = "Gift(address to,uint256 amount)";
        bytes32 contents = keccak256(abi.encode(keccak256(bytes(gift)), stranger, 1 ether));
        bytes32 app = domainSeparator("AIPowerRental", address(market));
        bytes32 nested = keccak256(
            abi.encode(
                keccak256(
                    abi.encodePacked(
                        "TypedDataSign(Gift contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                        gift
                    )
                ),
                contents,
                keccak256("AgentWallet"),
                keccak256("1"),
                block.chainid,
                address(wallet),
                bytes32(0)
            )
        );
        bytes memory inner = sign(agentKey, keccak256(abi.encodePacked("\x19\x01", app, nested)));
        bytes memory blob = abi.encodePacked(agent, inner, app, contents, gift, uint16(bytes(gift).length));
        assertEq(ask(keccak256(abi.encodePacked("\x19\x01", app, contents)), blob), INVALID);
    }

    function test_RefusesAPersonalMessage() external {
        bytes32 personal = keccak256(
            abi.encodePacked(
                "\x19\x01",
                domainSeparator("AgentWallet", address(wallet)),
                keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), digest))
            )
        );
        assertEq(ask(digest, abi.encodePacked(agent, sign(agentKey, personal))), INVALID);
    }

    function test_RefusesDeadKeysAndKeysThatMayNotBid() external {
        vm.prank(owner);
        wallet.revokeAgent(agent);
        assertEq(ask(digest, signature), INVALID);
    }

    function test_RefusesAnExpiredKey() external {
        skip(30 days);
        assertEq(ask(digest, signature), INVALID);
    }

    /// @dev A key without the right to bid is not asked for anything else.
    function test_RefusesAKeyThatMayNotBid() external {
        KeyPolicy memory p = policy();
        p.permissions = 14;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        assertEq(ask(digest, signature), INVALID);
    }

    /// @dev A key whose ancestor died may sign nothing.
    function test_RefusesAKeyOfADeadAncestor() external {
        (address child, uint256 secret) = delegate(agent, "child");
        b = bidOf(terms(), address(wallet), child);
        digest = market.bidDigest(b);
        signature = signBid(secret, b);
        assertEq(ask(digest, signature), MAGIC);
        vm.prank(owner);
        wallet.revokeAgent(agent);
        assertEq(ask(digest, signature), INVALID);
    }

    function test_AcceptsUntilTheLastSecondOfTheKey() external {
        skip(30 days - 1);
        assertEq(ask(digest, signature), MAGIC);
    }

    /// @dev One byte more behind the inner signature is no longer its 85.
    function test_RefusesALongerInnerSignature() external {
        bytes memory inner = abi.encodePacked(sign(agentKey, nestedDigest(b, address(wallet))), uint8(0));
        assertEq(ask(digest, nest(b, agent, inner)), INVALID);
    }

    function test_DomainIsTheWallets() external view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address verifier,,) =
            wallet.eip712Domain();
        assertEq(fields, bytes1(0x0f));
        assertEq(name, "AgentWallet");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifier, address(wallet));
    }
}
