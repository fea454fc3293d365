// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {AgentWallet} from "../../contracts/AgentWallet.sol";
import {IAgentWallet} from "../../contracts/interfaces/IAgentWallet.sol";
import {Funding, FundingKind} from "../../contracts/interfaces/Types.sol";
import {SpendWindow} from "../../contracts/libraries/SpendWindow.sol";

/// @notice Market and token in one, as far as a wallet asks them.
contract Counterparty {
    /// @dev A unit of a limit is a token unit: with more decimals, products by 10^12 are beyond the solvers.
    uint8 public constant decimals = 6;

    function token() external view returns (address) {
        return address(this);
    }

    function transfer(address, uint256) external pure returns (bool) {
        return true;
    }
}

/// @notice Proofs about the only door that money leaves a wallet by, from any words in the storage of a wallet, a key and its
/// parent. Blobs of signatures have the lengths that halmos tries: 0, 65 and 1,024 bytes.
contract WalletProofs is Test {
    address private constant CHILD = address(0xc0);
    address private constant PARENT = address(0xa0);
    uint256 private constant KEYS_SLOT = 3;
    uint256 private constant LEDGER_SLOT = 1;
    uint256 private constant ACTIVE_AND_BID = 65;

    Counterparty private market;
    AgentWallet private wallet;

    struct Words {
        uint256 head;
        uint256 child;
        uint256 parent;
        uint256 childTicks;
        uint256 parentTicks;
        uint256 childLedger;
        uint256 parentLedger;
        uint256 walletLedger;
    }

    function setUp() external {
        vm.warp(1_700_000_000);
        market = new Counterparty();
        wallet = new AgentWallet(address(market), address(0xf0));
    }

    function keySlot(address key) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(key, KEYS_SLOT)));
    }

    function put(uint256 slot, uint256 word) private {
        vm.store(address(wallet), bytes32(slot), bytes32(word));
    }

    function get(uint256 slot) private view returns (uint256) {
        return uint256(vm.load(address(wallet), bytes32(slot)));
    }

    /// @dev `window` goes to the spender whose ledger is at `watched`; the others have spent nothing lately.
    function fill(Words memory words, uint256 watched, uint256 window) private {
        put(0, words.head);
        put(keySlot(CHILD), words.child >> 160 << 160 | uint160(PARENT));
        put(keySlot(PARENT), words.parent >> 160 << 160);
        put(keySlot(CHILD) + 1, words.childTicks);
        put(keySlot(PARENT) + 1, words.parentTicks);
        put(keySlot(CHILD) + 2, words.childLedger);
        put(keySlot(PARENT) + 2, words.parentLedger);
        put(LEDGER_SLOT, words.walletLedger);
        put(watched + 1, window);
    }

    /// @dev reserved 72 | spent 88 | lifetime 64 | daily 32, least significant first.
    function checkLedger(uint256 slot) private view {
        uint256 word = get(slot);
        uint256 reserved = uint72(word);
        assertLe(reserved + SpendWindow.sum(get(slot + 1), block.timestamp), uint256(uint32(word >> 224)));
        assertLe(reserved + uint88(word >> 72), uint256(uint64(word >> 160)));
    }

    /// @dev parent 160 | expiry 40 | flags 8 | epoch 16 | perBid 32.
    function checkKey(address key, uint256 epoch, uint256 cls, uint256 tick, uint256 amount) private view {
        uint256 auth = get(keySlot(key));
        assertEq(uint8(auth >> 200) & ACTIVE_AND_BID, ACTIVE_AND_BID);
        assertGt(uint40(auth >> 160), block.timestamp);
        assertEq(uint16(auth >> 208), epoch);
        assertLe(amount, uint256(uint32(auth >> 224)));
        uint256 cap = uint8(get(keySlot(key) + 1) >> (cls * 8));
        assertTrue(cap != 0 && tick <= cap);
    }

    function bid(uint8 cls, uint8 tick) private pure returns (uint96) {
        return uint96(cls) << 80 | uint96(tick) << 64 | 1;
    }

    function fund(uint96 id, uint96 amount, uint96 spent, uint96 released) private {
        vm.prank(address(market));
        wallet.fund(id, CHILD, Funding(FundingKind.Bid, amount, 0, spent, released));
    }

    /// @dev Whatever is stored and counted on the way: the key, its parent and the wallet stay within their limits.
    function check_AFundedBidKeepsEveryLimit(
        Words calldata words,
        uint8 spender,
        uint256 window,
        uint72 amount,
        uint72 spent,
        uint72 released
    ) external {
        vm.assume(spender < 3 && amount != 0);
        uint256 watched = LEDGER_SLOT;
        if (spender == 1) watched = keySlot(CHILD) + 2;
        else if (spender == 2) watched = keySlot(PARENT) + 2;
        fill(words, watched, window);
        fund(bid(2, 100), amount, spent, released);
        checkLedger(watched);
    }

    /// @dev Paused wallets, dead keys, forbidden classes, prices above a cap, amounts above a bid's limit: none is funded.
    function check_AFundedBidKeepsEveryCap(Words calldata words, uint8 cls, uint8 tick, uint72 amount) external {
        vm.assume(cls < 32);
        fill(words, LEDGER_SLOT, 0);
        fund(bid(cls, tick), amount, 0, 0);
        uint256 head = get(0);
        assertEq(uint8(head >> 176), 0);
        assertLe(amount, uint32(head >> 184));
        uint256 epoch = uint16(head >> 160);
        checkKey(CHILD, epoch, cls, tick, amount);
        checkKey(PARENT, epoch, cls, tick, amount);
    }

    function check_NobodyElseFunds(address caller, Words calldata words, Funding calldata funding, uint96 id) external {
        vm.assume(caller != address(market));
        fill(words, LEDGER_SLOT, 0);
        vm.prank(caller);
        (bool success,) = address(wallet).call(abi.encodeCall(IAgentWallet.fund, (id, CHILD, funding)));
        assertFalse(success);
    }

    /// @dev To anyone but the market no signature is valid, whatever is stored and whatever is signed.
    function check_SignaturesAreForTheMarketAlone(
        address caller,
        Words calldata words,
        bytes32 hash,
        bytes calldata blob
    ) external {
        vm.assume(caller != address(market));
        fill(words, LEDGER_SLOT, 0);
        vm.prank(caller);
        assertEq(wallet.isValidSignature(hash, blob), bytes4(0xffffffff));
    }
}
