//! Who there is, and a market with wallets and providers, on the chain and in the model alike.

use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U24, U40},
    },
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolStruct, SolValue},
};
use contracts::{
    artifacts::creation_code,
    bindings::{
        Bid, BidTerms, IAIPowerRental as M, IAgentWallet as W, IAgentWalletFactory as F, IERC20 as T, KeyPolicy,
        Template, WalletLimits,
    },
    book::{Config, Limits, Market, Policy, Terms},
    params::{Params, Preset},
    price::base_from_reference,
    typed_data::{FORWARDER_NAME, market_domain},
};
use revm::database::InMemoryDB;

use super::{
    chain::{CHAIN_ID, Chain},
    refusal::{u40, u96},
};

pub(super) const START_S: u64 = 1_700_000_000;
pub(super) const CLASSES: [u8; 2] = [3, 7];
pub(super) const TEMPLATE: u16 = 1;
pub(super) const AIT: u128 = 1_000_000_000_000_000_000;
const FEE_BPS: u16 = 250;

#[derive(Clone)]
pub(super) struct World {
    pub(super) admin: Address,
    pub(super) treasury: Address,
    pub(super) arbiter: Address,
    pub(super) pauser: Address,
    pub(super) stranger: Address,
    pub(super) owners: Vec<PrivateKeySigner>,
    pub(super) agents: Vec<PrivateKeySigner>,
    pub(super) providers: Vec<Address>,
    pub(super) operators: Vec<Address>,
    pub(super) wallets: Vec<Address>,
    pub(super) token: Address,
    pub(super) market: Address,
    pub(super) factory: Address,
    pub(super) clocks: Params,
}

/// The state that all sequences with one set of clocks start from.
pub(super) struct Genesis {
    pub(super) world: World,
    pub(super) model: Market,
    pub(super) state: InMemoryDB,
}

impl World {
    /// Everyone who may call or be named.
    pub(super) fn everyone(&self) -> Vec<Address> {
        let mut all = vec![self.admin, self.treasury, self.arbiter, self.pauser, self.stranger];
        all.extend(self.owners.iter().chain(&self.agents).map(PrivateKeySigner::address));
        all.extend(self.providers.iter().chain(&self.operators).chain(&self.wallets));
        all
    }
}

pub(super) fn genesis(preset: Preset) -> Genesis {
    let named = |byte: u8| Address::repeat_byte(byte);
    let signers = |first: u8, count: u8| -> Vec<_> {
        (first..first + count).map(|byte| PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap()).collect()
    };
    let mut chain = Chain::new(InMemoryDB::default());
    chain.warp(START_S);
    let admin = named(0xa1);
    let mut world = World {
        admin,
        treasury: named(0xa2),
        arbiter: named(0xa3),
        pauser: named(0xa4),
        stranger: named(0xa5),
        owners: signers(1, 2),
        agents: signers(11, 8),
        providers: vec![named(0xb1), named(0xb2), named(0xb3)],
        operators: vec![named(0xc1), named(0xc2)],
        wallets: Vec::new(),
        token: Address::ZERO,
        market: Address::ZERO,
        factory: admin.create(3),
        clocks: preset.params(),
    };
    let code = |name: &str, arguments: Vec<u8>| [creation_code(name).unwrap().to_vec(), arguments].concat();
    world.token = chain.create(admin, code("AITToken", Vec::new()));
    let forwarder = chain.create(admin, code("ERC2771Forwarder", (FORWARDER_NAME,).abi_encode_params()));
    let arguments = (
        world.token,
        world.factory,
        admin,
        world.treasury,
        world.arbiter,
        world.pauser,
        FEE_BPS,
        preset.params().timing(),
    );
    world.market = chain.create(admin, code("AIPowerRental", arguments.abi_encode_params()));
    let factory = chain.create(admin, code("AgentWalletFactory", (world.market, forwarder).abi_encode_params()));
    assert_eq!(factory, world.factory);
    let config =
        Config { admin, treasury: world.treasury, arbiter: world.arbiter, pauser: world.pauser, fee_bps: FEE_BPS };
    let mut model = Market::new(world.market, preset.params(), config, 18);
    furnish(&mut world, &mut chain, &mut model);
    Genesis { world, model, state: chain.state() }
}

/// Classes, templates, wallets with one key each, providers with money.
fn furnish(world: &mut World, chain: &mut Chain, model: &mut Market) {
    let (admin, market, token) = (world.admin, world.market, world.token);
    for class in CLASSES {
        let base = base_from_reference(AIT / 20).unwrap() * u128::from(class);
        send(chain, admin, market, &M::addClassCall { cls: class, basePrice: base });
        model.add_class(admin, class, base).unwrap();
    }
    let mask = CLASSES.iter().fold(0, |mask, class| mask | 1 << class);
    send(chain, admin, market, &M::addTemplateCall { templateId: TEMPLATE, classMask: mask, template: template() });
    model.add_template(admin, TEMPLATE, mask).unwrap();
    for (index, owner) in [0, 0, 1].into_iter().enumerate() {
        let (owner, agent) = (world.owners[owner].address(), world.agents[index].address());
        let limits = Limits { daily: 4 * AIT, per_bid: 3 * AIT, lifetime: 30 * AIT };
        let policy = Policy {
            expiry_s: START_S + 20 * 86_400,
            permissions: 15,
            class_mask: mask,
            provider_list: false,
            limits: Limits { daily: 3 * AIT, per_bid: 2 * AIT, lifetime: 20 * AIT },
            max_ticks: [220; 32],
        };
        let call = F::createWalletCall {
            owner,
            salt: B256::with_last_byte(index as u8),
            limits: limits_of(&limits),
            agent,
            policy: policy_of(&policy),
        };
        let data = chain.send(owner, world.factory, call.abi_encode().into()).unwrap();
        let wallet = F::createWalletCall::abi_decode_returns(&data).unwrap();
        model.create_wallet(START_S, wallet, owner, &limits, Some((agent, &policy))).unwrap();
        mint(chain, model, token, wallet, [8, 5, 1][index] * AIT);
        world.wallets.push(wallet);
        if index == 0 {
            delegate(world, chain, model, wallet, &policy);
        }
    }
    for (provider, operator) in world.providers.iter().copied().zip(world.operators.iter().copied()) {
        send(chain, provider, market, &M::registerProviderCall { endpoint: "http://one".into() });
        send(chain, provider, market, &M::setOperatorCall { operator, allowed: true });
        send(chain, provider, token, &T::approveCall { spender: market, value: U256::MAX });
        model.register_provider(provider, "http://one").unwrap();
        model.set_operator(provider, operator, true).unwrap();
        model.token_mut().approve_market(provider, u128::MAX);
        mint(chain, model, token, provider, 20 * AIT);
    }
    // The third provider has approved little and owns less.
    let poor = world.providers[2];
    send(chain, poor, market, &M::registerProviderCall { endpoint: "http://two".into() });
    model.register_provider(poor, "http://two").unwrap();
    send(chain, poor, token, &T::approveCall { spender: market, value: U256::from(AIT) });
    model.token_mut().approve_market(poor, AIT);
    mint(chain, model, token, poor, AIT / 2);
}

/// Three keys, each of the one before, down to where delegation ends.
fn delegate(world: &World, chain: &mut Chain, model: &mut Market, wallet: Address, policy: &Policy) {
    for [sender, agent] in [[0, 3], [3, 4], [4, 5]] {
        let (sender, agent) = (world.agents[sender].address(), world.agents[agent].address());
        send(chain, sender, wallet, &W::authorizeAgentCall { agent, policy: policy_of(policy) });
        model.authorize(START_S, wallet, sender, agent, policy).unwrap();
    }
}

fn mint(chain: &mut Chain, model: &mut Market, token: Address, to: Address, amount: u128) {
    send(chain, to, token, &T::mintCall { to, value: U256::from(amount) });
    model.token_mut().mint(to, amount);
}

fn send<C: SolCall>(chain: &mut Chain, from: Address, to: Address, call: &C) {
    chain.send(from, to, call.abi_encode().into()).unwrap();
}

// --- the contracts' forms ---

pub(super) fn template() -> Template {
    Template { memoryMiB: 512, diskMiB: 512, pids: 64, network: false, imageDigest: B256::ZERO }
}

pub(super) fn limits_of(limits: &Limits) -> WalletLimits {
    WalletLimits { daily: u96(limits.daily), perBid: u96(limits.per_bid), lifetime: u96(limits.lifetime) }
}

pub(super) fn ticks_of(max_ticks: &[u8; 32]) -> U256 {
    U256::from_le_bytes(*max_ticks)
}

pub(super) fn policy_of(policy: &Policy) -> KeyPolicy {
    KeyPolicy {
        expiry: u40(policy.expiry_s),
        permissions: policy.permissions,
        classMask: policy.class_mask,
        providerList: policy.provider_list,
        daily: u96(policy.limits.daily),
        perBid: u96(policy.limits.per_bid),
        lifetime: u96(policy.limits.lifetime),
        maxTicks: ticks_of(&policy.max_ticks),
    }
}

pub(super) fn terms_of(terms: &Terms) -> BidTerms {
    BidTerms {
        cls: terms.class,
        preemptible: terms.preemptible,
        tick: terms.tick,
        maxDuration: U24::from(terms.max_duration_s),
        expiry: U40::from(terms.expiry_s),
        templateId: terms.template,
        specHash: terms.spec_hash,
        policyHash: B256::ZERO,
    }
}

pub(super) fn bid_of(wallet: Address, agent: Address, terms: &Terms, nonce: u64) -> Bid {
    let nonce = U256::from_be_slice(agent.as_slice()) << 96 | U256::from(nonce);
    let BidTerms { cls, preemptible, tick, maxDuration, expiry, templateId, specHash, policyHash } = terms_of(terms);
    Bid { wallet, agent, cls, preemptible, tick, maxDuration, expiry, templateId, specHash, policyHash, nonce }
}

/// A bid's signature, nested as ERC-7739 has it: agent ‖ ECDSA ‖ the market's domain ‖ the bid's hash ‖ its type ‖ length.
pub(super) fn sign_bid(bid: &Bid, signer: &PrivateKeySigner, market: Address) -> Bytes {
    let (bid_type, bid_hash) = (Bid::eip712_encode_type(), bid.eip712_hash_struct());
    let nested_type = format!(
        "TypedDataSign(Bid contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt){bid_type}"
    );
    let hash = |bytes: &[u8]| alloy::primitives::keccak256(bytes);
    let nested = (
        hash(nested_type.as_bytes()),
        bid_hash,
        hash(b"AgentWallet"),
        hash(b"1"),
        U256::from(CHAIN_ID),
        bid.wallet,
        B256::ZERO,
    );
    let domain = market_domain(CHAIN_ID, market).separator();
    let digest = hash(&[&[0x19, 0x01], domain.as_slice(), hash(&nested.abi_encode_params()).as_slice()].concat());
    let inner = signer.sign_hash_sync(&digest).unwrap().as_bytes();
    let length = (bid_type.len() as u16).to_be_bytes();
    [bid.agent.as_slice(), &inner, domain.as_slice(), bid_hash.as_slice(), bid_type.as_bytes(), &length].concat().into()
}
