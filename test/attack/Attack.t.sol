// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IToken, IWallet} from "../Interfaces.sol";
import {IAgentWalletFactory} from "../../contracts/interfaces/IAgentWalletFactory.sol";
import {BidTerms, KeyPolicy, Template, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @notice What attackers start with: a provider of their own and markets over hostile tokens.
abstract contract Attack is Base {
    /// @dev A provider that the attacker controls.
    address internal rogue = makeAddr("rogue");
    uint64 internal rogueOffer;

    /// @dev Wealth of a wallet: its own tokens and what its keys' accounts hold for it.
    function wealth(IWallet wallet_, address key) internal view returns (uint256) {
        return token.balanceOf(address(wallet_)) + market.keyAccount(key).credit;
    }

    function postRogue(uint16 slots) internal {
        token.mint(rogue, 1000 ether);
        uint96 perSlot = bond();
        vm.startPrank(rogue);
        token.approve(address(market), type(uint256).max);
        market.registerProvider("http://rogue");
        rogueOffer = market.postOffer(CLS, 255, slots, 0, perSlot, uint40(block.timestamp + 30 days));
        vm.stopPrank();
    }

    function matchAsRogue(BidTerms memory t) internal returns (uint96 id) {
        vm.prank(rogue);
        id = market.matchBest(rogueOffer, bookOf(t), 0, 0);
        assertNotEq(id, 0, "nothing matched");
    }

    /// @dev Everything again over another token; the hostile part stays asleep until a test wakes it.
    function redeploy(address token_) internal {
        redeploy(token_, BASE_PRICE, limits(), policy());
    }

    function redeploy(address token_, uint128 base, WalletLimits memory limits_, KeyPolicy memory policy_) internal {
        token = IToken(token_);
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        market = deployMarket(token_, next, timing);
        factory = IAgentWalletFactory(
            deployCode("AgentWalletFactory.sol:AgentWalletFactory", abi.encode(address(market), address(forwarder)))
        );
        vm.startPrank(admin);
        market.addClass(CLS, base);
        market.addTemplate(TEMPLATE, uint32(1) << CLS, Template(512, 512, 64, false, IMAGE));
        vm.stopPrank();
        wallet = IWallet(factory.createWallet(owner, SALT, limits_, agent, policy_));
        token.mint(address(wallet), 1000 ether);
        token.mint(provider, 1000 ether);
        vm.startPrank(provider);
        token.approve(address(market), type(uint256).max);
        market.registerProvider("http://provider");
        market.setOperator(operator, true);
        vm.stopPrank();
    }

    /// @dev A wallet of the same owner whose first key is `key`.
    function secondWallet(address key) internal returns (IWallet second) {
        second = IWallet(factory.createWallet(owner, "second", limits(), key, policy()));
        token.mint(address(second), 1000 ether);
    }

    function delegate(address parent, string memory name, KeyPolicy memory p) internal returns (address child) {
        child = makeAddr(name);
        vm.prank(parent);
        wallet.authorizeAgent(child, p);
    }
}
