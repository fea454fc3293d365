// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Attack} from "./Attack.t.sol";
import {IWallet} from "../Interfaces.sol";
import {HostileWallet} from "../mocks/HostileAccounts.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, BidTerms, KeyPolicy} from "../../contracts/interfaces/Types.sol";

/// @title Key squatting
/// @notice The attack: a key belongs to the wallet it first bids for, for good. A hostile wallet claims somebody else's
/// key before its owner's does, and locks it out.
/// Why it fails: only a factory's clone may bid, a clone names as the key its own ERC-2771 sender, and a signed bid
/// must be signed by the key for that wallet. So only a holder of the key can bind it. Nobody else's contract passes for
/// a clone: the factory derives the address from the code at hand.
/// Loss: none. Inside one wallet a key that may delegate can take an address that the owner meant to authorise; then
/// the owner revokes that key and uses a fresh address (a transaction's worth).
contract KeySquattingTest is Attack {
    address private fresh;
    uint256 private freshKey;
    IWallet private hostile;

    function setUp() public override {
        super.setUp();
        (fresh, freshKey) = makeAddrAndKey("fresh");
        // The attacker's wallet names the victim's key as its own.
        hostile = IWallet(factory.createWallet(rogue, "hostile", limits(), fresh, policy()));
        token.mint(address(hostile), 1000 ether);
        vm.prank(owner);
        wallet.authorizeAgent(fresh, policy());
    }

    function assertFree() private {
        assertEq(market.keyAccount(fresh).wallet, address(0));
        vm.prank(fresh);
        wallet.placeBid(terms());
        assertEq(market.keyAccount(fresh).wallet, address(wallet));
    }

    function test_TheOwnerOfAHostileWalletCannotBindTheKey() external {
        vm.startPrank(rogue);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentUnknown.selector, rogue));
        hostile.placeBid(terms());
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, rogue));
        market.placeBid(terms(), fresh);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, fresh, address(hostile)));
        hostile.collect(fresh);
        vm.stopPrank();
        assertFree();
    }

    function test_ASignatureOfAnotherCannotBindTheKey() external {
        (, uint256 rogueKey) = makeAddrAndKey("rogue");
        Bid memory b = bidOf(terms(), address(hostile), fresh);
        bytes memory signature = signBid(rogueKey, b);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(hostile), fresh));
        market.placeBidWithSignature(b, signature);
        // What the key signed for its own wallet does not help either.
        Bid memory own = bidOf(terms(), address(wallet), fresh);
        bytes memory taken = sign(freshKey, nestedDigest(own, address(wallet)));
        bytes memory dressed = nest(b, fresh, taken);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidBidSignature.selector, address(hostile), fresh));
        market.placeBidWithSignature(b, dressed);
        assertFree();
    }

    /// @dev Control: the holder of the key can, and then it is bound.
    function test_OnlyTheHolderBindsIt() external {
        vm.prank(fresh);
        hostile.placeBid(terms());
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.KeyOfAnotherWallet.selector, fresh, address(hostile)));
        vm.prank(fresh);
        wallet.placeBid(terms());
    }

    /// @dev A contract with code of its own is no wallet, whatever it answers; it is not even asked.
    function test_RevertWhen_TheWalletIsAHostileContract() external {
        HostileWallet imposter = new HostileWallet();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, address(imposter)));
        imposter.placeBid(address(market), terms(), fresh);
        Bid memory b = bidOf(terms(), address(imposter), fresh);
        bytes memory signature = signBid(freshKey, b);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, address(imposter)));
        market.placeBidWithSignature(b, signature);
        assertEq(imposter.asked(), 0);
        assertFree();
    }

    /// @dev A clone of the true implementation, deployed by somebody else with the true argument, has another address.
    function test_RevertWhen_TheCloneIsNotTheFactorys() external {
        bytes memory args = Clones.fetchCloneArgs(address(wallet));
        address copy =
            Clones.cloneDeterministicWithImmutableArgs(factory.implementation(), args, abi.decode(args, (bytes32)));
        assertEq(keccak256(copy.code), keccak256(address(wallet).code), "the same code");
        assertFalse(factory.isWallet(copy));
        KeyPolicy memory p = policy();
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.NotFactory.selector, address(this)));
        IWallet(copy).initialize(rogue, limits(), fresh, p);
        // Nobody initialised it, so that nobody's key is known there either; the market does not know it.
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, copy));
        vm.prank(copy);
        market.placeBid(terms(), fresh);
    }

    /// @dev Nor is the implementation, nor a proxy to hostile code of the same length.
    function test_RevertWhen_TheCodeIsAProxyToElsewhere() external {
        HostileWallet imposter = new HostileWallet();
        bytes memory args = Clones.fetchCloneArgs(address(wallet));
        address proxy = Clones.cloneWithImmutableArgs(address(imposter), args);
        assertEq(proxy.code.length, address(wallet).code.length);
        BidTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, proxy));
        HostileWallet(proxy).placeBid(address(market), t, fresh);
        address implementation = factory.implementation();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, implementation));
        vm.prank(fresh);
        IWallet(implementation).placeBid(t);
    }

    /// @dev Inside one wallet: a stolen key takes the owner's next key as its child. Revoking the thief kills both.
    function test_AStolenKeyThatTakesTheNextKeyDiesWithIt() external {
        (address next,) = makeAddrAndKey("next");
        delegate(agent, "next", policy());
        KeyPolicy memory p = policy();
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.AgentExists.selector, next));
        wallet.authorizeAgent(next, p);
        wallet.revokeAgent(agent);
        assertFalse(wallet.isActive(next));
        wallet.authorizeAgent(makeAddr("yet another"), p);
        vm.stopPrank();
    }
}
