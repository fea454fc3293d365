// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {BidTerms, KeyPolicy, Status, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @title Zero amounts
/// @notice The attack: nothing where something is expected, so that a free bid, a free bond or a free deposit slips past
/// a limit or divides by zero: no duration, no spec, no limits, no bond, no claimed time, nothing to withdraw.
/// Why it fails: what must not be zero is refused by name; what may be costs at least the minimum bill.
/// Loss: none.
contract ZeroAmountsTest is Attack {
    function expectRefused(BidTerms memory t, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(agent);
        wallet.placeBid(t);
    }

    function test_RevertWhen_ABidIsForNothing() external {
        BidTerms memory t = terms();
        t.maxDuration = 0;
        expectRefused(t, abi.encodeWithSelector(IAIPowerRental.InvalidDuration.selector, 0));
        t = terms();
        t.specHash = 0;
        expectRefused(t, abi.encodeWithSelector(IAIPowerRental.ZeroSpecHash.selector));
        t = terms();
        t.cls = 0;
        expectRefused(t, abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, TEMPLATE, 0));
        t = terms();
        t.expiry = 0;
        expectRefused(
            t,
            abi.encodeWithSelector(
                IAIPowerRental.BidLifetimeTooShort.selector, 0, uint40(block.timestamp) + timing.minBidLifetime
            )
        );
    }

    /// @dev A limit of zero allows nothing, be it the wallet's or a key's, one at a time.
    function test_RevertGiven_ALimitIsZero() external {
        uint96 held = escrow(TICK, DURATION);
        bytes4[3] memory errors = [
            IAgentWallet.DailyLimitExceeded.selector,
            IAgentWallet.PerBidLimitExceeded.selector,
            IAgentWallet.LifetimeLimitExceeded.selector
        ];
        for (uint256 i; i < 6; ++i) {
            WalletLimits memory l = limits();
            KeyPolicy memory p = policy();
            if (i == 0) l.daily = 0;
            if (i == 1) l.perBid = 0;
            if (i == 2) l.lifetime = 0;
            if (i == 3) p.daily = 0;
            if (i == 4) p.perBid = 0;
            if (i == 5) p.lifetime = 0;
            vm.startPrank(owner);
            wallet.setLimits(l);
            wallet.authorizeAgent(agent, p);
            vm.stopPrank();
            expectRefused(terms(), abi.encodeWithSelector(errors[i % 3], i < 3 ? address(wallet) : agent, held, 0));
            assertEq(wallet.availableTo(agent), 0);
        }
    }

    /// @dev A limit below a millionth of a token is one of zero.
    function test_RevertGiven_ALimitRoundsToZero() external {
        KeyPolicy memory p = policy();
        p.daily = 1e12 - 1;
        vm.prank(owner);
        wallet.authorizeAgent(agent, p);
        expectRefused(
            terms(), abi.encodeWithSelector(IAgentWallet.DailyLimitExceeded.selector, agent, escrow(TICK, DURATION), 0)
        );
    }

    function test_AClaimOfNoTimeIsBilledTheMinimum() external {
        uint96 id = running();
        submitAs(provider, id, 0);
        assertEq(market.agreement(id).startOrBillable, timing.minBilled);
        skip(timing.challengeWindow);
        market.advance(id);
        assertEq(market.agreement(id).paid, escrow(TICK, timing.minBilled));
    }

    function test_RevertWhen_AnOfferHoldsNothing() external {
        uint96 least = escrow(0, timing.bondSeconds);
        uint96 perSlot = bond();
        vm.startPrank(provider);
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        market.postOffer(CLS, 255, 0, 0, perSlot, type(uint40).max);
        vm.expectRevert(IAIPowerRental.InvalidOffer.selector);
        market.postOffer(CLS, 0, 1, 0, perSlot, type(uint40).max);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BondTooSmall.selector, 0, least));
        market.postOffer(CLS, 255, 1, 0, 0, type(uint40).max);
        vm.stopPrank();
    }

    function test_RevertWhen_ThereIsNothingToTake() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NothingToWithdraw.selector, stranger));
        vm.prank(stranger);
        market.withdraw(stranger);
        // A key that never bid has no account; one that has nothing gives nothing.
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, stranger, address(wallet)));
        wallet.collect(stranger);
        place();
        assertEq(wallet.collect(agent), 0);
        assertEq(wallet.reserved(), escrow(TICK, DURATION));
    }

    /// @dev No id is zero and none is known before it is placed.
    function test_RevertWhen_TheIdIsZero() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongStatus.selector, 0, Status.None));
        market.advance(0);
        vm.expectRevert(abi.encodeWithSelector(IAgentWallet.BidUnknown.selector, 0));
        vm.prank(owner);
        wallet.cancelBid(0);
        uint96[] memory none = new uint96[](1);
        assertEq(market.prune(none), 0);
    }

    /// @dev In the market without bonds, a rental runs its whole way.
    function test_AZeroBondWhereItIsAllowed() external {
        timing.bondSeconds = 0;
        redeploy(address(token));
        vm.prank(provider);
        offerId = market.postOffer(CLS, 255, 1, 0, 0, uint40(block.timestamp + 1 days));
        uint96 id = settled();
        uint96 gross = escrow(TICK, 100);
        assertEq(market.agreement(id).paid, gross);
        vm.prank(provider);
        market.closeOffer(offerId);
        assertEq(market.creditOf(provider), gross - feeOf(gross));
    }
}
