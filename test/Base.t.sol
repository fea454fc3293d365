// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "forge-std/Test.sol";
import {IAgentWalletFactory} from "../contracts/interfaces/IAgentWalletFactory.sol";
import {
    Agreement,
    Bid,
    BidTerms,
    KeyPolicy,
    Level,
    Offer,
    Status,
    Template,
    Timing,
    WalletLimits
} from "../contracts/interfaces/Types.sol";
import {IForwarder, IMarket, IToken, IWallet} from "./Interfaces.sol";

/// @notice Deploys everything and brings it to the states that tests start from.
abstract contract Base is Test {
    uint8 internal constant CLS = 3;
    uint8 internal constant TICK = 100;
    uint16 internal constant TEMPLATE = 1;
    uint16 internal constant FEE_BPS = 250;
    uint24 internal constant DURATION = 600;
    uint16 internal constant SLOTS = 4;
    /// @dev 0.05 AIT an hour at tick 0.
    uint128 internal constant BASE_PRICE = uint128(0.05e18) * 1e18 / 3600;
    bytes32 internal constant SPEC = keccak256("spec");
    bytes32 internal constant RESULT = keccak256("result");
    bytes32 internal constant RECEIPTS = keccak256("receipts");
    bytes32 internal constant IMAGE = keccak256("image");
    bytes32 internal constant SALT = bytes32(uint256(7));
    address internal constant BURNED = 0x000000000000000000000000000000000000dEaD;
    bytes32 internal constant FORWARD_TYPEHASH = keccak256(
        "ForwardRequest(address from,address to,uint256 value,uint256 gas,uint256 nonce,uint48 deadline,bytes data)"
    );
    string internal constant BID_TYPE =
        "Bid(address wallet,address agent,uint8 cls,bool preemptible,uint8 tick,uint24 maxDuration,uint40 expiry,uint16 templateId,bytes32 specHash,bytes32 policyHash,uint256 nonce)";

    uint40 internal constant NOW = 1_700_000_000;

    address internal admin = makeAddr("admin");
    address internal treasury = makeAddr("treasury");
    address internal arbiter = makeAddr("arbiter");
    address internal pauser = makeAddr("pauser");
    address internal provider = makeAddr("provider");
    address internal operator = makeAddr("operator");
    address internal stranger = makeAddr("stranger");
    address internal owner;
    uint256 internal ownerKey;
    address internal agent;
    uint256 internal agentKey;

    IToken internal token;
    IForwarder internal forwarder;
    IMarket internal market;
    IAgentWalletFactory internal factory;
    IWallet internal wallet;
    Timing internal timing;
    uint64 internal offerId;

    function setUp() public virtual {
        vm.warp(NOW);
        (owner, ownerKey) = makeAddrAndKey("owner");
        (agent, agentKey) = makeAddrAndKey("agent");
        timing = Timing({
            startDeadline: 30,
            submitGrace: 60,
            challengeWindow: 100,
            disputeTimeout: 1000,
            minBidLifetime: 10,
            minBilled: 5,
            checkpoint: 60,
            bondSeconds: 60
        });
        _deploy();
        wallet = IWallet(factory.createWallet(owner, SALT, limits(), agent, policy()));
        token.mint(address(wallet), 1000 ether);
        token.mint(provider, 1000 ether);
        vm.startPrank(provider);
        token.approve(address(market), type(uint256).max);
        market.registerProvider("http://provider");
        market.setOperator(operator, true);
        vm.stopPrank();
    }

    function _deploy() internal {
        token = IToken(deployCode("AITToken.sol:AITToken"));
        forwarder = IForwarder(deployCode("ERC2771Forwarder.sol:ERC2771Forwarder", abi.encode("OpenClawForwarder")));
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        market = deployMarket(address(token), next, timing);
        factory = IAgentWalletFactory(
            deployCode("AgentWalletFactory.sol:AgentWalletFactory", abi.encode(address(market), address(forwarder)))
        );
        vm.startPrank(admin);
        market.addClass(CLS, BASE_PRICE);
        market.addTemplate(TEMPLATE, uint32(1) << CLS, Template(512, 512, 64, false, IMAGE));
        vm.stopPrank();
    }

    function deployMarket(address token_, address factory_, Timing memory t) internal returns (IMarket) {
        return IMarket(
            deployCode(
                "AIPowerRental.sol:AIPowerRental",
                abi.encode(token_, factory_, admin, treasury, arbiter, pauser, FEE_BPS, t)
            )
        );
    }

    // --- inputs ---

    function limits() internal pure returns (WalletLimits memory) {
        return WalletLimits({daily: 100 ether, perBid: 50 ether, lifetime: 1000 ether});
    }

    function policy() internal view returns (KeyPolicy memory) {
        return KeyPolicy({
            expiry: uint40(block.timestamp + 30 days),
            permissions: 15,
            classMask: uint32(1) << CLS,
            providerList: false,
            daily: 50 ether,
            perBid: 20 ether,
            lifetime: 500 ether,
            maxTicks: uint256(200) << (8 * CLS)
        });
    }

    function terms() internal view returns (BidTerms memory) {
        return BidTerms({
            cls: CLS,
            preemptible: false,
            tick: TICK,
            maxDuration: DURATION,
            expiry: uint40(block.timestamp + 1 days),
            templateId: TEMPLATE,
            specHash: SPEC,
            policyHash: keccak256("policy")
        });
    }

    function bookOf(BidTerms memory t) internal pure returns (uint16) {
        uint16 bucket = t.maxDuration <= 600 ? 0 : t.maxDuration <= 3600 ? 1 : t.maxDuration <= 21_600 ? 2 : 3;
        return uint16(t.cls) << 8 | bucket << 1 | (t.preemptible ? 1 : 0);
    }

    function idOf(uint16 book, uint8 tick, uint64 sequence) internal pure returns (uint96) {
        return uint96(book) << 72 | uint96(tick) << 64 | sequence;
    }

    function BOOK() internal view returns (uint16) {
        return bookOf(terms());
    }

    // --- amounts, computed apart from the contracts ---

    function escrow(uint8 tick, uint256 duration) internal view returns (uint96) {
        return uint96((uint256(market.priceOf(CLS, tick)) * duration + 1e18 - 1) / 1e18);
    }

    function feeOf(uint96 gross) internal pure returns (uint96) {
        return uint96(uint256(gross) * FEE_BPS / 10_000);
    }

    function bond() internal view returns (uint96) {
        return escrow(TICK, 120);
    }

    /// @dev What the market holds for the key that most tests bid with.
    function keyCredit() internal view returns (uint96) {
        return market.keyAccount(agent).credit;
    }

    // --- states ---

    function place() internal returns (uint96) {
        return place(terms());
    }

    function place(BidTerms memory t) internal returns (uint96) {
        vm.prank(agent);
        return wallet.placeBid(t);
    }

    function post() internal returns (uint64 id) {
        return post(255, 0);
    }

    function post(uint8 bookMask, uint8 reserveTick) internal returns (uint64 id) {
        uint96 perSlot = bond();
        vm.prank(provider);
        id = market.postOffer(CLS, bookMask, SLOTS, reserveTick, perSlot, uint40(block.timestamp + 30 days));
        offerId = id;
    }

    function matched() internal returns (uint96 id) {
        return matched(terms());
    }

    function matched(BidTerms memory t) internal returns (uint96 id) {
        place(t);
        if (offerId == 0) post();
        vm.prank(provider);
        id = market.matchBest(offerId, bookOf(t), 0, 0);
        assertNotEq(id, 0, "nothing matched");
    }

    function running() internal returns (uint96 id) {
        return running(terms());
    }

    function running(BidTerms memory t) internal returns (uint96 id) {
        id = matched(t);
        startAs(provider, id);
    }

    function startAs(address sender, uint96 id) internal {
        bytes memory signature = countersign(agentKey, id);
        vm.prank(sender);
        market.start(id, SPEC, IMAGE, signature);
    }

    function submitted() internal returns (uint96 id) {
        id = running();
        skip(100);
        submitAs(provider, id, 100);
    }

    function submitAs(address sender, uint96 id, uint40 claimed) internal {
        vm.prank(sender);
        market.submit(id, claimed, RESULT, RECEIPTS);
    }

    function disputed() internal returns (uint96 id) {
        id = submitted();
        vm.prank(agent);
        wallet.dispute(id, "bad");
    }

    /// @dev A key that `parent` may delegate to, and its private key.
    function delegate(address parent, string memory name) internal returns (address key, uint256 secret) {
        (key, secret) = makeAddrAndKey(name);
        KeyPolicy memory p = policy();
        p.expiry = wallet.keyState(parent).policy.expiry;
        vm.prank(parent);
        wallet.authorizeAgent(key, p);
    }

    /// @dev A key at the greatest depth, with all that it descends from: the owner's key first.
    function lineage() internal returns (address[4] memory keys, uint256 deepestSecret) {
        keys[0] = agent;
        for (uint256 depth = 1; depth < 4; ++depth) {
            (keys[depth], deepestSecret) = delegate(keys[depth - 1], vm.toString(depth));
        }
    }

    function settled() internal returns (uint96 id) {
        id = submitted();
        skip(timing.challengeWindow);
        market.advance(id);
    }

    // --- signatures ---

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function countersign(uint256 key, uint96 id) internal view returns (bytes memory) {
        return sign(key, market.startDigest(id, SPEC));
    }

    function bid() internal view returns (Bid memory) {
        return bidOf(terms(), address(wallet), agent);
    }

    function bidOf(BidTerms memory t, address wallet_, address agent_) internal view returns (Bid memory) {
        return Bid({
            wallet: wallet_,
            agent: agent_,
            cls: t.cls,
            preemptible: t.preemptible,
            tick: t.tick,
            maxDuration: t.maxDuration,
            expiry: t.expiry,
            templateId: t.templateId,
            specHash: t.specHash,
            policyHash: t.policyHash,
            nonce: market.nonces(wallet_, uint192(uint160(agent_)) << 32)
        });
    }

    function domainSeparator(string memory name, address verifier) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                verifier
            )
        );
    }

    function bidStructHash(Bid memory b) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(BID_TYPE)), b));
    }

    /// @dev What an agent signs: the bid nested in the wallet's domain (ERC-7739), under the market's domain.
    function nestedDigest(Bid memory b, address wallet_) internal view returns (bytes32) {
        bytes32 nested = keccak256(
            abi.encode(
                keccak256(
                    abi.encodePacked(
                        "TypedDataSign(Bid contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                        BID_TYPE
                    )
                ),
                bidStructHash(b),
                keccak256("AgentWallet"),
                keccak256("1"),
                block.chainid,
                wallet_,
                bytes32(0)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domainSeparator("AIPowerRental", address(market)), nested));
    }

    function nest(Bid memory b, address agent_, bytes memory inner) internal view returns (bytes memory) {
        return abi.encodePacked(
            agent_,
            inner,
            domainSeparator("AIPowerRental", address(market)),
            bidStructHash(b),
            BID_TYPE,
            uint16(bytes(BID_TYPE).length)
        );
    }

    function signBid(uint256 key, Bid memory b) internal view returns (bytes memory) {
        return nest(b, b.agent, sign(key, nestedDigest(b, b.wallet)));
    }

    // --- the forwarder ---

    function request(uint256 key, bytes memory data) internal view returns (IForwarder.ForwardRequestData memory r) {
        r.from = vm.addr(key);
        r.to = address(wallet);
        r.gas = 600_000;
        r.deadline = uint48(block.timestamp + 60);
        r.data = data;
        r.signature = sign(key, requestDigest(r, forwarder.nonces(r.from)));
    }

    function requestDigest(IForwarder.ForwardRequestData memory r, uint256 nonce) internal view returns (bytes32) {
        bytes32 hash =
            keccak256(abi.encode(FORWARD_TYPEHASH, r.from, r.to, r.value, r.gas, nonce, r.deadline, keccak256(r.data)));
        return keccak256(abi.encodePacked("\x19\x01", domainSeparator("OpenClawForwarder", address(forwarder)), hash));
    }

    // --- checks ---

    function assertStatus(uint96 id, Status expected) internal view {
        assertEq(uint8(market.agreement(id).status), uint8(expected), "status");
    }
}
