// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "../Base.t.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {KeyAccount} from "../../contracts/interfaces/Types.sol";

contract MarketCollectTest is Base {
    function test_PaysTheCreditAndForgetsWhatWasCounted() external {
        settled();
        KeyAccount memory account = market.keyAccount(agent);
        uint96 paid = escrow(TICK, 100);
        uint96 rest = escrow(TICK, DURATION) - paid;
        assertEq(abi.encode(account), abi.encode(KeyAccount(address(wallet), rest, paid, rest)));
        vm.expectEmit();
        emit IAIPowerRental.KeyCollected(agent, address(wallet), rest, paid, rest);
        vm.expectEmit(address(token));
        emit IERC20.Transfer(address(market), address(wallet), rest);
        vm.prank(address(wallet));
        (uint96 credit, uint96 spent, uint96 released) = market.collect(agent);
        assertEq(abi.encode(credit, spent, released), abi.encode(rest, paid, rest));
        assertEq(abi.encode(market.keyAccount(agent)), abi.encode(KeyAccount(address(wallet), 0, 0, 0)));

        vm.recordLogs();
        vm.prank(address(wallet));
        (credit, spent, released) = market.collect(agent);
        assertEq(vm.getRecordedLogs().length, 1, "no transfer of nothing");
        assertEq(abi.encode(credit, spent, released), abi.encode(0, 0, 0));
    }

    function test_RevertWhen_CallerIsNotTheKeysWallet() external {
        settled();
        address[3] memory callers = [agent, owner, provider];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, callers[i]));
            vm.prank(callers[i]);
            market.collect(agent);
        }
    }

    function test_RevertGiven_TheKeyNeverBid() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.NotKeyWallet.selector, agent, address(wallet)));
        vm.prank(address(wallet));
        market.collect(agent);
    }
}
