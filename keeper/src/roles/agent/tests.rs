//! What the agent wants in every state, by the keys of its intents.
#![allow(clippy::unwrap_used)]

use alloy::primitives::{Address, B256, U256};
use contracts::{classes::HardwareClass, ids::BookId, params::Preset, price, units::Amount};
use indexer::rows::{KeyAccountRow, KeyRow, OfferRow, WalletRow};

use super::{
    super::fixtures::{NOW_S, row},
    pricing::within_funds,
    *,
};
use crate::{
    job::{JobId, Priority},
    journal::{Record, State},
    ledger::{REFUTED, UNSERVED},
    market::{
        BookView, Funds,
        slots::{
            FreeSlots,
            tests::{SHORT, offer},
        },
    },
    spec::RentalSpec,
};

fn job() -> Job {
    Job {
        id: JobId(1),
        spec: RentalSpec { version: 1, salt: B256::ZERO, tasks: vec![], keep_warm_s: 0 },
        spec_hash: B256::repeat_byte(1),
        class: Some(HardwareClass::CpuOnly),
        max_price_per_hour: None,
        priority: Priority::Normal,
        max_duration_s: 60,
        created_s: NOW_S,
        deadline_s: NOW_S + 1_800,
        out_dir: "/tmp".into(),
        state: JobState::Active,
    }
}

fn view() -> AgentView {
    let limit = Amount(10u128.pow(18));
    let book = BookView {
        base_price: price::base_from_reference(HardwareClass::CpuOnly.reference_per_hour()).unwrap(),
        floor: Some(80),
        ..Default::default()
    };
    AgentView {
        wallet: Some(WalletRow {
            owner: Address::ZERO,
            pending_owner: None,
            created_block: 1,
            created_time_s: 1,
            paused: false,
            epoch: 0,
            daily: limit,
            per_bid: limit,
            lifetime: limit,
            reserved: Amount::ZERO,
            spent: Amount::ZERO,
            withdrawn: Amount::ZERO,
            bids: 0,
        }),
        key: Some(KeyRow {
            parent: None,
            expiry_s: u64::MAX,
            per_bid: limit,
            daily: limit,
            lifetime: limit,
            max_ticks: U256::MAX,
            class_mask: 62,
            permissions: 7,
            provider_list: false,
            epoch: 0,
            revoked: false,
            reserved: Amount::ZERO,
            spent: Amount::ZERO,
            authorized_block: 1,
        }),
        address: Address::ZERO,
        account: None,
        funds: None,
        agreements: vec![],
        books: [((1, 0), book)].into(),
        slots: [(1, FreeSlots::of(&[offer(&[SHORT], 80, 2, 0)], |_| false))].into(),
        endpoints: [(Address::repeat_byte(9), "http://provider".to_owned())].into(),
    }
}

/// A desk at `after_s` seconds, with an index at block 100.
fn desk<'a>(
    jobs: &'a [Job],
    ledger: &'a Ledger,
    strategy: &'a StrategyConfig,
    slow: &'a HashMap<AgreementId, String>,
    after_s: u64,
) -> Desk<'a> {
    let (params, chain_s) = (Preset::Demo.params(), NOW_S + after_s);
    Desk { jobs, ledger, strategy, params, head: 100, chain_s, now_s: chain_s, paused: false, slow }
}

/// What the role wants at `after_s` seconds, by the intents' keys and the jobs' ends.
fn check(view: &AgentView, jobs: &[Job], ledger: &Ledger, after_s: u64, expect: &[&str]) {
    check_of(view, jobs, ledger, &HashMap::new(), after_s, expect);
}

/// The same with some slow providers.
fn check_of(
    view: &AgentView,
    jobs: &[Job],
    ledger: &Ledger,
    slow: &HashMap<AgreementId, String>,
    after_s: u64,
    expect: &[&str],
) {
    let strategy = StrategyConfig::default();
    let seen: Vec<_> = wishes(view, &desk(jobs, ledger, &strategy, slow, after_s))
        .into_iter()
        .filter_map(|wish| match wish {
            Wish::Do { intent, .. } => Some(intent.key()),
            Wish::End { state: JobState::Failed { reason }, .. } => Some(format!("failed: {reason}")),
            Wish::End { .. } => Some("ended".into()),
            Wish::Say { .. } => None,
        })
        .collect();
    assert_eq!(seen.len(), expect.len(), "{seen:?}");
    for (seen, expect) in seen.iter().zip(expect) {
        assert!(seen.starts_with(expect), "{seen} is not {expect}");
    }
}

#[test]
fn a_job_without_an_agreement_is_bid_for_once() {
    let ledger = Ledger::default();
    check(&view(), &[job()], &ledger, 0, &["bid/job-1/0"]);
    check(&view(), &[job(), other(2)], &ledger, 0, &["bid/job-1/0", "bid/job-2/0"]);
}

/// The job with another number, and work of its own.
fn other(number: u8) -> Job {
    Job { id: JobId(number.into()), spec_hash: B256::repeat_byte(number), ..job() }
}

/// All that the role wants now.
fn all_wishes(view: &AgentView, jobs: &[Job], ledger: &Ledger) -> Vec<Wish> {
    wishes(view, &desk(jobs, ledger, &StrategyConfig::default(), &HashMap::new(), 0))
}

/// Ticks that are bid for these jobs.
fn ticks(view: &AgentView, jobs: &[Job], ledger: &Ledger) -> Vec<u8> {
    let tick = |wish| match wish {
        Wish::Do { intent: Intent::Bid { tick, .. }, .. } => Some(tick),
        _ => None,
    };
    all_wishes(view, jobs, ledger).into_iter().filter_map(tick).collect()
}

#[test]
fn bids_are_placed_together_each_on_what_those_before_it_leave() {
    let mut view = view();
    let offers = [offer(&[SHORT], 80, 2, 1), offer(&[SHORT], 90, 1, 0)];
    view.slots.insert(1, FreeSlots::of(&offers, |_| false));
    let jobs: Vec<_> = (1..=4).map(other).collect();
    // Two slots are free; who waits beyond them does not outbid himself.
    assert_eq!(ticks(&view, &jobs, &Ledger::default()), [80, 90, 80, 80]);
    let escrow = price::price_at(view.books[&(1, 0)].base_price, 90).unwrap();
    let money = |bids: u128| Amount(bids * price::cost_of(escrow, 60).unwrap());
    for (tokens, credit) in [(2, 0), (0, 2), (1, 1)] {
        view.funds = Some(Funds { tokens: money(tokens), credit: money(credit), available: money(2) });
        assert_eq!(ticks(&view, &jobs, &Ledger::default()), [80, 90], "the money is for two");
    }
    view.funds = None;
    let many: Vec<_> = (1..=30).map(other).collect();
    assert_eq!(ticks(&view, &many, &Ledger::default()).len(), BIDS_AT_ONCE);
}

#[test]
fn a_job_goes_where_a_slot_is_free_unless_it_has_time() {
    let mut view = view();
    let book = |class: HardwareClass| BookView {
        base_price: price::base_from_reference(class.reference_per_hour()).unwrap(),
        floor: Some(80),
        ..Default::default()
    };
    let gpu = HardwareClass::MidRangeGpu;
    view.books.insert((gpu.number(), 0), book(gpu));
    let classes = |cpu_free: bool, gpu_free: bool, priority: Priority| {
        let mut view = view.clone();
        for (class, is_free) in [(HardwareClass::CpuOnly, cpu_free), (gpu, gpu_free)] {
            let book = BookId { class: class.number(), ..SHORT };
            let offers = [offer(&[book], 80, 1, u16::from(!is_free))];
            view.slots.insert(class.number(), FreeSlots::of(&offers, |_| false));
        }
        let jobs = [1, 2].map(|number| Job { class: None, priority, ..other(number) });
        let class = |wish| match wish {
            Wish::Do { intent: Intent::Bid { class, .. }, .. } => Some(class),
            _ => None,
        };
        all_wishes(&view, &jobs, &Ledger::default()).into_iter().filter_map(class).collect::<Vec<_>>()
    };
    let [cpu, gpu] = [HardwareClass::CpuOnly, gpu].map(HardwareClass::number);
    let cheaper = classes(true, true, Priority::Low)[0];
    let other = if cheaper == cpu { gpu } else { cpu };
    assert_eq!(classes(true, true, Priority::Normal), [cheaper, other], "the second finds one slot left");
    assert_eq!(classes(true, true, Priority::Low), [cheaper, cheaper], "it can wait");
    assert_eq!(classes(true, true, Priority::High), [gpu, cpu]);
    assert_eq!(classes(cheaper != cpu, cheaper != gpu, Priority::Normal), [other, cheaper]);
    assert_eq!(classes(true, false, Priority::High), [cpu, gpu]);
    assert_eq!(classes(false, false, Priority::Normal)[0], cheaper);
}

#[test]
fn no_bid_follows_while_some_are_on_their_way_or_not_in_the_index_yet() {
    let intent = Intent::Bid {
        job: JobId(9),
        attempt: 0,
        class: 1,
        tick: 80,
        max_duration_s: 60,
        expiry: NOW_S + 60,
        spec_hash: B256::repeat_byte(9),
    };
    let included = |block| State::Included { sender: Address::ZERO, nonce: 0, block, gas_wei: U256::ZERO };
    for (state, bids) in
        [(State::Planned, 0), (included(101), 0), (included(100), 2), (State::Failed { error: "no".into() }, 2)]
    {
        let seen = ticks(&view(), &[job(), other(2)], &noted(intent.clone(), state.clone()));
        assert_eq!(seen.len(), bids, "{state:?}");
    }
}

#[test]
fn a_bid_that_waits_to_be_tried_again_keeps_nothing_from_other_jobs() {
    let jobs: Vec<_> = (1..=30).map(other).collect();
    let mut ledger = Ledger::default();
    for wish in all_wishes(&view(), &jobs[..BIDS_AT_ONCE], &ledger) {
        if let Wish::Do { intent, .. } = wish {
            let state = State::Failed { error: "reverted".into() };
            let record = Record { intent: intent.clone(), why: String::new(), attempt: 5, at_s: NOW_S, state };
            ledger.note(intent.key(), &record);
        }
    }
    let seen = ticks(&view(), &jobs, &ledger);
    assert_eq!(seen.len(), 30, "those that failed are still wanted");
    assert_eq!(seen[BIDS_AT_ONCE..][..2], [80, 80], "and the slots are there for others");
}

#[test]
fn every_state_of_an_agreement_has_its_next_step() {
    let ledger = Ledger::default();
    for (status, after_s, expect) in [
        (Status::Open, 0, &[][..]),
        (Status::Open, 60, &["advance/"]),
        (Status::Confirmed, 0, &["deliver/"]),
        (Status::Confirmed, 33, &["advance/"]),
        (Status::Running, 0, &[]),
        (Status::Running, 93, &["advance/"]),
        (Status::Submitted, 0, &["fetch/"]),
        (Status::Submitted, 13, &["fetch/", "advance/"]),
        (Status::Settled, 0, &["fetch/"]),
        (Status::Expired, 0, &["bid/job-1/1"]),
        (Status::Failed, 0, &["bid/job-1/1"]),
    ] {
        let view = AgentView { agreements: vec![row(status)], ..view() };
        check(&view, &[job()], &ledger, after_s, expect);
    }
}

#[test]
fn a_result_that_does_not_hold_is_disputed_in_the_window_and_never_taken() {
    let fetch = Intent::Fetch { rental: row(Status::Submitted).id, job: JobId(1) };
    let state = State::Failed { error: format!("{REFUTED}other bytes") };
    let record = Record { intent: fetch.clone(), why: String::new(), attempt: 1, at_s: NOW_S, state };
    let ledger = Ledger::new([(fetch.key(), record)]);
    let submitted = AgentView { agreements: vec![row(Status::Submitted)], ..view() };
    check(&submitted, &[job()], &ledger, 0, &["dispute/"]);
    check(&submitted, &[job()], &ledger, 10, &[]);
    let settled = AgentView { agreements: vec![row(Status::Settled)], ..view() };
    check(&settled, &[job()], &ledger, 0, &["failed: "]);
}

/// A fetch after so many attempts, in this state.
fn tried(attempt: u32, state: State) -> Ledger {
    let intent = Intent::Fetch { rental: row(Status::Submitted).id, job: JobId(1) };
    let key = intent.key();
    Ledger::new([(key, Record { intent, why: String::new(), attempt, at_s: NOW_S, state })])
}

/// A result that can be challenged for so long.
fn submitted_for(window_s: u64, billable_s: u64) -> AgentView {
    let mut row = row(Status::Submitted);
    let submitted = row.submitted.as_mut().unwrap();
    (submitted.challenge_end_s, submitted.billable_s) = (NOW_S + window_s, billable_s);
    AgentView { agreements: vec![row], ..view() }
}

#[test]
fn a_result_that_is_not_served_is_disputed_by_half_of_the_window() {
    let view = submitted_for(100, 5);
    let failed = |error: String| tried(1, State::Failed { error });
    let unserved = failed(format!("{UNSERVED}status 404"));
    check(&view, &[job()], &unserved, 49, &["fetch/"]);
    check(&view, &[job()], &unserved, 50, &["dispute/"]);
    check(&view, &[job()], &unserved, 99, &["dispute/"]);
    check(&view, &[job()], &unserved, 100, &["fetch/"]);
    // What goes wrong here is not the provider's fault, nor is that nobody has asked it yet.
    check(&view, &[job()], &failed("out.txt: no space left on device".into()), 99, &["fetch/"]);
    check(&view, &[job()], &Ledger::default(), 99, &["fetch/"]);
    // A first transfer under way has until three quarters, one after a failure has not.
    check(&view, &[job()], &tried(1, State::Planned), 74, &["fetch/"]);
    check(&view, &[job()], &tried(1, State::Planned), 75, &["dispute/"]);
    check(&view, &[job()], &tried(2, State::Planned), 49, &["fetch/"]);
    check(&view, &[job()], &tried(2, State::Planned), 50, &["dispute/"]);
    // A short window leaves no time to tell a provider that restarts from one that is gone.
    check(&submitted_for(40, 5), &[job()], &unserved, 29, &["fetch/"]);
    check(&submitted_for(40, 5), &[job()], &unserved, 30, &["dispute/"]);
    check(&submitted_for(10, 5), &[job()], &unserved, 9, &["fetch/"]);
}

#[test]
fn a_claim_that_is_small_against_its_deposit_is_let_go() {
    let unserved = tried(1, State::Failed { error: format!("{UNSERVED}status 404") });
    check(&submitted_for(100, 0), &[job()], &unserved, 99, &["fetch/"]);
    check(&submitted_for(100, 2), &[job()], &unserved, 99, &["fetch/"]);
    check(&submitted_for(100, 3), &[job()], &unserved, 99, &["dispute/"]);
    // A false result is disputed whatever it costs.
    let refuted = tried(1, State::Failed { error: format!("{REFUTED}other bytes") });
    check(&submitted_for(100, 0), &[job()], &refuted, 0, &["dispute/"]);
}

#[test]
fn limits_that_no_bid_can_meet_end_the_job_with_the_remedy() {
    let ledger = Ledger::default();
    let mut view = view();
    view.wallet.as_mut().unwrap().daily = Amount(1);
    check(&view, &[job()], &ledger, 0, &["failed: the wallet's daily limit"]);
    check(&view, &[job()], &ledger, 1_800, &["failed: no rental was won"]);
}

#[test]
fn a_rental_that_runs_another_spec_is_disputed_and_its_result_never_taken() {
    let ledger = Ledger::default();
    let other = |status| {
        let mut row = row(status);
        row.started.as_mut().unwrap().spec_hash = B256::repeat_byte(2);
        AgentView { agreements: vec![row], ..view() }
    };
    check(&other(Status::Running), &[job()], &ledger, 0, &[]);
    check(&other(Status::Submitted), &[job()], &ledger, 0, &["dispute/"]);
    check(&other(Status::Submitted), &[job()], &ledger, 13, &["advance/"]);
    check(&other(Status::Settled), &[job()], &ledger, 0, &["bid/job-1/1"]);
}

#[test]
fn what_is_left_of_a_job_that_was_called_off_is_cancelled_when_the_market_allows() {
    let ledger = Ledger::default();
    let called_off = Job { state: JobState::Cancelled, ..job() };
    for (status, after_s, expect) in [
        // The market keeps a bid for ten seconds; one that expired leaves for nothing.
        (Status::Open, 9, &[][..]),
        (Status::Open, 10, &["cancel/"]),
        (Status::Open, 60, &["advance/"]),
        (Status::Confirmed, 0, &["cancel/"]),
        (Status::Confirmed, 30, &[]),
        (Status::Confirmed, 33, &["advance/"]),
        (Status::Running, 0, &["cancel/"]),
        (Status::Running, 60, &[]),
        // The result is there, and its pay with it.
        (Status::Submitted, 0, &[]),
        (Status::Submitted, 13, &["advance/"]),
        (Status::Settled, 0, &[]),
        (Status::Expired, 0, &[]),
    ] {
        let view = AgentView { agreements: vec![row(status)], ..view() };
        check(&view, std::slice::from_ref(&called_off), &ledger, after_s, expect);
    }
}

#[test]
fn what_the_wallet_cancelled_brings_no_result() {
    let ledger = Ledger::default();
    let mut row = row(Status::Submitted);
    row.submitted.as_mut().unwrap().cancelled = true;
    let view = AgentView { agreements: vec![row], ..view() };
    check(&view, &[job()], &ledger, 0, &[]);
    check(&view, &[job()], &ledger, 13, &["advance/"]);
}

#[test]
fn a_bid_waits_for_money_that_credit_counts_for() {
    let ledger = Ledger::default();
    let with = |tokens, credit, available| {
        let funds = [tokens, credit, available].map(|ait: u128| Amount(ait * 10u128.pow(18)));
        AgentView { funds: Some(Funds { tokens: funds[0], credit: funds[1], available: funds[2] }), ..view() }
    };
    check(&with(0, 0, 0), &[job()], &ledger, 0, &[]);
    check(&with(5, 0, 0), &[job()], &ledger, 0, &[]);
    check(&with(0, 1, 1), &[job()], &ledger, 0, &["bid/job-1/0"]);
    let text = |view: AgentView| match within_funds(Amount(7), view.funds) {
        Err(NoBid::Wait(text)) => text,
        _ => panic!("it does not wait"),
    };
    assert!(text(with(0, 0, 0)).contains("pay in"));
    assert!(text(with(5, 0, 0)).contains("the limits leave"));
}

#[test]
fn a_key_of_another_wallet_ends_the_job_with_the_remedy() {
    let account = |wallet| KeyAccountRow { wallet, credit: Amount(7), spent: Amount::ZERO, released: Amount::ZERO };
    let of = |wallet| AgentView { account: Some(account(wallet)), ..view() };
    let ledger = Ledger::default();
    check(&of(Address::ZERO), &[job()], &ledger, 0, &["bid/job-1/0"]);
    check(&of(Address::repeat_byte(5)), &[job()], &ledger, 0, &["failed: the session key belongs to wallet"]);
}

/// An agreement of the job that was called off after its match.
fn called_off(number: u128) -> AgreementRow {
    let id = AgreementId::from_u128((1 << 80) + number).unwrap();
    AgreementRow { id, started: None, submitted: None, ..row(Status::Cancelled) }
}

fn confirmed() -> AgreementRow {
    AgreementRow { started: None, submitted: None, ..row(Status::Confirmed) }
}

fn noted(intent: Intent, state: State) -> Ledger {
    let record = Record { intent: intent.clone(), why: String::new(), attempt: 1, at_s: NOW_S, state };
    Ledger::new([(intent.key(), record)])
}

#[test]
fn a_slow_provider_is_called_off_before_it_has_the_work_and_the_job_bids_again() {
    let (rental, job_id) = (confirmed().id, JobId(1));
    let slow = HashMap::from([(rental, "slow".to_owned())]);
    let fresh = Ledger::default();
    let of = |agreements: Vec<AgreementRow>| AgentView { agreements, ..view() };
    check_of(&of(vec![confirmed()]), &[job()], &fresh, &slow, 0, &["cancel/"]);
    check_of(&of(vec![confirmed()]), &[job()], &fresh, &HashMap::new(), 0, &["deliver/"]);
    check_of(&of(vec![called_off(1)]), &[job()], &fresh, &slow, 0, &["bid/job-1/1"]);
    // Under way or done, it stays called off whatever is known by then; refused by the market, it is taken.
    let cancel = || Intent::Cancel { rental, job: job_id };
    for state in [State::Planned, State::Done { block: 1, gas_wei: U256::ZERO }] {
        check_of(&of(vec![confirmed()]), &[job()], &noted(cancel(), state), &HashMap::new(), 0, &["cancel/"]);
    }
    let refused = noted(cancel(), State::Failed { error: "reverted".into() });
    check_of(&of(vec![confirmed()]), &[job()], &refused, &slow, 0, &["deliver/"]);
    // Once handed over, a start may follow at any moment.
    let handed = noted(Intent::Deliver { rental, job: job_id }, State::Failed { error: "no answer".into() });
    check_of(&of(vec![confirmed()]), &[job()], &handed, &slow, 0, &["deliver/"]);
}

#[test]
fn a_bid_is_priced_for_those_who_are_not_avoided_where_that_can_be_paid() {
    let (ledger, strategy, slow) = (Ledger::default(), StrategyConfig::default(), HashMap::new());
    let desk = desk(&[], &ledger, &strategy, &slow, 0);
    let tick = |liked: Option<u8>| {
        let mut view = view();
        let offers = [Some(80), liked].into_iter().flatten().map(|tick| offer(&[SHORT], tick, 1, 0));
        let is_avoided = |offer: &OfferRow| Some(offer.reserve_tick) != liked;
        view.slots.insert(1, FreeSlots::of(&offers.collect::<Vec<_>>(), is_avoided));
        match quote(&view, &desk, &job()).unwrap() {
            (Intent::Bid { tick, .. }, _) => tick,
            (other, _) => panic!("{other:?}"),
        }
    };
    assert_eq!((tick(Some(90)), tick(Some(80)), tick(None)), (90, 80, 80));
    assert_eq!(tick(Some(u8::MAX)), 80, "too dear is no better than slow");
}

#[test]
fn a_market_of_slow_providers_is_taken_as_it_is() {
    let slow = HashMap::from([(confirmed().id, "slow".to_owned())]);
    let fresh = Ledger::default();
    let after = |called: u128| {
        let agreements = (1..=called).map(called_off).chain([confirmed()]).collect();
        AgentView { agreements, ..view() }
    };
    check_of(&after(1), &[job()], &fresh, &slow, 0, &["cancel/"]);
    check_of(&after(2), &[job()], &fresh, &slow, 0, &["deliver/"]);
    // Bids that were never matched, and rentals called off while they ran, are no such experience.
    let mut other = after(2);
    other.agreements[0].matched = None;
    check_of(&other, &[job()], &fresh, &slow, 0, &["cancel/"]);
    other.agreements[0] = row(Status::Cancelled);
    check_of(&other, &[job()], &fresh, &slow, 0, &["cancel/"]);
    // Where no bid could follow, what is there is taken.
    let late = Job { deadline_s: NOW_S, ..job() };
    check_of(&after(0), &[late], &fresh, &slow, 0, &["deliver/"]);
    let mut many = after(0);
    many.agreements
        .extend((1..MAX_BIDS as u128).map(|number| AgreementRow { status: Status::Expired, ..called_off(number) }));
    check_of(&many, &[job()], &fresh, &slow, 0, &["deliver/"]);
    // Past the deadline nothing can be called off; the market moves it on.
    check_of(&after(0), &[job()], &fresh, &slow, 33, &["advance/"]);
}
