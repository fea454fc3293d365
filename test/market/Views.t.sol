// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Agreement, Bid, KeyAccount, Status} from "../../contracts/interfaces/Types.sol";

contract ViewsTest is Base {
    function check(uint96 id, Status status, uint8 flags, uint64 offer, uint40 clock, uint40 deadline, uint96 paid)
        private
        view
    {
        Agreement memory expected = Agreement({
            id: id,
            wallet: address(wallet),
            agent: agent,
            maxDuration: DURATION,
            expiry: NOW + 1 days,
            feeBps: FEE_BPS,
            status: status,
            flags: flags,
            offerId: offer,
            startOrBillable: clock,
            deadline: deadline,
            paid: paid
        });
        assertEq(abi.encode(market.agreement(id)), abi.encode(expected));
    }

    /// @dev Every field in every state of a rental.
    function test_AgreementShowsEveryStep() external {
        uint96 id = place();
        check(id, Status.Open, 0, 0, 0, 0, 0);
        post();
        skip(3);
        vm.prank(provider);
        market.matchBest(offerId, BOOK(), 0, 0);
        check(id, Status.Confirmed, 0, 1, 0, NOW + 3 + timing.startDeadline, 0);
        skip(4);
        startAs(provider, id);
        check(id, Status.Running, 0, 1, NOW + 7, NOW + 7 + DURATION + timing.submitGrace, 0);
        skip(100);
        submitAs(provider, id, 90);
        check(id, Status.Submitted, 1, 1, 90, NOW + 107 + timing.challengeWindow, 0);
        vm.prank(agent);
        wallet.dispute(id, 0);
        uint40 timeout = NOW + 107 + timing.disputeTimeout;
        check(id, Status.Disputed, 5, 1, 90, timeout, 0);
        vm.prank(arbiter);
        market.resolve(id, 7, 0);
        check(id, Status.Resolved, 5, 1, 90, timeout, 7);
    }

    function test_NothingIsZero() external {
        Agreement memory none;
        none.id = 5;
        assertEq(abi.encode(market.agreement(5)), abi.encode(none));
        (address wallet_, address agent_) = market.partiesOf(5);
        assertEq(wallet_, address(0));
        assertEq(agent_, address(0));
        KeyAccount memory empty;
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(empty));
        assertEq(market.classBase(4), 0);
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.ClassUnknown.selector, 4));
        market.priceOf(4, 0);
    }

    function test_DomainIsWhatDigestsAreMadeWith() external view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifier,
            bytes32 salt,
            uint256[] memory extensions
        ) = market.eip712Domain();
        assertEq(fields, bytes1(0x0f));
        assertEq(name, "AIPowerRental");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifier, address(market));
        assertEq(salt, 0);
        assertEq(extensions.length, 0);
        Bid memory b = bid();
        assertEq(
            market.bidDigest(b),
            keccak256(abi.encodePacked("\x19\x01", domainSeparator("AIPowerRental", address(market)), bidStructHash(b)))
        );
    }
}
