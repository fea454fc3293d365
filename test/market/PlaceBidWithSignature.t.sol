// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Base} from "../Base.t.sol";
import {IWallet} from "../Interfaces.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Bid, Status} from "../../contracts/interfaces/Types.sol";

contract PlaceBidWithSignatureTest is Base {
    function expectInvalid(Bid memory b) private {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, b.wallet, b.agent));
    }

    function test_AnyoneMaySendASignedBid() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        vm.prank(stranger);
        uint96 id = market.placeBidWithSignature(b, signature);
        assertStatus(id, Status.Open);
        assertEq(market.agreement(id).agent, agent);
        assertEq(wallet.reserved(), escrow(TICK, DURATION));
        assertEq(market.nonces(address(wallet), uint192(uint160(agent)) << 32), b.nonce + 1);
    }

    function test_NoncesOfTwoKeysAreIndependent() external {
        (address other, uint256 otherKey) = makeAddrAndKey("other");
        vm.prank(owner);
        wallet.authorizeAgent(other, policy());
        Bid memory first = bid();
        Bid memory second = bidOf(terms(), address(wallet), other);
        market.placeBidWithSignature(second, signBid(otherKey, second));
        market.placeBidWithSignature(first, signBid(agentKey, first));
        first.nonce++;
        market.placeBidWithSignature(first, signBid(agentKey, first));
    }

    function test_RevertWhen_Replayed() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        market.placeBidWithSignature(b, signature);
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, address(wallet), b.nonce + 1));
        market.placeBidWithSignature(b, signature);
    }

    function test_RevertWhen_NonceHasAnotherKey() external {
        Bid memory b = bid();
        uint256 right = b.nonce;
        b.nonce = uint256(uint160(stranger)) << 96;
        bytes memory signature = signBid(agentKey, b);
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, address(wallet), right));
        market.placeBidWithSignature(b, signature);
    }

    function test_RevertWhen_WalletIsNone() external {
        Bid memory b = bidOf(terms(), stranger, agent);
        bytes memory signature = signBid(agentKey, b);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, stranger));
        market.placeBidWithSignature(b, signature);
    }

    /// @dev Every signed field changed after signing, once each; the blob follows the change, so that the
    /// signature itself must fail.
    function test_RevertWhen_AnyFieldIsTamperedWith() external {
        Bid memory b = bid();
        bytes memory inner = sign(agentKey, nestedDigest(b, address(wallet)));
        for (uint256 field = 2; field < 10; ++field) {
            Bid memory changed = abi.decode(abi.encode(b), (Bid));
            if (field == 2) changed.cls ^= 1;
            if (field == 3) changed.preemptible = !changed.preemptible;
            if (field == 4) changed.tick ^= 1;
            if (field == 5) changed.maxDuration ^= 1;
            if (field == 6) changed.expiry ^= 1;
            if (field == 7) changed.templateId ^= 1;
            if (field == 8) changed.specHash ^= bytes32(uint256(1));
            if (field == 9) changed.policyHash ^= bytes32(uint256(1));
            bytes memory blob = nest(changed, agent, inner);
            expectInvalid(changed);
            market.placeBidWithSignature(changed, blob);
        }
    }

    function test_RevertWhen_WalletIsSwapped() external {
        IWallet other = IWallet(factory.createWallet(owner, "other", limits(), agent, policy()));
        token.mint(address(other), 100 ether);
        Bid memory b = bid();
        bytes memory inner = sign(agentKey, nestedDigest(b, address(wallet)));
        Bid memory changed = bidOf(terms(), address(other), agent);
        bytes memory blob = nest(changed, agent, inner);
        expectInvalid(changed);
        market.placeBidWithSignature(changed, blob);
    }

    function test_RevertWhen_AgentIsSwapped() external {
        (address other,) = makeAddrAndKey("other");
        vm.prank(owner);
        wallet.authorizeAgent(other, policy());
        Bid memory b = bidOf(terms(), address(wallet), other);
        bytes memory inner = sign(agentKey, nestedDigest(b, address(wallet)));
        // Key `agent` signs a bid that would be charged to `other`.
        expectInvalid(b);
        market.placeBidWithSignature(b, nest(b, agent, inner));
        expectInvalid(b);
        market.placeBidWithSignature(b, nest(b, other, inner));
    }

    function test_RevertWhen_NonceIsTamperedWith() external {
        Bid memory b = bid();
        bytes memory first = signBid(agentKey, b);
        market.placeBidWithSignature(b, first);
        bytes memory inner = sign(agentKey, nestedDigest(b, address(wallet)));
        b.nonce++;
        expectInvalid(b);
        market.placeBidWithSignature(b, nest(b, agent, inner));
    }

    function test_RevertWhen_SignatureIsEmpty() external {
        Bid memory b = bid();
        expectInvalid(b);
        market.placeBidWithSignature(b, "");
    }

    function test_RevertWhen_KeyIsNotAuthorised() external {
        (address other, uint256 otherKey) = makeAddrAndKey("other");
        Bid memory b = bidOf(terms(), address(wallet), other);
        bytes memory signature = signBid(otherKey, b);
        expectInvalid(b);
        market.placeBidWithSignature(b, signature);
    }

    function test_RevertGiven_LimitsAreUsedUp() external {
        Bid memory b = bid();
        b.maxDuration = 86_400;
        b.tick = 200;
        bytes memory signature = signBid(agentKey, b);
        uint96 held = escrow(200, 86_400);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentWallet.PerBidLimitExceeded.selector, address(wallet), held, 50 ether)
        );
        market.placeBidWithSignature(b, signature);
    }
}
