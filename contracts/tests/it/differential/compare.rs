//! All state of the chain against all state of the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use alloy::{
    primitives::{Address, U256, aliases::U24},
    signers::local::PrivateKeySigner,
};
use contracts::{
    bindings::{
        Agreement as ChainAgreement, IAIPowerRental as M, IAgentWallet as W, IERC20 as T, KeyAccount as ChainAccount,
        KeyPolicy, KeyState, Level as ChainLevel, Offer as ChainOffer, WalletLimits,
    },
    book::{Agreement, BURNED, Key, Market, Offer, Status, Wallet},
    ids::{AgreementId, BookId},
    typed_data::bid_nonce_key,
};

use super::{
    chain::Chain,
    refusal::{chain_status, u40, u96},
    world::{World, ticks_of},
};

/// What was compared since it can no longer change.
#[derive(Default)]
pub(super) struct Seen {
    ended: BTreeSet<AgreementId>,
}

fn same<T: PartialEq + Debug>(what: impl FnOnce() -> String, chain: T, model: T) -> Result<(), String> {
    if chain == model {
        return Ok(());
    }
    Err(format!("{} differs\n  chain {chain:?}\n  model {model:?}", what()))
}

/// Everything; ended agreements only once, and once more when `thorough`.
pub(super) fn compare(
    chain: &mut Chain,
    model: &Market,
    world: &World,
    now_s: u64,
    seen: &mut Seen,
    thorough: bool,
) -> Result<(), String> {
    for (id, agreement) in model.agreements() {
        if seen.ended.contains(&id) && !thorough {
            continue;
        }
        compare_agreement(chain, model, world, now_s, id, Some(agreement))?;
        if agreement.status.is_terminal() {
            seen.ended.insert(id);
        }
    }
    for (offer, listing) in model.offers() {
        let stored = chain.view(world.market, &M::offerCall { offerId: offer });
        same(|| format!("offer {offer}"), stored, offer_of(listing))?;
    }
    compare_books(chain, model, world, now_s)?;
    compare_accounts(chain, model, world)?;
    for wallet in &world.wallets {
        compare_wallet(chain, model, world, now_s, *wallet)?;
    }
    if thorough {
        compare_rare(chain, model, world, now_s)?;
    }
    Ok(())
}

fn compare_agreement(
    chain: &mut Chain,
    model: &Market,
    world: &World,
    now_s: u64,
    id: AgreementId,
    agreement: Option<&Agreement>,
) -> Result<(), String> {
    let stored = chain.view(world.market, &M::agreementCall { agreementId: id.to_u96() });
    same(|| format!("agreement {id}"), stored, agreement_of(model, id, agreement))?;
    let call = M::effectiveStateCall { agreementId: id.to_u96(), timestamp: u40(now_s) };
    let effective = chain.view(world.market, &call);
    same(|| format!("effective state of {id}"), effective, chain_status(model.effective_state(now_s, id)))
}

fn compare_books(chain: &mut Chain, model: &Market, world: &World, now_s: u64) -> Result<(), String> {
    let mut ticks: BTreeMap<BookId, BTreeSet<u8>> = BTreeMap::new();
    for (id, _) in model.agreements() {
        ticks.entry(id.book().unwrap()).or_default().insert(id.tick());
    }
    for (book, ticks) in ticks {
        let bitmap = model.book(book).map(|book| book.bitmap()).unwrap_or_default();
        same(|| format!("bitmap of {book}"), chain.view(world.market, &M::bitmapCall { book: book.to_u16() }), bitmap)?;
        for tick in &ticks {
            let stored = chain.view(world.market, &M::levelCall { book: book.to_u16(), tick: *tick });
            let level = model.level(book, *tick);
            let expected = ChainLevel { head: level.head, tail: level.tail, live: level.live };
            same(|| format!("level {tick} of {book}"), stored, expected)?;
        }
        // From every side of the middle of what is in use.
        for min_tick in [0, ticks.iter().nth(ticks.len() / 2).copied().unwrap_or_default()] {
            let found = chain.view(world.market, &M::bestBidCall { book: book.to_u16(), minTick: min_tick });
            let expected = model.best_bid(now_s, book, min_tick).unwrap_or_default();
            same(|| format!("best bid of {book} from {min_tick}"), AgreementId::from(found), expected)?;
            super::oracle::check(model, now_s, book, min_tick, model.best_bid(now_s, book, min_tick))?;
        }
    }
    Ok(())
}

fn compare_accounts(chain: &mut Chain, model: &Market, world: &World) -> Result<(), String> {
    for agent in world.agents.iter().map(PrivateKeySigner::address) {
        let account = model.key_account(agent);
        let expected = ChainAccount {
            wallet: account.wallet,
            credit: u96(account.credit),
            spent: u96(account.spent),
            released: u96(account.released),
        };
        same(|| format!("account of key {agent}"), chain.view(world.market, &M::keyAccountCall { agent }), expected)?;
    }
    let mut held = 0;
    for account in world.everyone().into_iter().chain([BURNED]) {
        if !world.wallets.contains(&account) {
            let credit = chain.view(world.market, &M::creditOfCall { account });
            same(|| format!("credit of {account}"), credit, u96(model.credit_of(account)))?;
            held += model.credit_of(account);
        }
    }
    let holders = world.wallets.iter().chain(&world.providers).copied().chain([world.market, world.stranger]);
    for account in holders {
        let balance = chain.view(world.token, &T::balanceOfCall { account });
        same(|| format!("balance of {account}"), balance, U256::from(model.token().balance_of(account)))?;
    }
    same(
        || "what the market holds and owes".into(),
        model.token().balance_of(model.address()),
        held + owed(model, world),
    )
}

/// Escrow, deposits, bonds and keys' credits; with the accounts' credits they are all that the market holds.
fn owed(model: &Market, world: &World) -> u128 {
    let cost = |id: AgreementId, seconds: u64| {
        contracts::price::cost_of(model.price(id.class(), id.tick()).unwrap(), seconds as u32).unwrap()
    };
    let mut total = 0;
    let mut agents = BTreeSet::new();
    for (id, agreement) in model.agreements() {
        agents.insert(agreement.agent);
        if !agreement.status.is_terminal() {
            total += cost(id, u64::from(agreement.max_duration_s));
        }
        if agreement.status == Status::Disputed {
            total += cost(id, agreement.start_or_billable_s.max(world.clocks.min_billed_s));
        }
    }
    total += model.offers().map(|(_, offer)| u128::from(offer.slots) * offer.bond_per_slot).sum::<u128>();
    total + agents.into_iter().map(|agent| model.key_account(agent).credit).sum::<u128>()
}

fn compare_wallet(
    chain: &mut Chain,
    model: &Market,
    world: &World,
    now_s: u64,
    address: Address,
) -> Result<(), String> {
    let wallet = model.wallet(address).unwrap();
    let unit = model.unit();
    for agent in world.agents.iter().map(PrivateKeySigner::address) {
        let state = chain.view(address, &W::keyStateCall { agent });
        let expected = wallet.keys.get(&agent).map(|key| key_of(wallet, key, unit)).unwrap_or_else(empty_key);
        same(|| format!("key {agent} of wallet {address}"), state, expected)?;
        if wallet.keys.contains_key(&agent) {
            let available = chain.view(address, &W::availableToCall { agent });
            let room = u96(model.available_to(now_s, address, agent));
            same(|| format!("what key {agent} of wallet {address} may still spend"), available, room)?;
            let active = chain.view(address, &W::isActiveCall { agent });
            same(|| format!("life of key {agent} of wallet {address}"), active, wallet.is_active(now_s, agent))?;
        }
    }
    let totals = (
        chain.view(address, &W::ownerCall {}),
        chain.view(address, &W::pausedCall {}),
        chain.view(address, &W::limitsCall {}),
        chain.view(address, &W::reservedCall {}),
        chain.view(address, &W::lifetimeSpentCall {}),
        chain.view(address, &W::spentInWindowCall {}),
    );
    let limits = WalletLimits {
        daily: u96(u128::from(wallet.ledger.daily_units) * unit),
        perBid: u96(u128::from(wallet.per_bid_units) * unit),
        lifetime: u96(u128::from(wallet.ledger.lifetime_units) * unit),
    };
    let expected = (
        wallet.owner,
        wallet.paused,
        limits,
        u96(wallet.ledger.reserved),
        u96(wallet.ledger.spent),
        u96(model.spent_in_window(now_s, address)),
    );
    same(|| format!("wallet {address}"), totals, expected)
}

/// What changes seldom, or shows in the results of other calls.
fn compare_rare(chain: &mut Chain, model: &Market, world: &World, now_s: u64) -> Result<(), String> {
    let config = chain.view(world.market, &M::configCall {});
    let expected = model.config();
    let stored = (config.feeBps, config.treasury, config.arbiter, config.pauser);
    same(|| "config".into(), stored, (expected.fee_bps, expected.treasury, expected.arbiter, expected.pauser))?;
    for provider in world.everyone() {
        let known = chain.view(world.market, &M::isProviderCall { provider });
        same(|| format!("provider {provider}"), known, model.is_provider(provider))?;
        for operator in &world.operators {
            let allowed = chain.view(world.market, &M::isOperatorCall { provider, operator: *operator });
            same(|| format!("operator {operator}"), allowed, model.is_operator(provider, *operator))?;
        }
    }
    for wallet in &world.wallets {
        for agent in world.agents.iter().map(PrivateKeySigner::address) {
            let key = bid_nonce_key(agent).to();
            let nonce = chain.view(world.market, &M::noncesCall { wallet: *wallet, key });
            same(|| format!("nonce of {agent}"), nonce.as_limbs()[0], model.nonce(*wallet, agent))?;
        }
    }
    let unknown = AgreementId::from_u128(0x0700_0000_0000_0000_ffff).unwrap();
    compare_agreement(chain, model, world, now_s, unknown, None)
}

// --- the contracts' forms ---

fn agreement_of(model: &Market, id: AgreementId, agreement: Option<&Agreement>) -> ChainAgreement {
    let agent = agreement.map(|agreement| agreement.agent).unwrap_or_default();
    let flags = |a: &Agreement| {
        u8::from(a.has_receipts)
            | u8::from(a.preempted) << 1
            | u8::from(a.deposit_counted) << 2
            | u8::from(a.cancelled) << 3
    };
    ChainAgreement {
        id: id.to_u96(),
        wallet: model.key_account(agent).wallet,
        agent,
        maxDuration: U24::from(agreement.map_or(0, |a| a.max_duration_s)),
        expiry: u40(agreement.map_or(0, |a| a.expiry_s)),
        feeBps: agreement.map_or(0, |a| a.fee_bps),
        status: chain_status(agreement.map_or(Status::None, |a| a.status)),
        flags: agreement.map_or(0, flags),
        offerId: agreement.map_or(0, |a| a.offer),
        startOrBillable: u40(agreement.map_or(0, |a| a.start_or_billable_s)),
        deadline: u40(agreement.map_or(0, |a| a.deadline_s)),
        paid: u96(agreement.map_or(0, |a| a.paid)),
    }
}

fn offer_of(offer: &Offer) -> ChainOffer {
    ChainOffer {
        provider: offer.provider,
        cls: offer.class,
        bookMask: offer.book_mask,
        reserveTick: offer.reserve_tick,
        slots: offer.slots,
        used: offer.used,
        validUntil: u40(offer.valid_until_s),
        bondPerSlot: u96(offer.bond_per_slot),
    }
}

fn key_of(wallet: &Wallet, key: &Key, unit: u128) -> KeyState {
    let mask = (1..32).filter(|class| key.max_ticks[*class] != 0).fold(0, |mask, class| mask | 1 << class);
    KeyState {
        policy: KeyPolicy {
            expiry: u40(key.expiry_s),
            permissions: key.permissions,
            classMask: mask,
            providerList: key.provider_list,
            daily: u96(u128::from(key.ledger.daily_units) * unit),
            perBid: u96(u128::from(key.per_bid_units) * unit),
            lifetime: u96(u128::from(key.ledger.lifetime_units) * unit),
            maxTicks: ticks_of(&key.max_ticks),
        },
        parent: key.parent.unwrap_or_default(),
        depth: key.depth,
        active: key.active && key.epoch == wallet.epoch,
        reserved: u96(key.ledger.reserved),
        lifetimeSpent: u96(key.ledger.spent),
        spentWindow: key.ledger.window.to_word(),
    }
}

fn empty_key() -> KeyState {
    KeyState {
        policy: KeyPolicy {
            expiry: u40(0),
            permissions: 0,
            classMask: 0,
            providerList: false,
            daily: u96(0),
            perBid: u96(0),
            lifetime: u96(0),
            maxTicks: U256::ZERO,
        },
        parent: Address::ZERO,
        depth: 0,
        active: false,
        reserved: u96(0),
        lifetimeSpent: u96(0),
        spentWindow: U256::ZERO,
    }
}
