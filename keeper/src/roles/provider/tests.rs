//! What the provider wants in every state, by the keys of its intents.
#![allow(clippy::unwrap_used)]

use alloy::primitives::Address;
use contracts::{classes::HardwareClass, params::Preset};
use indexer::rows::ProviderRow;

use super::{
    super::fixtures::{NOW_S, row},
    *,
};
use crate::{
    journal::{Record, State, TaskResult},
    spec::{Manifest, Receipt},
};

fn offer(id: u64, slots: u16, used: u16) -> OfferRow {
    OfferRow {
        id,
        provider: Address::ZERO,
        class: 1,
        book_mask: 1,
        slots,
        used,
        reserve_tick: 50,
        bond_per_slot: Amount(1),
        valid_until_s: NOW_S + OFFER_LIFETIME_S,
        active: true,
        posted_block: 1,
        updated_block: 1,
    }
}

fn bid(tick: u8) -> (BookId, AgreementId) {
    let book = BookId { class: 1, bucket: 0, preemptible: false };
    (book, AgreementId::new(book, tick, 0))
}

fn view() -> ProviderView {
    ProviderView {
        row: Some(ProviderRow {
            authorized: true,
            endpoint: "http://here".into(),
            since_block: 1,
            settled: 0,
            failed: 0,
            earned: Amount::ZERO,
            slashed: Amount::ZERO,
        }),
        may_act: true,
        offers: vec![offer(1, 2, 0)],
        base_price: price::base_from_reference(HardwareClass::CpuOnly.reference_per_hour()),
        ..Default::default()
    }
}

#[derive(Default)]
struct Scene {
    view: ProviderView,
    node: Option<(Address, &'static [u64])>,
    deliveries: HashMap<AgreementId, Delivery>,
    results: HashMap<AgreementId, WorkResult>,
    ledger: Ledger,
    after_s: u64,
    head: u64,
    paused: bool,
}

impl Scene {
    fn of(status: Status) -> Self {
        let view = ProviderView { rentals: vec![row(status)], offers: vec![offer(1, 2, 2)], ..view() };
        Self { view, head: 110, ..Default::default() }
    }

    #[track_caller]
    fn check(&self, expect: &[&str]) -> Vec<Intent> {
        let (account, offers) = self.node.map_or((Address::ZERO, None), |(key, offers)| (key, Some(offers.into())));
        let seller = Seller { provider: Address::ZERO, account, class: HardwareClass::CpuOnly, offers };
        let desk = Desk {
            seller: &seller,
            slots: 2,
            reserve_per_hour: Amount(5_000_000_000_000_000),
            max_duration_s: 600,
            preemptible: false,
            endpoint: "http://here",
            image: B256::ZERO,
            withdraw_above: Amount::ZERO,
            deliveries: &self.deliveries,
            results: &self.results,
            ledger: &self.ledger,
            params: Preset::Demo.params(),
            head: self.head,
            chain_s: NOW_S + self.after_s,
            paused: self.paused,
        };
        let intents: Vec<_> = wishes(&self.view, &desk)
            .into_iter()
            .filter_map(|wish| match wish {
                Wish::Do { intent, .. } => Some(intent),
                _ => None,
            })
            .collect();
        let keys: Vec<_> = intents.iter().map(Intent::key).collect();
        assert_eq!(keys.len(), expect.len(), "{keys:?}");
        assert!(keys.iter().zip(expect).all(|(key, expect)| key.starts_with(expect)), "{keys:?}");
        intents
    }
}

#[test]
fn a_rental_is_started_when_its_own_work_and_the_countersignature_are_here() {
    let mut scene = Scene::of(Status::Confirmed);
    let rental = row(Status::Confirmed).id;
    scene.check(&[]);
    let signed = Some(Bytes::from(vec![1]));
    let spec_hash = B256::repeat_byte(1);
    let mut deliver = |delivery: Delivery, expect: &[&str]| {
        scene.deliveries.insert(rental, delivery);
        scene.check(expect);
    };
    deliver(Delivery { spec_hash, complete: true, countersignature: None }, &[]);
    deliver(Delivery { spec_hash, complete: false, countersignature: signed.clone() }, &[]);
    deliver(Delivery { spec_hash: B256::ZERO, complete: true, countersignature: signed.clone() }, &[]);
    deliver(Delivery { spec_hash, complete: true, countersignature: signed }, &["start/"]);
    let intents = scene.check(&["start/"]);
    assert!(matches!(intents[0], Intent::Start { spec_hash: bid, .. } if bid == spec_hash), "{intents:?}");
    scene.after_s = 31;
    scene.check(&["advance/"]);
}

#[test]
fn work_begins_only_when_its_start_is_deep_and_a_result_counts_for_its_own_spec_alone() {
    let mut scene = Scene::of(Status::Running);
    scene.head = 101;
    scene.check(&[]);
    scene.head = 102;
    scene.check(&["work/"]);
    let task = TaskResult {
        receipt: Receipt {
            rental: row(Status::Running).id,
            task_id: "t0".into(),
            spec_hash: B256::ZERO,
            manifest_sha256: B256::ZERO,
            exit_code: 0,
            result_hash: B256::ZERO,
            seconds: 9,
            sequence: 0,
        },
        signature: Bytes::new(),
        manifest: Manifest { version: 1, task_id: "t0".into(), spec_sha256: B256::ZERO, files: vec![] },
    };
    let mut made = WorkResult { spec_hash: B256::ZERO, tasks: vec![task], idle_s: 0, is_final: true };
    scene.results.insert(row(Status::Running).id, made.clone());
    scene.check(&["work/"]);
    made.spec_hash = B256::repeat_byte(1);
    made.is_final = false;
    scene.results.insert(row(Status::Running).id, made.clone());
    scene.check(&["work/"]);
    made.is_final = true;
    scene.results.insert(row(Status::Running).id, made);
    scene.after_s = 4;
    // Never more than the time that has passed: the market refuses a longer claim.
    let intents = scene.check(&["submit/"]);
    assert!(matches!(intents[0], Intent::Submit { seconds: 4, .. }), "{intents:?}");
    scene.results.clear();
    scene.after_s = 91;
    scene.check(&["advance/"]);
}

#[test]
fn a_submitted_rental_is_settled_after_its_window() {
    let mut scene = Scene::of(Status::Submitted);
    scene.after_s = 10;
    scene.check(&[]);
    scene.after_s = 11;
    scene.check(&["advance/"]);
}

#[test]
fn the_dearest_bid_at_or_above_the_reserve_is_taken_by_a_free_slot() {
    let mut scene = Scene { view: view(), ..Default::default() };
    scene.view.heads = vec![bid(49)];
    scene.check(&[]);
    scene.view.heads = vec![bid(90), bid(50), bid(49)];
    let intents = scene.check(&["match/1/", "match/1/"]);
    let ticks = intents.iter().map(|intent| intent.rental().unwrap().tick());
    assert!(ticks.eq([90, 50]), "{intents:?}");
    scene.view.offers = vec![offer(1, 2, 1)];
    let intents = scene.check(&["match/1/"]);
    assert_eq!(intents[0].rental().unwrap().tick(), 90, "{intents:?}");
    scene.paused = true;
    scene.check(&[]);
    scene.paused = false;
    scene.view.offers = vec![offer(1, 2, 2)];
    scene.check(&[]);
}

/// The same, in a queue of one tick.
fn queued(tick: u8, sequence: u64) -> (BookId, AgreementId) {
    let (book, _) = bid(tick);
    (book, AgreementId::new(book, tick, sequence))
}

#[test]
fn slots_are_filled_in_the_order_of_the_queue_and_a_match_under_way_keeps_its_own() {
    let mut scene = Scene { view: view(), ..Default::default() };
    scene.view.offers = vec![offer(1, 1, 0), offer(2, 1, 0)];
    scene.view.heads = vec![queued(60, 7), queued(60, 8), queued(60, 9)];
    let first = scene.check(&["match/1/", "match/2/"]);
    let bids: Vec<_> = first.iter().map(|intent| intent.rental().unwrap()).collect();
    assert_eq!(bids, [queued(60, 7).1, queued(60, 8).1]);
    for intent in &first {
        let state = State::Planned;
        let record = Record { intent: intent.clone(), why: String::new(), attempt: 1, at_s: NOW_S, state };
        scene.ledger.note(intent.key(), &record);
    }
    // A dearer bid comes meanwhile, and another one when a slot is free for it.
    scene.view.heads.insert(0, queued(90, 1));
    assert_eq!(scene.check(&["match/1/", "match/2/"]), first);
    scene.view.offers[1].slots = 2;
    let more = scene.check(&["match/1/", "match/2/"]);
    assert_eq!(more, first, "the node has two slots");
    scene.view.heads.truncate(2);
    scene.view.heads[1] = queued(60, 7);
    let again = scene.check(&["match/1/", "match/2/"]);
    assert_eq!([&again[0], &first[0]], [&first[0]; 2]);
    assert_eq!(again[1].rental().unwrap(), queued(90, 1).1);
}

#[test]
fn the_cheapest_preemptible_rental_gives_way_to_a_dearer_firm_bid() {
    let background = |tick: u8, status: Status| AgreementRow {
        id: AgreementId::new(BookId { class: 1, bucket: 0, preemptible: true }, tick, 0),
        submitted: None,
        ..row(status)
    };
    let rentals = vec![background(60, Status::Running), background(55, Status::Running)];
    let mut scene = Scene { head: 110, ..Default::default() };
    scene.view = ProviderView { rentals, offers: vec![offer(1, 2, 2)], heads: vec![bid(90)], ..view() };
    let (dearer, cheapest) = (scene.view.rentals[0].id, scene.view.rentals[1].id);
    let (first, second) = (format!("work/{dearer}"), format!("work/{cheapest}"));
    let quiet = [first.as_str(), second.as_str()];
    let given_up = format!("preempt/{cheapest}");
    scene.check(&[quiet[0], quiet[1], &given_up]);
    // Not for a bid that is no dearer, is pre-emptible itself, or is in a book that the offer does not serve.
    scene.view.heads = vec![bid(55)];
    scene.check(&quiet);
    let other = |bucket, preemptible| BookId { class: 1, bucket, preemptible };
    for book in [other(0, true), other(1, false)] {
        scene.view.heads = vec![(book, AgreementId::new(book, 90, 0))];
        scene.check(&quiet);
    }
    scene.view.heads = vec![bid(90)];
    // Not while a slot is free, while one gives way already, or while the keeper is paused.
    scene.view.offers = vec![offer(1, 3, 1)];
    scene.check(&[quiet[0], quiet[1], "match/"]);
    scene.view.offers = vec![offer(1, 2, 2)];
    scene.paused = true;
    scene.check(&quiet);
    scene.paused = false;
    let mut giving = background(50, Status::Submitted);
    giving.submitted =
        row(Status::Submitted).submitted.map(|bill| indexer::rows::Submitted { preempted: true, ..bill });
    scene.view.rentals.push(giving);
    scene.check(&quiet);
    // Firm rentals are never given up.
    scene.view.rentals = vec![row(Status::Running)];
    scene.check(&["work/"]);
}

#[test]
fn missing_slots_are_listed_anew_after_their_bonds_are_approved() {
    let mut scene = Scene { view: view(), ..Default::default() };
    scene.view.row = None;
    scene.check(&["provider/register"]);
    scene.view = ProviderView { offers: vec![offer(1, 1, 0)], ..view() };
    let approve = scene.check(&["provider/approve"]).remove(0);
    let done = State::Done { block: 1, gas_wei: Default::default() };
    let record = Record { intent: approve.clone(), why: String::new(), attempt: 1, at_s: 5, state: done };
    scene.ledger = Ledger::new([(approve.key(), record)]);
    let intents = scene.check(&["provider/offer"]);
    assert!(matches!(intents[0], Intent::PostOffer { slots: 1, book_mask: 1, .. }), "{intents:?}");
}

#[test]
fn earnings_are_pulled_when_nothing_runs() {
    let mut scene = Scene { view: ProviderView { credit: Amount(7), ..view() }, ..Default::default() };
    scene.check(&["provider/withdraw"]);
    scene.view.rentals = vec![row(Status::Submitted)];
    scene.check(&[]);
}

const OPERATOR: Address = Address::repeat_byte(5);

/// An operator's node that names offer 1, with a bid waiting and credit to be pulled.
fn node() -> Scene {
    let view = ProviderView { heads: vec![bid(60)], credit: Amount(1), has_operators: true, ..view() };
    Scene { view, node: Some((OPERATOR, &[1])), ..Default::default() }
}

#[test]
fn an_operators_node_takes_bids_and_leaves_what_is_its_owners() {
    let mut scene = node();
    scene.check(&["match/1/"]);
    // Neither is what the provider published, nor are missing slots, its business.
    scene.view.row = None;
    scene.view.offers = vec![offer(1, 1, 0)];
    scene.check(&["match/1/"]);
    scene.view.offers = Vec::new();
    scene.check(&[]);
    // The owner's own node in a fleet pulls what all of them earned.
    scene.node = Some((Address::ZERO, &[1]));
    scene.check(&["provider/withdraw"]);
}

#[test]
fn a_node_without_its_owners_word_takes_nothing_new() {
    let mut scene = node();
    scene.view.may_act = false;
    scene.check(&[]);
    scene.view.rentals = vec![row(Status::Confirmed)];
    scene.after_s = 31;
    scene.check(&["advance/"]);
}

#[test]
fn who_names_no_offers_sells_only_without_company() {
    let mut scene = Scene { view: ProviderView { heads: vec![bid(60)], ..view() }, ..Default::default() };
    scene.check(&["match/1/"]);
    scene.view.has_operators = true;
    scene.check(&[]);
    scene.node = Some((Address::ZERO, &[1]));
    scene.check(&["match/1/"]);
}

#[test]
fn a_node_works_on_as_many_rentals_as_it_has_slots_whatever_its_offers_have() {
    let mut scene = node();
    scene.view.offers = vec![offer(1, 9, 1)];
    scene.check(&["match/1/"]);
    scene.view.offers = vec![offer(1, 9, 2)];
    scene.check(&[]);
    scene.view.offers = vec![offer(1, 1, 1), offer(2, 3, 1)];
    scene.check(&[]);
    scene.view.offers = vec![offer(1, 1, 1), offer(2, 3, 0)];
    scene.check(&["match/2/"]);
}

#[test]
fn a_named_offer_is_prolonged_and_serves_to_its_end() {
    let mut scene = node();
    scene.view.offers[0].valid_until_s = NOW_S + 60;
    let intents = scene.check(&["offer/update/1", "match/1/"]);
    let until = NOW_S + OFFER_LIFETIME_S;
    assert_eq!(intents[0], Intent::UpdateOffer { offer: 1, reserve_tick: 50, valid_until: until });
    scene.after_s = 60;
    scene.check(&["offer/update/1"]);
    scene.view.offers[0].active = false;
    scene.check(&[]);
}
