// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IForwarder, IWallet} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, Status} from "../../contracts/interfaces/Types.sol";

/// @title Two wallets of one owner, one key
/// @notice The attack: one key is authorised in two wallets of the same owner. What it signed for one is used against
/// the other; a nested signature is re-nested under another wallet, as another type or as a personal message.
/// Why it fails: the bid names its wallet and the nesting (ERC-7739) binds the wallet's own domain; only the bid's type
/// is accepted, and only when the market asks. Also a key belongs to the wallet it first bids for, for good.
/// Loss: none.
contract TwoWalletsTest is Attack {
    IWallet private second;

    function setUp() public override {
        super.setUp();
        second = secondWallet(agent);
    }

    function expectInvalid(address wallet_) private {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, wallet_, agent));
    }

    function test_RevertWhen_ASignatureForOneIsUsedForTheOther() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        Bid memory moved = bidOf(terms(), address(second), agent);
        // The bytes as they are, and dressed for the other wallet.
        expectInvalid(address(second));
        market.placeBidWithSignature(moved, signature);
        bytes memory dressed = nest(moved, agent, sign(agentKey, nestedDigest(b, address(wallet))));
        expectInvalid(address(second));
        market.placeBidWithSignature(moved, dressed);
        // The right bid nested in the wrong wallet's domain, and the wrong bid in the right one's.
        bytes memory wrongDomain = nest(moved, agent, sign(agentKey, nestedDigest(moved, address(wallet))));
        expectInvalid(address(second));
        market.placeBidWithSignature(moved, wrongDomain);
        // Control: signed for it, it is good; and the first was good for the first.
        uint256 state = vm.snapshotState();
        market.placeBidWithSignature(moved, signBid(agentKey, moved));
        vm.revertToState(state);
        market.placeBidWithSignature(b, signature);
    }

    function test_RevertWhen_TheBidIsSignedWithoutNesting() external {
        Bid memory b = bid();
        bytes memory plain = nest(b, agent, sign(agentKey, market.bidDigest(b)));
        expectInvalid(address(wallet));
        market.placeBidWithSignature(b, plain);
        bytes memory bare = abi.encodePacked(agent, sign(agentKey, market.bidDigest(b)));
        expectInvalid(address(wallet));
        market.placeBidWithSignature(b, bare);
    }

    /// @dev ERC-7739's other form: the digest as a personal message under the wallet's domain.
    function test_RevertWhen_TheBidIsSignedAsAPersonalMessage() external {
        Bid memory b = bid();
        bytes32 nested = keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), market.bidDigest(b)));
        bytes32 digest =
            keccak256(abi.encodePacked("\x19\x01", domainSeparator("AgentWallet", address(wallet)), nested));
        bytes memory personal = abi.encodePacked(agent, sign(agentKey, digest));
        expectInvalid(address(wallet));
        market.placeBidWithSignature(b, personal);
        bytes memory both = nest(b, agent, sign(agentKey, digest));
        expectInvalid(address(wallet));
        market.placeBidWithSignature(b, both);
    }

    /// @dev Another type with the same hash of contents: the description must be the bid's, byte for byte.
    function test_RevertWhen_TheNestedTypeIsAnother() external {
        Bid memory b = bid();
        string memory other = "Gift(address to,uint256 amount)";
        bytes memory signature = abi.encodePacked(
            agent,
            sign(agentKey, nestedDigest(b, address(wallet))),
            domainSeparator("AIPowerRental", address(market)),
            bidStructHash(b),
            other,
            uint16(bytes(other).length)
        );
        expectInvalid(address(wallet));
        market.placeBidWithSignature(b, signature);
    }

    /// @dev Nobody but the market gets a yes, so that no other protocol can be fooled with a bid.
    function test_NobodyElseGetsAYes() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        bytes32 digest = market.bidDigest(b);
        vm.prank(stranger);
        assertEq(wallet.isValidSignature(digest, signature), bytes4(0xffffffff));
        vm.prank(owner);
        assertEq(wallet.isValidSignature(digest, signature), bytes4(0xffffffff));
        vm.prank(address(market));
        assertEq(wallet.isValidSignature(digest, signature), bytes4(0x1626ba7e));
    }

    /// @dev A request for one wallet names it as its target, which is signed.
    function test_RevertWhen_ARequestIsTurnedToTheOther() external {
        IForwarder.ForwardRequestData memory r = request(agentKey, abi.encodeCall(IAgentWallet.placeBid, (terms())));
        r.to = address(second);
        vm.expectPartialRevert(IForwarder.ERC2771ForwarderInvalidSigner.selector);
        forwarder.execute(r);
    }

    /// @dev A countersignature of the key of one wallet starts no rental of the other.
    function test_RevertWhen_TheOthersKeyCountersigns() external {
        (address key, uint256 secret) = makeAddrAndKey("key of the second");
        vm.prank(owner);
        second.authorizeAgent(key, policy());
        uint96 id = matched();
        bytes memory signature = countersign(secret, id);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidStartSignature.selector, id, key));
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotBidAgent.selector, id, key));
        vm.prank(key);
        wallet.cancelBid(id);
    }

    /// @dev One wallet has no say over the other's bids, not even by its owner, who owns both.
    function test_RevertWhen_OneWalletActsOnTheOthersBid() external {
        uint96 id = place();
        skip(timing.minBidLifetime);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, id));
        second.cancelBid(id);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, id));
        second.dispute(id, 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, address(second)));
        second.collect(agent);
        wallet.cancelBid(id);
        vm.stopPrank();
        assertStatus(id, Status.Cancelled);
    }

    /// @dev Credit of a key never crosses to another wallet that authorised the same key.
    function test_RevertGiven_TheKeyBelongsToTheOther() external {
        place();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.KeyOfAnotherWallet.selector, agent, address(wallet)));
        vm.prank(agent);
        second.placeBid(terms());
        Bid memory b = bidOf(terms(), address(second), agent);
        bytes memory signature = signBid(agentKey, b);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.KeyOfAnotherWallet.selector, agent, address(wallet)));
        market.placeBidWithSignature(b, signature);
        assertEq(second.availableTo(agent), 0, "and the wallet says so");
    }
}
