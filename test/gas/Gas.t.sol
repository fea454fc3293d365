// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.t.sol";
import {IForwarder} from "../Interfaces.sol";
import {Bid, BidTerms, KeyPolicy, StartItem, SubmitItem, WalletLimits} from "../../contracts/interfaces/Types.sol";

/// @notice Whole-transaction gas (intrinsic cost and calldata included, refunds taken off) of a market in use: a deep
/// book, accounts that hold credit, a wallet that has spent before.
/// @dev Every top-level call is a transaction of its own, with cold storage.
/// forge-config: default.isolate = true
contract GasTest is Base {
    string private constant GROUP = "gas";
    uint256 private constant DEEP = 40;

    function setUp() public override {
        super.setUp();
        timing.minBilled = 5;
        // A rental that went before leaves credit on every side and something in the windows.
        settled();
        for (uint256 i; i < DEEP; ++i) {
            place();
        }
        skip(20_000);
        deepen();
    }

    function deepen() private {
        BidTerms memory t = terms();
        for (uint256 i; i < DEEP; ++i) {
            place(t);
        }
    }

    function settleOne() private {
        vm.prank(provider);
        uint96 id = market.matchBest(offerId, BOOK(), 0, 0);
        startAs(provider, id);
        skip(300);
        submitAs(provider, id, 300);
        skip(timing.challengeWindow);
        market.advance(id);
    }

    function test_Lifecycle() external {
        place();
        vm.snapshotGasLastCall(GROUP, "place_bid");
        // From here on a lifecycle as it follows on another, whose spending its bid counts.
        settleOne();
        place();
        vm.snapshotGasLastCall(GROUP, "place_bid_after_rental");
        vm.prank(provider);
        uint96 id = market.matchBest(offerId, BOOK(), 0, 0);
        vm.snapshotGasLastCall(GROUP, "match");
        bytes memory signature = countersign(agentKey, id);
        vm.prank(provider);
        market.start(id, SPEC, IMAGE, signature);
        vm.snapshotGasLastCall(GROUP, "start");
        skip(300);
        vm.prank(provider);
        market.submit(id, 300, RESULT, RECEIPTS);
        vm.snapshotGasLastCall(GROUP, "submit");
        skip(timing.challengeWindow);
        vm.prank(provider);
        market.advance(id);
        vm.snapshotGasLastCall(GROUP, "settle");
    }

    function test_BatchedProviderWork() external {
        vm.startPrank(provider);
        uint64 wide = market.postOffer(CLS, 255, 20, 0, bond(), uint40(block.timestamp + 30 days));
        market.matchBestBatch(wide, BOOK(), 0, 10);
        vm.stopPrank();
        skip(10);
        vm.prank(provider);
        uint96[] memory list = market.matchBestBatch(wide, BOOK(), 0, 10);
        vm.snapshotGasLastCall(GROUP, "match_batch_of_10");
        StartItem[] memory starts = new StartItem[](10);
        SubmitItem[] memory results = new SubmitItem[](10);
        for (uint256 i; i < 10; ++i) {
            starts[i] = StartItem(list[i], SPEC, IMAGE, countersign(agentKey, list[i]));
            results[i] =
                SubmitItem(list[i], 300, keccak256(abi.encode("result", i)), keccak256(abi.encode("receipts", i)));
        }
        vm.prank(provider);
        market.startBatch(starts);
        vm.snapshotGasLastCall(GROUP, "start_batch_of_10");
        skip(300);
        vm.prank(provider);
        market.submitBatch(results);
        vm.snapshotGasLastCall(GROUP, "submit_batch_of_10");
        skip(timing.challengeWindow);
        vm.prank(provider);
        market.prune(list);
        vm.snapshotGasLastCall(GROUP, "settle_batch_of_10");
    }

    function test_PlaceIntoEmptyBook() external {
        BidTerms memory t = terms();
        t.tick = TICK + 1;
        place(t);
        vm.snapshotGasLastCall(GROUP, "place_bid_new_level");
    }

    function test_PlaceBySignature() external {
        Bid memory b = bid();
        bytes memory signature = signBid(agentKey, b);
        market.placeBidWithSignature(b, signature);
        b = bid();
        signature = signBid(agentKey, b);
        market.placeBidWithSignature(b, signature);
        vm.snapshotGasLastCall(GROUP, "place_bid_by_signature");
    }

    function test_Forwarded() external {
        forwarder.execute(request(agentKey, abi.encodeCall(wallet.placeBid, terms())));
        IForwarder.ForwardRequestData memory r = request(agentKey, abi.encodeCall(wallet.placeBid, terms()));
        forwarder.execute(r);
        vm.snapshotGasLastCall(GROUP, "forwarded_bid");
    }

    function test_ForwardedBatch() external {
        forwarder.execute(request(agentKey, abi.encodeCall(wallet.placeBid, terms())));
        IForwarder.ForwardRequestData[] memory batch = new IForwarder.ForwardRequestData[](20);
        for (uint256 i; i < 20; ++i) {
            BidTerms memory t = terms();
            t.specHash = keccak256(abi.encode("spec", i));
            IForwarder.ForwardRequestData memory r = request(agentKey, abi.encodeCall(wallet.placeBid, t));
            r.signature = sign(agentKey, requestDigest(r, forwarder.nonces(agent) + i));
            batch[i] = r;
        }
        forwarder.executeBatch(batch, payable(address(this)));
        vm.snapshotGasLastCall(GROUP, "forwarded_bid_batch_of_20");
    }

    function test_Cancel() external {
        uint96 id = place();
        skip(timing.minBidLifetime);
        vm.prank(agent);
        wallet.cancelBid(id);
        vm.snapshotGasLastCall(GROUP, "cancel");
    }

    function test_CreateWallet() external {
        WalletLimits memory l = limits();
        KeyPolicy memory p = policy();
        factory.createWallet(owner, keccak256("another"), l, agent, p);
        vm.snapshotGasLastCall(GROUP, "create_wallet");
    }

    function test_MatchOverDeadHeads() external {
        BidTerms memory t = terms();
        t.tick = TICK + 1;
        t.expiry = uint40(block.timestamp + timing.minBidLifetime);
        for (uint256 i; i < 8; ++i) {
            place(t);
        }
        skip(timing.minBidLifetime);
        vm.prank(provider);
        market.matchBest(offerId, BOOK(), 0, 0);
        vm.snapshotGasLastCall(GROUP, "match_over_8_expired");
    }

    function test_MatchOverCancelledHeads() external {
        BidTerms memory t = terms();
        t.tick = TICK + 1;
        uint96[9] memory placed;
        for (uint256 i; i < 9; ++i) {
            placed[i] = place(t);
        }
        skip(timing.minBidLifetime);
        for (uint256 i; i < 8; ++i) {
            vm.prank(agent);
            wallet.cancelBid(placed[i]);
        }
        vm.prank(provider);
        market.matchBest(offerId, BOOK(), 0, 0);
        vm.snapshotGasLastCall(GROUP, "match_over_8_cancelled");
    }

    function test_Withdraw() external {
        vm.prank(provider);
        market.withdraw(provider);
        vm.snapshotGasLastCall(GROUP, "withdraw");
    }

    receive() external payable {}
}
