// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Attack} from "./Attack.t.sol";
import {SixDecimalsToken} from "../mocks/HostileTokens.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {KeyPolicy, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @title Tokens of another scale: six decimals, a supply past 96 bits
/// @notice The attack: with few decimals neighbouring prices round to one, so that whoever bids a tick higher pays
/// nothing for going first, and rounding eats pay; with a vast supply amounts wrap.
/// Why it fails: prices are per second × 1e18 and costs round up once; from the least base price on, all 256 prices
/// differ. Costs fit in 96 bits for every class that can be added.
/// Loss: one token unit of rounding per amount. Beyond 2^96 units bonds are refused and withdrawals come in parts; still the
/// market is for tokens whose whole supply is below that.
contract TokenScaleTest is Attack {
    function test_AllPricesDifferFromTheLeastBaseOn() external {
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidClass.selector, 1));
        market.addClass(1, 99);
        market.addClass(1, 100);
        vm.stopPrank();
        for (uint256 tick = 1; tick < 256; ++tick) {
            assertGt(market.priceOf(1, uint8(tick)), market.priceOf(1, uint8(tick - 1)), "strictly increasing");
        }
    }

    function testFuzz_AllPricesDifferForAnyBase(uint128 base) external {
        base = uint128(bound(base, 100, type(uint128).max / 160));
        vm.prank(admin);
        market.addClass(1, base);
        for (uint256 tick = 1; tick < 256; ++tick) {
            assertGt(market.priceOf(1, uint8(tick)), market.priceOf(1, uint8(tick - 1)));
        }
    }

    /// @dev A whole rental of a token with six decimals: every unit is accounted for.
    function testFuzz_ASixDecimalRentalConserves(uint40 seconds_) external {
        WalletLimits memory l = WalletLimits(100e6, 50e6, 1000e6);
        KeyPolicy memory p = policy();
        (p.daily, p.perBid, p.lifetime) = (50e6, 20e6, 500e6);
        redeploy(address(new SixDecimalsToken()), BASE_PRICE / 1e12, l, p);
        seconds_ = uint40(bound(seconds_, 0, DURATION));
        uint256 before = token.balanceOf(address(wallet));
        uint256 supply = token.balanceOf(address(wallet)) + token.balanceOf(provider);
        uint96 id = running();
        skip(seconds_);
        submitAs(provider, id, seconds_);
        skip(timing.challengeWindow);
        market.advance(id);
        wallet.collect(agent);
        uint96 gross = escrow(TICK, seconds_ < timing.minBilled ? timing.minBilled : seconds_);
        assertGt(gross, 0);
        assertEq(before - token.balanceOf(address(wallet)), gross);
        assertEq(wallet.lifetimeSpent(), gross, "limits of such a token count exactly");
        assertEq(wallet.spentInWindow(), gross);
        vm.startPrank(provider);
        market.closeOffer(offerId);
        market.withdraw(provider);
        vm.stopPrank();
        uint96 fee = feeOf(gross);
        if (fee != 0) {
            vm.prank(treasury);
            market.withdraw(treasury);
        }
        assertEq(token.balanceOf(address(market)), 0);
        assertEq(token.balanceOf(address(wallet)) + token.balanceOf(provider) + token.balanceOf(treasury), supply);
    }

    /// @dev Past the supply that the market is for: an offer whose bonds do not fit is refused, and credit that does not
    /// fit is withdrawn in parts.
    function test_NothingIsLostBeyond96Bits() external {
        uint96 open = place();
        uint96 perSlot = type(uint96).max;
        token.mint(provider, uint256(2) * perSlot);
        uint256 before = token.balanceOf(provider);
        vm.startPrank(provider);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, uint256(2) * perSlot)
        );
        market.postOffer(CLS, 255, 2, 0, perSlot, type(uint40).max);
        uint64 first = market.postOffer(CLS, 255, 1, 0, perSlot, type(uint40).max);
        uint64 second = market.postOffer(CLS, 255, 1, 0, perSlot, type(uint40).max);
        market.closeOffer(first);
        market.closeOffer(second);
        assertEq(market.withdraw(provider), perSlot);
        assertEq(market.withdraw(provider), perSlot);
        vm.stopPrank();
        assertEq(token.balanceOf(provider), before);
        skip(timing.minBidLifetime);
        vm.prank(agent);
        wallet.cancelBid(open);
        assertEq(wallet.collect(agent), escrow(TICK, DURATION), "others are paid in full");
    }
}
