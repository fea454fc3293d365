// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, BidTerms, Level, Status, Template} from "../../contracts/interfaces/Types.sol";

contract PlaceBidTest is Base {
    function test_EscrowsAndQueues() external {
        BidTerms memory t = terms();
        uint96 held = escrow(TICK, DURATION);
        uint96 expected = idOf(BOOK(), TICK, 0);
        vm.expectEmit();
        emit IAIPowerRental.BidPlaced(
            expected, address(wallet), agent, DURATION, t.expiry, FEE_BPS, TEMPLATE, held, 0, SPEC, t.policyHash
        );
        assertEq(place(t), expected);
        assertEq(token.balanceOf(address(market)), held);
        Agreement memory a = market.agreement(expected);
        assertEq(
            abi.encode(a),
            abi.encode(
                Agreement(expected, address(wallet), agent, DURATION, t.expiry, FEE_BPS, Status.Open, 0, 0, 0, 0, 0)
            )
        );
        assertEq(market.bitmap(BOOK()), 1 << TICK);
        assertEq(abi.encode(market.level(BOOK(), TICK)), abi.encode(Level(0, 1, 1)));
        assertEq(market.bestBid(BOOK(), 0), expected);
    }

    function test_QueuesInOrderAndByBook() external {
        BidTerms memory t = terms();
        assertEq(place(t), idOf(BOOK(), TICK, 0));
        assertEq(place(t), idOf(BOOK(), TICK, 1));
        t.preemptible = true;
        assertEq(place(t), idOf(BOOK() + 1, TICK, 0));
        uint24[7] memory durations = [uint24(601), 3600, 3601, 21_600, 21_601, 86_400, 600];
        uint16[7] memory buckets = [uint16(1), 1, 2, 2, 3, 3, 0];
        t.preemptible = false;
        t.tick = 1;
        for (uint256 i; i < durations.length; ++i) {
            t.maxDuration = durations[i];
            assertEq(place(t) >> 72, uint16(CLS) << 8 | buckets[i] << 1);
        }
    }

    function test_UsesTheWalletsCreditFirst() external {
        settled();
        uint96 credit = keyCredit();
        uint96 held = escrow(TICK, DURATION);
        assertGt(credit, 0);
        uint256 before = token.balanceOf(address(wallet));
        place();
        assertEq(keyCredit(), 0);
        assertEq(token.balanceOf(address(wallet)), before - (held - credit));
        assertEq(wallet.reserved(), held);
    }

    function test_NeedsNoTokensWhenCreditCovers() external {
        uint96 id = matched();
        vm.prank(provider);
        market.decline(id);
        uint256 before = token.balanceOf(address(market));
        place();
        assertEq(token.balanceOf(address(market)), before);
        assertEq(keyCredit(), 0);
    }

    function test_RevertWhen_CallerIsNoWallet() external {
        BidTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotWallet.selector, stranger));
        vm.prank(stranger);
        market.placeBid(t, agent);
    }

    function test_RevertWhen_ClassOrTemplateIsUnknown() external {
        BidTerms memory t = terms();
        t.cls = 4;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, TEMPLATE, 4));
        place(t);
        t.cls = 200;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, TEMPLATE, 200));
        place(t);
        t.cls = CLS;
        uint16[4] memory others = [uint16(0), 2, 128, 128 + TEMPLATE];
        for (uint256 i; i < 4; ++i) {
            t.templateId = others[i];
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.TemplateUnknown.selector, others[i], CLS));
            place(t);
        }
    }

    function test_RevertGiven_TemplateForAnUnknownClass() external {
        BidTerms memory t = terms();
        vm.prank(admin);
        market.addTemplate(2, 1 << 5, Template(1, 1, 1, false, IMAGE));
        t.cls = 5;
        t.templateId = 2;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClassUnknown.selector, 5));
        place(t);
    }

    function test_RevertWhen_DurationIsOutOfRange() external {
        BidTerms memory t = terms();
        t.maxDuration = uint24(timing.minBilled - 1);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidDuration.selector, t.maxDuration));
        place(t);
        t.maxDuration = 86_401;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.InvalidDuration.selector, t.maxDuration));
        place(t);
        t.maxDuration = uint24(timing.minBilled);
        place(t);
        t.tick = 1;
        t.maxDuration = 86_400;
        place(t);
    }

    function test_RevertWhen_LifetimeIsOutOfRange() external {
        BidTerms memory t = terms();
        uint40 earliest = uint40(block.timestamp) + timing.minBidLifetime;
        uint40 latest = uint40(block.timestamp + 7 days);
        t.expiry = earliest - 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidLifetimeTooShort.selector, t.expiry, earliest));
        place(t);
        t.expiry = latest + 1;
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.BidLifetimeTooLong.selector, t.expiry, latest));
        place(t);
        t.expiry = earliest;
        place(t);
        t.expiry = latest;
        place(t);
    }

    function test_RevertWhen_SpecHashIsZero() external {
        BidTerms memory t = terms();
        t.specHash = 0;
        vm.expectRevert(IAIPowerRental.ZeroSpecHash.selector);
        place(t);
    }

    function test_RevertGiven_TokenKeepsAPart() external {
        uint96 held = escrow(TICK, DURATION);
        vm.mockCall(address(token), abi.encodeWithSelector(IERC20.transfer.selector), abi.encode(true));
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, held, 0));
        place();
    }

    /// @dev Too much is refused like too little: the token is not the plain one it must be.
    function test_RevertGiven_TokenGivesMore() external {
        uint96 held = escrow(TICK, DURATION);
        bytes[] memory balances = new bytes[](2);
        balances[0] = abi.encode(0);
        balances[1] = abi.encode(held + 1);
        vm.mockCalls(address(token), abi.encodeCall(IERC20.balanceOf, (address(market))), balances);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.WrongTokenAmount.selector, held, held + 1));
        place();
    }
}
