//! One test for each rule, on numbers computed by hand.

#![allow(clippy::unwrap_used)]

use alloy::primitives::{Address, B256};

use super::*;
use crate::{
    ids::{AgreementId, BookId},
    params::Preset,
};

const T0: u64 = 1_700_000_000;
const CLASS: u8 = 3;
/// One token unit of a limit.
const UNIT: u128 = 1_000_000_000_000;
/// Tick 0 costs one unit of a limit per second.
const BASE: u128 = UNIT * 1_000_000_000_000_000_000;

const ADMIN: Address = Address::repeat_byte(1);
const TREASURY: Address = Address::repeat_byte(2);
const ARBITER: Address = Address::repeat_byte(3);
const PAUSER: Address = Address::repeat_byte(4);
const OWNER: Address = Address::repeat_byte(5);
const WALLET: Address = Address::repeat_byte(6);
const AGENT: Address = Address::repeat_byte(7);
const CHILD: Address = Address::repeat_byte(8);
const PROVIDER: Address = Address::repeat_byte(9);
const STRANGER: Address = Address::repeat_byte(10);

fn limits(units: u128) -> Limits {
    Limits { daily: units * UNIT, per_bid: units * UNIT, lifetime: units * UNIT }
}

fn policy(units: u128) -> Policy {
    Policy {
        expiry_s: T0 + 30 * 86_400,
        permissions: permission::ALL,
        class_mask: 1 << CLASS,
        provider_list: false,
        limits: limits(units),
        max_ticks: [200; 32],
    }
}

/// Demo clocks, one wallet with one key, one provider; everyone is rich.
fn market() -> Market {
    let config = Config { admin: ADMIN, treasury: TREASURY, arbiter: ARBITER, pauser: PAUSER, fee_bps: 250 };
    let mut market = Market::new(Address::repeat_byte(99), Preset::Demo.params(), config, 18);
    market.add_class(ADMIN, CLASS, BASE).unwrap();
    market.add_template(ADMIN, 1, 1 << CLASS).unwrap();
    market.create_wallet(T0, WALLET, OWNER, &limits(100_000), Some((AGENT, &policy(100_000)))).unwrap();
    market.token_mut().mint(WALLET, 1_000_000 * UNIT);
    market.token_mut().mint(PROVIDER, 1_000_000 * UNIT);
    market.token_mut().approve_market(PROVIDER, u128::MAX);
    market.register_provider(PROVIDER, "").unwrap();
    market
}

fn terms(tick: u8, expiry_s: u64) -> Terms {
    Terms {
        class: CLASS,
        preemptible: true,
        tick,
        max_duration_s: 100,
        expiry_s,
        template: 1,
        spec_hash: B256::repeat_byte(1),
    }
}

fn book() -> BookId {
    BookId::for_duration(CLASS, 100, true).unwrap()
}

fn place(market: &mut Market, tick: u8) -> AgreementId {
    market.place(T0, WALLET, AGENT, &terms(tick, T0 + 1_000)).unwrap()
}

fn offer(market: &mut Market, slots: u16, bond: u128) -> OfferId {
    let terms = OfferTerms {
        class: CLASS,
        book_mask: 0xff,
        slots,
        reserve_tick: 0,
        bond_per_slot: bond * UNIT,
        valid_until_s: T0 + 86_400,
    };
    market.post_offer(T0, PROVIDER, &terms).unwrap()
}

fn matched(market: &mut Market) -> AgreementId {
    let id = place(market, 0);
    let offer = offer(market, 1, 60);
    assert_eq!(market.match_best(T0, PROVIDER, offer, book(), 0, None), Ok(Some(id)));
    id
}

fn running(market: &mut Market) -> AgreementId {
    let id = matched(market);
    market.start(T0, PROVIDER, id, Some(AGENT)).unwrap();
    id
}

/// Ran for 40 s, claims all of them.
fn submitted(market: &mut Market, has_receipts: bool) -> AgreementId {
    let id = running(market);
    market.submit(T0 + 40, PROVIDER, &SubmitItem { id, claimed_s: 40, has_receipts }).unwrap();
    id
}

/// Provider's and treasury's credit, the burned, and the key's, in units.
fn credits(market: &Market) -> [u128; 4] {
    let of = |account| market.credit_of(account) / UNIT;
    [of(PROVIDER), of(TREASURY), of(BURNED), market.key_account(AGENT).credit / UNIT]
}

// --- queues ---

#[test]
fn the_highest_tick_then_the_oldest_bid_is_matched_first() {
    let mut market = market();
    let [low, first, second] = [0, 5, 5].map(|tick| place(&mut market, tick));
    let offer = offer(&mut market, 9, 60);
    let taken = market.match_best_batch(T0, PROVIDER, offer, book(), 0, 9).unwrap();
    assert_eq!(taken, [first, second, low]);
    assert_eq!(market.offer(offer).unwrap().used, 3);
}

#[test]
fn a_match_takes_nothing_below_its_floor_or_but_what_is_expected() {
    let mut market = market();
    let id = place(&mut market, 5);
    let offer = offer(&mut market, 1, 60);
    assert_eq!(market.match_best(T0, PROVIDER, offer, book(), 6, None), Ok(None));
    let other = AgreementId::new(book(), 5, 1);
    assert_eq!(market.match_best(T0, PROVIDER, offer, book(), 0, Some(other)), Ok(None));
    assert_eq!(market.match_best(T0, PROVIDER, offer, book(), 5, Some(id)), Ok(Some(id)));
}

#[test]
fn one_call_steps_over_eight_dead_bids_and_keeps_its_progress() {
    let mut market = market();
    for _ in 0..9 {
        market.place(T0, WALLET, AGENT, &terms(5, T0 + 10)).unwrap();
    }
    let alive = place(&mut market, 5);
    let offer = offer(&mut market, 1, 60);
    assert_eq!(market.best_bid(T0 + 10, book(), 0), None);
    assert_eq!(market.match_best(T0 + 10, PROVIDER, offer, book(), 0, None), Ok(None));
    assert_eq!(market.level(book(), 5), Level { head: 8, tail: 10, live: 2 });
    assert_eq!(market.match_best(T0 + 10, PROVIDER, offer, book(), 0, None), Ok(Some(alive)));
}

#[test]
fn an_open_bid_comes_back_whole_after_its_minimum_life() {
    let mut market = market();
    let id = place(&mut market, 0);
    let early = market.cancel_bid(T0 + 9, WALLET, AGENT, id);
    assert_eq!(early, Err(Error::BidTooYoung { id, cancellable_s: T0 + 10 }));
    market.cancel_bid(T0 + 10, WALLET, AGENT, id).unwrap();
    assert_eq!(market.agreement(id).unwrap().status, Status::Cancelled);
    assert_eq!(credits(&market), [0, 0, 0, 100]);
}

#[test]
fn expired_bids_are_pruned_and_others_are_not() {
    let mut market = market();
    let [short, long] = [10, 11].map(|life_s| market.place(T0, WALLET, AGENT, &terms(0, T0 + life_s)).unwrap());
    assert_eq!(market.advance(T0 + 9, short), Err(Error::NotYet { id: short, available_s: T0 + 10 }));
    assert_eq!(market.prune(T0 + 10, &[short, long, short]), 1);
    assert_eq!(market.effective_state(T0 + 11, long), Status::Expired);
    assert_eq!(market.advance(T0 + 11, long), Ok(Status::Expired));
}

// --- the life of a rental ---

#[test]
fn a_result_nobody_challenges_is_paid_less_the_fee() {
    let mut market = market();
    let id = submitted(&mut market, true);
    assert_eq!(market.advance(T0 + 50, id), Ok(Status::Settled));
    assert_eq!(credits(&market), [39, 1, 0, 60]);
    assert_eq!(market.agreement(id).unwrap().paid, 40 * UNIT);
    assert_eq!((market.offer(1).unwrap().slots, market.offer(1).unwrap().used), (1, 0));
}

#[test]
fn no_start_costs_both_sides_the_minimum_and_the_slot() {
    let mut market = market();
    let id = matched(&mut market);
    assert_eq!(market.start(T0 + 30, PROVIDER, id, Some(AGENT)), Err(Error::TooLate { id, deadline_s: T0 + 30 }));
    assert_eq!(market.advance(T0 + 30, id), Ok(Status::Expired));
    // Five from either side: nine are burned, one is the treasury's; the rest of the bond is the provider's.
    assert_eq!(credits(&market), [55, 1, 9, 95]);
    assert_eq!(market.offer(1).unwrap().slots, 0);
}

#[test]
fn declining_costs_half_of_what_silence_does() {
    let mut market = market();
    let id = matched(&mut market);
    market.decline(T0, PROVIDER, id).unwrap();
    assert_eq!(market.credit_of(PROVIDER), 60 * UNIT - 5 * UNIT / 2);
    assert_eq!(market.key_account(AGENT).credit, 100 * UNIT);
}

#[test]
fn no_result_costs_the_bond_and_nothing_of_the_escrow() {
    let mut market = market();
    let id = running(&mut market);
    assert_eq!(market.advance(T0 + 130, id), Ok(Status::Failed));
    assert_eq!(credits(&market), [0, 6, 54, 100]);
}

#[test]
fn calling_off_before_the_start_burns_half_of_what_silence_costs() {
    let mut market = market();
    let id = matched(&mut market);
    market.cancel_bid(T0, WALLET, OWNER, id).unwrap();
    assert_eq!(market.agreement(id).unwrap().paid, 5 * UNIT / 2);
    assert_eq!(market.credit_of(BURNED), 5 * UNIT / 2 * 9 / 10);
    assert_eq!((market.credit_of(PROVIDER), market.offer(1).unwrap().slots), (0, 1));
}

#[test]
fn cancelling_bills_what_ran_through_the_challenge_window() {
    for (ran_s, paid) in [(0, 5), (30, 30)] {
        let mut market = market();
        let id = running(&mut market);
        market.cancel_bid(T0 + ran_s, WALLET, OWNER, id).unwrap();
        assert_eq!(market.agreement(id).unwrap().status, Status::Submitted);
        assert_eq!(market.advance(T0 + ran_s + 10, id), Ok(Status::Cancelled));
        assert_eq!(market.agreement(id).unwrap().paid, paid * UNIT);
    }
}

#[test]
fn claims_lie_within_what_passed_and_what_was_escrowed() {
    let mut market = market();
    let id = running(&mut market);
    let item = |claimed_s| SubmitItem { id, claimed_s, has_receipts: false };
    let error = market.submit(T0 + 40, PROVIDER, &item(41));
    assert_eq!(error, Err(Error::ClaimTooLong { id, claimed_s: 41, elapsed_s: 40 }));
    market.submit(T0 + 120, PROVIDER, &item(120)).unwrap();
    assert_eq!(market.agreement(id).unwrap().start_or_billable_s, 100);
}

#[test]
fn giving_way_pays_whole_checkpoints() {
    let mut market = market();
    let id = running(&mut market);
    market.preempt(T0 + 44, PROVIDER, id, true).unwrap();
    assert_eq!(market.advance(T0 + 54, id), Ok(Status::Preempted));
    assert_eq!(market.agreement(id).unwrap().paid, 40 * UNIT);
}

#[test]
fn a_batch_that_fails_midway_changes_nothing() {
    let mut market = market();
    let id = running(&mut market);
    let items = [40, 40].map(|claimed_s| SubmitItem { id, claimed_s, has_receipts: true });
    let foreign = market.submit_batch(T0 + 40, STRANGER, &items);
    assert_eq!(foreign, Err(Error::NotOperator { offer: 1, caller: STRANGER }));
    let other = place(&mut market, 0);
    let second = offer(&mut market, 1, 60);
    market.match_best(T0, PROVIDER, second, book(), 0, None).unwrap();
    market.start(T0, PROVIDER, other, Some(AGENT)).unwrap();
    let late = SubmitItem { id: other, claimed_s: 41, has_receipts: true };
    assert!(market.submit_batch(T0 + 40, PROVIDER, &[items[0], late]).is_err());
    assert_eq!(market.agreement(id).unwrap().status, Status::Running);
    market.submit_batch(T0 + 40, PROVIDER, &items).unwrap();
    assert_eq!(market.agreement(id).unwrap().status, Status::Submitted);
}

// --- disputes ---

#[test]
fn a_ruling_that_finds_no_fault_forfeits_the_deposit() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.dispute(T0 + 49, WALLET, AGENT, id).unwrap();
    assert_eq!(market.wallet(WALLET).unwrap().ledger.reserved, 140 * UNIT);
    market.resolve(T0 + 60, ARBITER, id, 40 * UNIT, 0).unwrap();
    assert_eq!(credits(&market), [79, 1, 0, 60]);
    let account = market.key_account(AGENT);
    assert_eq!((account.spent, account.released), (80 * UNIT, 60 * UNIT));
}

#[test]
fn a_ruling_for_the_consumer_gives_the_deposit_back() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.dispute(T0 + 49, WALLET, OWNER, id).unwrap();
    assert_eq!(market.wallet(WALLET).unwrap().ledger.reserved, 100 * UNIT, "the owner's stands outside");
    let too_much = market.resolve(T0 + 60, ARBITER, id, 101 * UNIT, 0);
    assert_eq!(too_much, Err(Error::RulingOutOfRange { pay: 101 * UNIT, slash: 0 }));
    market.resolve(T0 + 60, ARBITER, id, 0, 60 * UNIT).unwrap();
    assert_eq!(credits(&market), [0, 6, 54, 140]);
}

#[test]
fn a_silent_arbiter_favours_receipts() {
    for (has_receipts, paid) in [(true, 40), (false, 0)] {
        let mut market = market();
        let id = submitted(&mut market, has_receipts);
        market.dispute(T0 + 49, WALLET, AGENT, id).unwrap();
        assert_eq!(market.advance(T0 + 109, id), Ok(Status::Resolved));
        assert_eq!(market.agreement(id).unwrap().paid, paid * UNIT);
        assert_eq!(market.key_account(AGENT).credit, (140 - paid) * UNIT);
    }
}

// --- money ---

#[test]
fn credit_funds_the_next_bid_and_what_ended_is_counted_with_it() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.advance(T0 + 50, id).unwrap();
    assert_eq!(market.wallet(WALLET).unwrap().ledger.reserved, 100 * UNIT, "not counted yet");
    let before = market.token().balance_of(WALLET);
    market.place(T0 + 50, WALLET, AGENT, &terms(0, T0 + 500)).unwrap();
    assert_eq!(before - market.token().balance_of(WALLET), 40 * UNIT);
    let ledger = market.wallet(WALLET).unwrap().ledger;
    assert_eq!((ledger.reserved, ledger.spent), (100 * UNIT, 40 * UNIT));
    assert_eq!(market.key_account(AGENT), KeyAccount { wallet: WALLET, ..Default::default() });
}

#[test]
fn anyone_may_have_a_key_counted() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.advance(T0 + 50, id).unwrap();
    assert_eq!(market.collect(T0 + 50, WALLET, AGENT), Ok(60 * UNIT));
    assert_eq!(market.wallet(WALLET).unwrap().ledger.reserved, 0);
    assert_eq!(market.spent_in_window(T0 + 50, WALLET), 40 * UNIT);
    let foreign = Error::NotKeyWallet { agent: CHILD, caller: WALLET };
    assert_eq!(market.collect(T0 + 50, WALLET, CHILD), Err(foreign));
}

#[test]
fn bonds_come_from_credit_first_and_back_with_the_offer() {
    let mut market = market();
    let first = offer(&mut market, 2, 60);
    market.close_offer(PROVIDER, first).unwrap();
    assert_eq!(credits(&market)[0], 120);
    offer(&mut market, 1, 100);
    assert_eq!(credits(&market)[0], 20);
    assert_eq!(market.withdraw(PROVIDER, PROVIDER), Ok(20 * UNIT));
    assert_eq!(market.withdraw(PROVIDER, PROVIDER), Err(Error::NothingToWithdraw { account: PROVIDER }));
}

#[test]
fn what_the_treasury_earned_stays_with_it() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.advance(T0 + 50, id).unwrap();
    let config = Config { treasury: STRANGER, ..market.config() };
    market.set_config(ADMIN, config).unwrap();
    assert_eq!((market.credit_of(TREASURY), market.credit_of(STRANGER)), (UNIT, 0));
}

// --- keys ---

#[test]
fn a_delegated_key_is_charged_to_every_ancestor() {
    let mut market = market();
    market.authorize(T0, WALLET, AGENT, CHILD, &policy(300)).unwrap();
    market.place(T0, WALLET, CHILD, &terms(0, T0 + 500)).unwrap();
    let wallet = market.wallet(WALLET).unwrap();
    assert_eq!(wallet.keys[&AGENT].ledger.reserved, 100 * UNIT);
    assert_eq!(wallet.keys[&CHILD].ledger.reserved, 100 * UNIT);
    // The child's own limit, then the parent's.
    assert_eq!(market.available_to(T0, WALLET, CHILD), 200 * UNIT);
    market.authorize(T0, WALLET, OWNER, AGENT, &policy(150)).unwrap();
    let error = market.place(T0, WALLET, CHILD, &terms(0, T0 + 500));
    let wanted = Error::DailyLimitExceeded { spender: AGENT, wanted: 200 * UNIT, limit: 150 * UNIT };
    assert_eq!(error, Err(wanted));
}

#[test]
fn delegation_ends_at_depth_three_and_gives_no_more_than_it_has() {
    let mut market = market();
    let key = |number: u8| Address::repeat_byte(0x40 + number);
    let exceeded = market.authorize(T0, WALLET, AGENT, key(1), &policy(100_001));
    assert_eq!(exceeded, Err(Error::DelegationExceedsParent { parent: AGENT }));
    market.authorize(T0, WALLET, AGENT, key(1), &policy(50)).unwrap();
    market.authorize(T0, WALLET, key(1), key(2), &policy(50)).unwrap();
    market.authorize(T0, WALLET, key(2), key(3), &policy(50)).unwrap();
    let deep = market.authorize(T0, WALLET, key(3), key(4), &policy(50));
    assert_eq!(deep, Err(Error::DelegationTooDeep { parent: key(3) }));
    market.revoke(T0, WALLET, key(1), key(2)).unwrap();
    assert!(!market.wallet(WALLET).unwrap().is_active(T0, key(3)), "dead with its parent");
}

#[test]
fn caps_name_the_key_whose_they_are() {
    let mut market = market();
    let bid = |market: &mut Market, tick| market.place(T0, WALLET, AGENT, &terms(tick, T0 + 500));
    assert_eq!(bid(&mut market, 201), Err(Error::TickAboveCap { agent: AGENT, tick: 201, max_tick: 200 }));
    market.authorize(T0, WALLET, OWNER, AGENT, &policy(99)).unwrap();
    let per_bid = Error::PerBidLimitExceeded { spender: AGENT, amount: 100 * UNIT, limit: 99 * UNIT };
    assert_eq!(bid(&mut market, 0), Err(per_bid));
    market.set_limits(WALLET, OWNER, &limits(98)).unwrap();
    let per_bid = Error::PerBidLimitExceeded { spender: WALLET, amount: 100 * UNIT, limit: 98 * UNIT };
    assert_eq!(bid(&mut market, 0), Err(per_bid));
    market.set_limits(WALLET, OWNER, &limits(1_000)).unwrap();
    market.revoke_all(WALLET, OWNER).unwrap();
    market.set_wallet_paused(WALLET, OWNER, false).unwrap();
    assert_eq!(bid(&mut market, 0), Err(Error::AgentUnknown { agent: AGENT }));
}

#[test]
fn a_key_belongs_to_the_wallet_it_first_bids_for() {
    let mut market = market();
    let other = Address::repeat_byte(0x66);
    market.create_wallet(T0, other, OWNER, &limits(1_000), Some((AGENT, &policy(1_000)))).unwrap();
    place(&mut market, 0);
    let error = market.place(T0, other, AGENT, &terms(0, T0 + 500));
    assert_eq!(error, Err(Error::KeyOfAnotherWallet { agent: AGENT, wallet: WALLET }));
    let error = market.place(T0, STRANGER, CHILD, &terms(0, T0 + 500));
    assert_eq!(error, Err(Error::NotWallet { caller: STRANGER }));
}

#[test]
fn only_a_live_key_of_the_lineage_countersigns_and_for_listed_providers() {
    let mut market = market();
    market.authorize(T0, WALLET, OWNER, AGENT, &Policy { provider_list: true, ..policy(1_000) }).unwrap();
    let id = matched(&mut market);
    let refused = |signer| Err(Error::InvalidStartSignature { id, signer });
    assert_eq!(market.start(T0, PROVIDER, id, Some(AGENT)), refused(AGENT), "not listed");
    assert_eq!(market.start(T0, PROVIDER, id, None), refused(Address::ZERO));
    market.allow_provider(WALLET, OWNER, PROVIDER, true).unwrap();
    assert_eq!(market.start(T0, PROVIDER, id, Some(STRANGER)), refused(STRANGER));
    market.start(T0, PROVIDER, id, Some(AGENT)).unwrap();
}

#[test]
fn signed_bids_use_each_nonce_once() {
    let mut market = market();
    let bid =
        |market: &mut Market, nonce, signer| market.place_signed(T0, WALLET, AGENT, &terms(0, T0 + 500), nonce, signer);
    let forged = Error::InvalidBidSignature { wallet: WALLET, agent: AGENT };
    assert_eq!(bid(&mut market, 0, Some(STRANGER)), Err(forged));
    bid(&mut market, 0, Some(AGENT)).unwrap();
    let used = Error::InvalidAccountNonce { wallet: WALLET, agent: AGENT, nonce: 1 };
    assert_eq!(bid(&mut market, 0, Some(AGENT)), Err(used));
}

// --- pause ---

#[test]
fn a_pause_stops_entries_and_no_exit() {
    let mut market = market();
    let id = submitted(&mut market, true);
    market.set_paused(PAUSER, true).unwrap();
    assert_eq!(market.place(T0, WALLET, AGENT, &terms(0, T0 + 500)), Err(Error::EnforcedPause));
    assert_eq!(market.match_best(T0, PROVIDER, 1, book(), 0, None), Err(Error::EnforcedPause));
    market.advance(T0 + 50, id).unwrap();
    market.collect(T0 + 50, WALLET, AGENT).unwrap();
    market.withdraw(PROVIDER, PROVIDER).unwrap();
    assert_eq!(market.set_paused(STRANGER, false), Err(Error::NotPauser { caller: STRANGER }));
}
