// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IMarket} from "../Interfaces.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Timing} from "../../contracts/interfaces/Types.sol";

contract ConstructorTest is Base {
    function test_StoresWhatItIsGiven() external {
        vm.expectEmit(false, false, false, true);
        emit IAIPowerRental.ConfigUpdated(FEE_BPS, treasury, arbiter, pauser);
        IMarket m = deployMarket(address(token), address(factory), timing);
        assertEq(m.token(), address(token));
        assertEq(m.factory(), address(factory));
        assertEq(m.owner(), admin);
        assertEq(abi.encode(m.timing()), abi.encode(timing));
        (uint16 fee, address t, address a, address p) = m.config();
        assertEq(abi.encode(fee, t, a, p), abi.encode(FEE_BPS, treasury, arbiter, pauser));
    }

    function test_RevertWhen_TokenOrFactoryIsZero() external {
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        deployMarket(address(0), address(factory), timing);
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        deployMarket(address(token), address(0), timing);
    }

    /// @dev Every clock at either end of its range is taken as it is.
    function test_TimingAtItsBounds() external {
        Timing[2] memory extremes =
            [Timing(1, 0, 1, 1, 1, 1, 1, 0), Timing(7 days, 7 days, 7 days, 7 days, 7 days, 600, 86_400, 7 days)];
        for (uint256 i; i < 2; ++i) {
            IMarket m = deployMarket(address(token), address(factory), extremes[i]);
            assertEq(abi.encode(m.timing()), abi.encode(extremes[i]));
        }
    }

    /// @dev The settings are checked as `setConfig` checks them.
    function test_RevertWhen_ASettingIsInvalid() external {
        vm.expectRevert(abi.encodeWithSelector(IAIPowerRental.FeeTooHigh.selector, 1001, 1000));
        deployCode(
            "AIPowerRental.sol:AIPowerRental",
            abi.encode(token, factory, admin, treasury, arbiter, pauser, 1001, timing)
        );
        vm.expectRevert(IAIPowerRental.ZeroAddress.selector);
        deployCode(
            "AIPowerRental.sol:AIPowerRental",
            abi.encode(token, factory, admin, address(0), arbiter, pauser, FEE_BPS, timing)
        );
    }

    /// @dev Every clock out of its range, once each.
    function test_RevertWhen_TimingIsOutOfRange() external {
        uint40[2][14] memory faults = [
            [uint40(0), 0],
            [uint40(0), 7 days + 1],
            [uint40(1), 7 days + 1],
            [uint40(2), 0],
            [uint40(2), 7 days + 1],
            [uint40(3), 0],
            [uint40(3), 7 days + 1],
            [uint40(4), 0],
            [uint40(4), 7 days + 1],
            [uint40(5), 0],
            [uint40(5), 601],
            [uint40(6), 0],
            [uint40(6), 86_401],
            [uint40(7), 7 days + 1]
        ];
        for (uint256 i; i < faults.length; ++i) {
            uint40[8] memory fields = abi.decode(abi.encode(timing), (uint40[8]));
            fields[faults[i][0]] = faults[i][1];
            vm.expectRevert(IAIPowerRental.InvalidTiming.selector);
            deployMarket(address(token), address(factory), abi.decode(abi.encode(fields), (Timing)));
        }
    }
}
