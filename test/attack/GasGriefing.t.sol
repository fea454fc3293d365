// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Attack} from "./Attack.t.sol";
import {IForwarder} from "../Interfaces.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {IAIPowerRental} from "../../contracts/interfaces/IAIPowerRental.sol";
import {Bid, StartItem, Status} from "../../contracts/interfaces/Types.sol";

/// @title 63/64 griefing
/// @notice The attack: a call passes on at most 63/64 of its gas, so a caller can choose gas with which an inner call
/// fails and the outer one goes on. A relayer burns a request's nonce that way; a settlement skips its bookkeeping.
/// Why it fails: the forwarder reverts as a whole when less than 1/63 of what the request asked for is left after it, so
/// that a request for 1,500,000 gas is carried out or kept; the market catches no failure of a wallet but that of a
/// signature check, which reverts; settling calls no wallet and no token at all.
/// Loss: the relayer's own gas. A request that asks for little (400,000, 600,000) can be burned: its key signs again.
contract GasGriefingTest is Attack {
    /// @dev What keys should ask for; unused gas costs nothing.
    uint256 private constant SAFE_GAS = 1_500_000;

    function batchOf(uint256 key, uint256 gas_) private view returns (IForwarder.ForwardRequestData[] memory batch) {
        batch = new IForwarder.ForwardRequestData[](1);
        batch[0] = request(key, abi.encodeCall(IAgentWallet.placeBid, (terms())));
        batch[0].gas = gas_;
        batch[0].signature = sign(key, requestDigest(batch[0], forwarder.nonces(batch[0].from)));
    }

    /// @dev As at the start of a transaction.
    function chill() private {
        address[5] memory accounts =
            [address(wallet), address(market), address(token), address(forwarder), factory.implementation()];
        for (uint256 i; i < accounts.length; ++i) {
            vm.cool(accounts[i]);
        }
    }

    /// @dev At every amount of gas the request either is carried out or keeps its nonce, for the deepest key too.
    function test_ARelayerCannotBurnANonce(uint256 gas_, bool deep) external {
        uint256 key = agentKey;
        if (deep) {
            address parent = agent;
            for (uint256 depth = 1; depth <= 3; ++depth) {
                key = depth;
                vm.prank(parent);
                wallet.authorizeAgent(vm.addr(key), policy());
                parent = vm.addr(key);
            }
        }
        IForwarder.ForwardRequestData[] memory batch = batchOf(key, SAFE_GAS);
        gas_ = bound(gas_, 30_000, 600_000);
        chill();
        vm.prank(stranger);
        try forwarder.executeBatch{gas: gas_}(batch, payable(stranger)) {} catch {}
        uint256 used = forwarder.nonces(batch[0].from);
        assertEq(market.level(BOOK(), TICK).tail, used, "a used nonce placed its bid");
        if (used == 0) forwarder.execute(batch[0]);
        assertEq(market.level(BOOK(), TICK).tail, 1);
    }

    /// @dev Control, and the reason for so much: the forwarder only looks at what is left afterwards. Running out of gas
    /// some frames down leaves a 64th per frame, which is enough for a request that asks for little.
    function test_ARequestOfTooLittleGasCanBeBurned() external {
        IForwarder.ForwardRequestData[] memory batch = batchOf(agentKey, 400_000);
        chill();
        forwarder.executeBatch{gas: 210_000}(batch, payable(stranger));
        assertEq(forwarder.nonces(agent), 1, "the nonce is gone");
        assertEq(market.level(BOOK(), TICK).tail, 0, "and there is no bid");
        // All that is lost is the request; the key signs another one.
        batch = batchOf(agentKey, SAFE_GAS);
        forwarder.executeBatch(batch, payable(stranger));
        assertEq(market.level(BOOK(), TICK).tail, 1);
    }

    /// @dev The signature check is a caught call: starved, it must not count as an invalid signature that leaves traces.
    function test_AStarvedSignatureCheckLeavesNoTrace(uint256 gas_) external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        gas_ = bound(gas_, 30_000, 300_000);
        try market.placeBidWithSignature{gas: gas_}(b, signature) {
            assertEq(market.level(BOOK(), TICK).tail, 1);
        } catch {
            assertEq(market.nonces(address(wallet), uint192(uint160(agent)) << 32), b.nonce);
            assertEq(market.keyAccount(agent).wallet, address(0));
            market.placeBidWithSignature(b, signature);
        }
    }

    /// @dev A batch of starts calls wallets: starved, it reverts as a whole or starts.
    function test_AStarvedStartBatchSkipsNothing(uint256 gas_) external {
        uint96 id = matched();
        bytes memory signature = countersign(agentKey, id);
        gas_ = bound(gas_, 20_000, 120_000);
        bytes memory data = startBatchOf(id, signature);
        vm.prank(provider);
        (bool ok,) = address(market).call{gas: gas_}(data);
        assertStatus(id, ok ? Status.Running : Status.Confirmed);
    }

    /// @dev Whatever gas a stranger settles with, the settlement is whole or did not happen.
    function test_SettlementIsWholeAtAnyGas(uint256 gas_) external {
        uint96 id = submitted();
        skip(timing.challengeWindow);
        gas_ = bound(gas_, 20_000, 150_000);
        vm.prank(stranger);
        try market.advance{gas: gas_}(id) {
            assertStatus(id, Status.Settled);
            uint96 gross = escrow(TICK, 100);
            assertEq(market.creditOf(provider), gross - feeOf(gross));
            assertEq(market.keyAccount(agent).spent, gross);
            assertEq(market.keyAccount(agent).released, escrow(TICK, DURATION) - gross);
        } catch {
            assertStatus(id, Status.Submitted);
            assertEq(market.keyAccount(agent).spent, 0);
        }
    }

    /// @dev With the wallet's and the token's code gone every end still works: no gas, no answer of theirs is needed.
    function test_SettlementNeedsNoWalletAndNoToken() external {
        uint96 id = submitted();
        uint96 unstarted = matched();
        uint96 open = place();
        vm.etch(address(wallet), hex"fe");
        vm.etch(address(token), hex"fe");
        skip(1 days);
        vm.startPrank(stranger);
        assertEq(uint8(market.advance(id)), uint8(Status.Settled));
        assertEq(uint8(market.advance(unstarted)), uint8(Status.Expired));
        assertEq(uint8(market.advance(open)), uint8(Status.Expired));
        vm.stopPrank();
    }

    function startBatchOf(uint96 id, bytes memory signature) private pure returns (bytes memory) {
        StartItem[] memory items = new StartItem[](1);
        items[0] = StartItem(id, SPEC, IMAGE, signature);
        return abi.encodeCall(IAIPowerRental.startBatch, (items));
    }
}
