//! Folding by itself, over a map.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use alloy::{
    primitives::{
        LogData, U256,
        aliases::{U24, U40, U96},
    },
    sol_types::SolEvent,
};
use contracts::{
    bindings::{
        IAIPowerRental::{
            AgreementCompleted, AgreementCreated, AgreementStarted, BidPlaced, BidRemoved, ClassAdded, ConfigUpdated,
            Credited, DisputeFiled, DisputeResolved, KeyCollected, OfferPosted, OfferUpdated, PaymentProcessed,
            PerformanceSubmitted, Withdrawn,
        },
        IAgentWallet::{AgentAuthorized, MicroTransactionExecuted, SpendReconciled, SpendingLimitUpdated},
        RemovalReason,
    },
    ids::BookId,
    units::Amount,
};

use super::*;
use crate::store::{
    batch::Changes,
    rows::{
        AgreementRow, BookRow, ConfigRow, CreditRow, KeyAccountRow, KeyRow, LevelRow, OfferRow, ProviderRow, Status,
        TotalsRow, WalletRow,
    },
};

const MARKET: Address = Address::repeat_byte(0xaa);
const FACTORY: Address = Address::repeat_byte(0xbb);
const WALLET: Address = Address::repeat_byte(0x11);
const MASTER: Address = Address::repeat_byte(0x22);
const WORKER: Address = Address::repeat_byte(0x33);
const PROVIDER: Address = Address::repeat_byte(0x44);
const TREASURY: Address = Address::repeat_byte(0x55);
const OWNER: Address = Address::repeat_byte(0x66);

/// Rows and the height they are at.
#[derive(Default)]
struct World {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    number: u64,
}

impl World {
    /// Folds one block of logs.
    fn block(&mut self, logs: Vec<(Address, LogData)>) -> Result<Changes> {
        let header = Header { number: self.number + 1, hash: B256::ZERO, parent: B256::ZERO, timestamp_s: 1_000 };
        let logs: Vec<_> = logs
            .into_iter()
            .zip(0..)
            .map(|((address, data), index)| RawLog { index, log: Log { address, data } })
            .collect();
        let base = |key: &[u8]| Ok(self.rows.get(key).cloned());
        let mut staging = Staging::new(&base);
        fold_block(&mut staging, &Emitters { market: MARKET, factory: FACTORY }, &header, &logs)?;
        let changes = staging.finish();
        self.apply(&changes.writes);
        self.number += 1;
        Ok(changes)
    }

    fn apply(&mut self, entries: &[(Vec<u8>, Option<Vec<u8>>)]) {
        for (key, value) in entries {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }

    fn get<R: Row>(&self, key: &schema::Key) -> R {
        R::decode(self.rows.get(key.as_slice()).unwrap()).unwrap()
    }

    fn credit(&self, account: Address) -> u128 {
        let key = schema::credit(account);
        if self.rows.contains_key(key.as_slice()) { self.get::<CreditRow>(&key).amount.0 } else { 0 }
    }

    /// Credit, spent and released of the worker's key.
    fn account(&self) -> [u128; 3] {
        let row: KeyAccountRow = self.get(&schema::key_account(WORKER));
        assert_eq!(row.wallet, WALLET);
        [row.credit, row.spent, row.released].map(|amount| amount.0)
    }

    /// Reserved and spent of the worker's key, of its parent and of the wallet, which must be the same.
    fn ledger(&self) -> [u128; 2] {
        let wallet: WalletRow = self.get(&schema::wallet(WALLET));
        for agent in [WORKER, MASTER] {
            let key: KeyRow = self.get(&schema::session_key(WALLET, agent));
            assert_eq!((key.reserved, key.spent), (wallet.reserved, wallet.spent), "{agent}");
        }
        [wallet.reserved.0, wallet.spent.0]
    }

    fn totals(&self) -> [u128; 4] {
        let totals: TotalsRow = self.get(&schema::totals());
        [totals.escrow, totals.bonds, totals.credits, totals.deposits].map(|sum| sum.0)
    }
}

fn market(event: impl SolEvent) -> (Address, LogData) {
    (MARKET, event.encode_log_data())
}

fn wallet(event: impl SolEvent) -> (Address, LogData) {
    (WALLET, event.encode_log_data())
}

fn registered() -> (Address, LogData) {
    (FACTORY, AgentRegistered { wallet: WALLET, owner: OWNER, agent: MASTER, salt: B256::ZERO }.encode_log_data())
}

fn authorized(agent: Address, parent: Address) -> (Address, LogData) {
    wallet(AgentAuthorized {
        agent,
        parent,
        expiry: U40::from(9_000),
        perBid: U96::from(500),
        daily: U96::from(1_000),
        lifetime: U96::from(5_000),
        maxTicks: U256::MAX,
        classMask: 2,
        permissions: 15,
        providerList: false,
    })
}

fn id(sequence: u64) -> AgreementId {
    AgreementId::new(BookId { class: 1, bucket: 0, preemptible: false }, 40, sequence)
}

fn placed(sequence: u64, escrow: u64, credit_used: u64) -> (Address, LogData) {
    market(BidPlaced {
        agreementId: id(sequence).into(),
        wallet: WALLET,
        agent: WORKER,
        maxDuration: U24::from(60),
        expiry: U40::from(2_000),
        feeBps: 250,
        templateId: 1,
        escrow: U96::from(escrow),
        creditUsed: U96::from(credit_used),
        specHash: B256::repeat_byte(9),
        policyHash: B256::ZERO,
    })
}

fn reserved(sequence: u64, amount: u64, after: u64) -> (Address, LogData) {
    counted(sequence, amount, [0, 0], after)
}

/// A bid is funded after what ended is counted.
fn counted(sequence: u64, amount: u64, [spent, released]: [u64; 2], after: u64) -> (Address, LogData) {
    wallet(MicroTransactionExecuted {
        bidId: id(sequence).into(),
        agent: WORKER,
        amount: U96::from(amount),
        creditUsed: U96::ZERO,
        spent: U96::from(spent),
        released: U96::from(released),
        reservedAfter: U96::from(after),
    })
}

fn reconciled(spent: u64, released: u64, after: u64) -> (Address, LogData) {
    wallet(SpendReconciled {
        agent: WORKER,
        spent: U96::from(spent),
        released: U96::from(released),
        reservedAfter: U96::from(after),
    })
}

fn collected(credit: u64, spent: u64, released: u64) -> (Address, LogData) {
    market(KeyCollected {
        agent: WORKER,
        wallet: WALLET,
        credit: U96::from(credit),
        spent: U96::from(spent),
        released: U96::from(released),
    })
}

fn matched(sequence: u64) -> (Address, LogData) {
    market(AgreementCreated {
        agreementId: id(sequence).into(),
        offerId: 1,
        provider: PROVIDER,
        startDeadline: U40::from(1_030),
    })
}

fn paid(sequence: u64, [pay, fee, refund, penalty, slash]: [u64; 5]) -> (Address, LogData) {
    market(PaymentProcessed {
        agreementId: id(sequence).into(),
        provider: PROVIDER,
        pay: U96::from(pay),
        fee: U96::from(fee),
        refund: U96::from(refund),
        penalty: U96::from(penalty),
        slash: U96::from(slash),
    })
}

fn removed(sequence: u64, reason: RemovalReason, refund: u64) -> (Address, LogData) {
    market(BidRemoved { agreementId: id(sequence).into(), reason, refund: U96::from(refund) })
}

fn credited(account: Address, amount: u64) -> (Address, LogData) {
    market(Credited { account, amount: U96::from(amount) })
}

/// A market with a class, an offer of two slots with a bond of 50 each, and a wallet with a master and a worker key.
fn prepared() -> World {
    let mut world = World::default();
    let config = ConfigUpdated { feeBps: 250, treasury: TREASURY, arbiter: OWNER, pauser: OWNER };
    let offer = OfferPosted {
        offerId: 1,
        provider: PROVIDER,
        cls: 1,
        bookMask: 3,
        slots: 2,
        reserveTick: 10,
        bondPerSlot: U96::from(50),
        validUntil: U40::from(5_000),
    };
    world.block(vec![market(config), market(ClassAdded { cls: 1, basePrice: 1_000 }), market(offer)]).unwrap();
    world.block(vec![registered(), authorized(MASTER, Address::ZERO), authorized(WORKER, MASTER)]).unwrap();
    world
}

#[test]
fn a_wallet_that_speaks_before_the_factory_names_it_is_known() {
    let mut world = World::default();
    let limits = SpendingLimitUpdated { daily: U96::from(7), perBid: U96::from(8), lifetime: U96::from(9) };
    world.block(vec![wallet(limits), authorized(MASTER, Address::ZERO), registered()]).unwrap();
    let row: WalletRow = world.get(&schema::wallet(WALLET));
    assert_eq!((row.owner, row.daily, row.per_bid, row.lifetime), (OWNER, Amount(7), Amount(8), Amount(9)));
    let key: KeyRow = world.get(&schema::session_key(WALLET, MASTER));
    assert_eq!((key.parent, key.expiry_s, key.permissions), (None, 9_000, 15));
}

#[test]
fn a_wallet_made_and_used_in_one_block_is_folded() {
    let mut world = prepared();
    world.rows.retain(|key, _| !matches!(key[0], b'Z' | b'K'));
    world
        .block(vec![
            authorized(MASTER, Address::ZERO),
            authorized(WORKER, MASTER),
            registered(),
            placed(0, 100, 0),
            reserved(0, 100, 100),
        ])
        .unwrap();
    assert_eq!(world.get::<WalletRow>(&schema::wallet(WALLET)).reserved, Amount(100));
    assert_eq!(world.get::<KeyRow>(&schema::session_key(WALLET, MASTER)).reserved, Amount(100), "the ancestor's too");
}

#[test]
fn strangers_are_not_listened_to() {
    let mut world = prepared();
    let stranger = Address::repeat_byte(0x99);
    let fakes = [placed(0, 1, 0), authorized(WORKER, Address::ZERO), registered()].map(|(_, data)| (stranger, data));
    assert_eq!(world.block(fakes.to_vec()).unwrap(), Changes::default());
    let (_, wallet_event) = authorized(WORKER, Address::ZERO);
    let odd = vec![(MARKET, wallet_event.clone()), (FACTORY, wallet_event)];
    assert_eq!(world.block(odd).unwrap(), Changes::default(), "events of another contract's kind");
}

#[test]
fn a_rental_from_bid_to_settlement_keeps_every_sum() {
    let mut world = prepared();
    world.block(vec![placed(0, 100, 0), reserved(0, 100, 100)]).unwrap();
    let book = BookId { class: 1, bucket: 0, preemptible: false };
    let level: LevelRow = world.get(&schema::level(book, 40));
    assert_eq!((level.tail, level.live, level.seconds, level.escrow), (1, 1, 60, Amount(100)));
    assert_eq!(world.get::<BookRow>(&schema::book(book)).best_tick(), Some(40));

    world.block(vec![matched(0)]).unwrap();
    assert_eq!(world.get::<BookRow>(&schema::book(book)), BookRow::default());
    assert_eq!(world.get::<OfferRow>(&schema::offer(1)).used, 1);
    let start = AgreementStarted {
        agreementId: id(0).into(),
        startTime: U40::from(1_001),
        endTime: U40::from(1_061),
        specHash: B256::repeat_byte(9),
        imageDigest: B256::ZERO,
    };
    let submit = PerformanceSubmitted {
        agreementId: id(0).into(),
        billable: U40::from(30),
        resultHash: B256::repeat_byte(1),
        receiptRoot: B256::repeat_byte(2),
        challengeEnd: U40::from(1_050),
        flags: 1,
    };
    world.block(vec![market(start), market(submit)]).unwrap();
    assert_eq!(world.totals(), [100, 100, 0, 0]);
    world
        .block(vec![
            paid(0, [49, 1, 50, 0, 0]),
            market(AgreementCompleted { agreementId: id(0).into(), finalStatus: Status::Settled }),
        ])
        .unwrap();
    let row: AgreementRow = world.get(&schema::agreement(id(0)));
    assert_eq!((row.status, row.ended.is_some(), row.payment.unwrap().pay), (Status::Settled, true, Amount(49)));
    assert_eq!([world.credit(PROVIDER), world.credit(TREASURY), world.credit(WALLET)], [49, 1, 0]);
    assert_eq!((world.account(), world.ledger()), ([50, 50, 50], [100, 0]), "held until it is counted");
    let submitted = row.submitted.unwrap();
    assert_eq!((submitted.receipts, submitted.preempted, submitted.cancelled), (true, false, false));
    assert_eq!(row.started.unwrap().spec_hash, B256::repeat_byte(9));
    assert_eq!(world.totals(), [0, 100, 100, 0]);
    assert_eq!(world.get::<OfferRow>(&schema::offer(1)).used, 0);
    assert_eq!(world.get::<ProviderRow>(&schema::provider(PROVIDER)).settled, 1);
    assert!(!world.rows.keys().any(|key| matches!(key[0], b'W' | b'P' | b'q' | b'a')), "nothing is live any more");
}

#[test]
fn a_slash_ends_the_slot_and_a_dispute_returns_its_deposit() {
    let mut world = prepared();
    world.block(vec![placed(1, 30, 0), placed(0, 100, 0), removed(1, RemovalReason::Expired, 30), matched(0)]).unwrap();
    let filed = DisputeFiled {
        agreementId: id(0).into(),
        initiator: WALLET,
        reasonHash: B256::ZERO,
        deposit: U96::from(40),
        creditUsed: U96::from(30),
        counted: true,
        timeout: U40::from(3_000),
    };
    world.block(vec![market(filed)]).unwrap();
    assert_eq!(world.totals(), [100, 100, 0, 40], "the deposit took the key's credit first");
    assert_eq!(world.account(), [0, 0, 0], "all that had ended was counted with it");
    let ruled = DisputeResolved {
        agreementId: id(0).into(),
        pay: U96::ZERO,
        slash: U96::from(20),
        depositForfeited: U96::ZERO,
        timedOut: false,
    };
    let slot = OfferUpdated {
        offerId: 1,
        slots: 1,
        reserveTick: 10,
        validUntil: U40::from(5_000),
        active: true,
        bondCredited: U96::from(30),
    };
    world
        .block(vec![
            market(ruled),
            paid(0, [0, 0, 100, 0, 20]),
            market(slot),
            credited(Address::repeat_byte(0xde), 18),
            credited(TREASURY, 2),
            market(AgreementCompleted { agreementId: id(0).into(), finalStatus: Status::Resolved }),
        ])
        .unwrap();
    assert_eq!(world.totals(), [0, 50, 190, 0], "240 came in, 240 is held");
    assert_eq!([world.credit(PROVIDER), world.credit(TREASURY)], [30, 2]);
    assert_eq!(world.account(), [140, 0, 140]);
}

#[test]
fn a_forfeited_deposit_counts_unless_it_is_the_owners() {
    for (counts, account) in [(true, [0, 140, 0]), (false, [0, 100, 0])] {
        let mut world = prepared();
        world.block(vec![placed(0, 100, 0), reserved(0, 100, 100), matched(0)]).unwrap();
        let filed = DisputeFiled {
            agreementId: id(0).into(),
            initiator: WALLET,
            reasonHash: B256::ZERO,
            deposit: U96::from(40),
            creditUsed: U96::ZERO,
            counted: counts,
            timeout: U40::from(3_000),
        };
        let ruled = DisputeResolved {
            agreementId: id(0).into(),
            pay: U96::from(100),
            slash: U96::ZERO,
            depositForfeited: U96::from(40),
            timedOut: false,
        };
        let end = AgreementCompleted { agreementId: id(0).into(), finalStatus: Status::Resolved };
        let resolved = vec![market(ruled), credited(PROVIDER, 40), paid(0, [98, 2, 0, 0, 0]), market(end)];
        world.block([vec![market(filed)], resolved].concat()).unwrap();
        assert_eq!(world.account(), account);
        assert_eq!([world.credit(PROVIDER), world.credit(TREASURY)], [138, 2]);
        assert_eq!(world.totals(), [0, 100, 140, 0]);
    }
}

#[test]
fn the_next_bid_counts_what_ended_and_collecting_counts_the_rest() {
    let mut world = prepared();
    let end = || market(AgreementCompleted { agreementId: id(0).into(), finalStatus: Status::Settled });
    let rent = vec![placed(0, 100, 0), reserved(0, 100, 100), matched(0), paid(0, [49, 1, 50, 0, 0]), end()];
    world.block(rent).unwrap();
    assert_eq!((world.account(), world.ledger()), ([50, 50, 50], [100, 0]));
    let before = world.rows.clone();
    let second = world.block(vec![placed(1, 80, 50), counted(1, 80, [50, 50], 80)]).unwrap();
    assert_eq!((world.account(), world.ledger()), ([0, 0, 0], [80, 50]));
    let last =
        world.block(vec![removed(1, RemovalReason::Expired, 80), collected(80, 0, 80), reconciled(0, 80, 0)]).unwrap();
    assert_eq!((world.account(), world.ledger()), ([0, 0, 0], [0, 50]));
    assert_eq!(world.totals(), [0, 100, 50, 0], "the wallet has its tokens back");
    let countings = world.rows.keys().filter(|key| key[0] == b's').count();
    assert_eq!(countings, 2);
    for changes in [last, second] {
        world.apply(&changes.undo);
    }
    assert_eq!(world.rows, before);
}

#[test]
fn an_account_that_is_told_otherwise_is_named() {
    let mut world = prepared();
    world.block(vec![placed(0, 100, 0), reserved(0, 100, 100)]).unwrap();
    let error = world.block(vec![collected(7, 0, 0)]).unwrap_err().to_string();
    assert!(error.contains("was collected") && error.contains(&WORKER.to_string()), "{error}");
    let error = world.block(vec![reconciled(60, 41, 0)]).unwrap_err().to_string();
    assert!(error.contains("cannot lose 101"), "{error}");
    let error = world.block(vec![reconciled(60, 40, 1)]).unwrap_err().to_string();
    assert!(error.contains("says 1 units are reserved"), "{error}");
}

#[test]
fn a_second_offer_is_bonded_from_credit_first_and_a_withdrawal_empties_it() {
    let mut world = prepared();
    let offer = |slots| {
        market(OfferPosted {
            offerId: 2,
            provider: PROVIDER,
            cls: 1,
            bookMask: 1,
            slots,
            reserveTick: 0,
            bondPerSlot: U96::from(50),
            validUntil: U40::from(5_000),
        })
    };
    world.block(vec![credited(PROVIDER, 70), offer(1)]).unwrap();
    assert_eq!(world.credit(PROVIDER), 20);
    let out = |amount| market(Withdrawn { account: PROVIDER, to: PROVIDER, amount: U96::from(amount) });
    let error = world.block(vec![out(21)]).unwrap_err().to_string();
    assert!(error.contains("pulled 21 units, but its credit was 20"), "{error}");
    world.block(vec![out(20)]).unwrap();
    assert!(!world.rows.contains_key(schema::credit(PROVIDER).as_slice()), "no row without credit");
}

#[test]
fn a_removed_bid_leaves_its_level_and_refunds() {
    let mut world = prepared();
    world.block(vec![placed(0, 100, 0), placed(1, 100, 0)]).unwrap();
    world.block(vec![removed(0, RemovalReason::Cancelled, 100)]).unwrap();
    let book = BookId { class: 1, bucket: 0, preemptible: false };
    assert_eq!(world.get::<LevelRow>(&schema::level(book, 40)).live, 1);
    world.block(vec![removed(1, RemovalReason::Expired, 100)]).unwrap();
    assert_eq!(world.get::<BookRow>(&schema::book(book)).best_tick(), None);
    let statuses = [0, 1].map(|sequence| world.get::<AgreementRow>(&schema::agreement(id(sequence))).status);
    assert_eq!(statuses, [Status::Cancelled, Status::Expired]);
    assert_eq!((world.account(), world.totals()), ([200, 0, 200], [0, 100, 200, 0]));
    let again = world.block(vec![removed(1, RemovalReason::Expired, 100)]).unwrap_err().to_string();
    assert!(again.contains("is expired, not open"), "{again}");
}

#[test]
fn what_cannot_be_is_named_with_its_place_and_changes_nothing() {
    let mut world = prepared();
    let before = world.rows.clone();
    let error = world.block(vec![placed(0, 100, 0), matched(7)]).unwrap_err().to_string();
    assert!(error.contains("block 3, log 1") && error.contains(&id(7).to_string()), "{error}");
    assert!(error.contains("start_block"), "{error}");
    assert_eq!(world.rows, before);
    let error = world.block(vec![placed(0, 100, 1)]).unwrap_err().to_string();
    assert!(error.contains("cannot lose 1"), "{error}");
    let error = world.block(vec![placed(0, 100, 0), reserved(0, 100, 99)]).unwrap_err().to_string();
    assert!(error.contains("says 99 units are reserved"), "{error}");
}

#[test]
fn pausing_is_folded() {
    let mut world = prepared();
    let log = |topic| (MARKET, LogData::new_unchecked(vec![topic], vec![0; 32].into()));
    world.block(vec![log(PAUSED)]).unwrap();
    assert!(world.get::<ConfigRow>(&schema::config()).paused);
    world.block(vec![log(UNPAUSED)]).unwrap();
    assert!(!world.get::<ConfigRow>(&schema::config()).paused);
    assert_eq!(PAUSED, alloy::primitives::keccak256("Paused(address)"));
    assert_eq!(UNPAUSED, alloy::primitives::keccak256("Unpaused(address)"));
}

#[test]
fn the_inverse_of_a_block_restores_every_byte() {
    let mut world = prepared();
    let before = world.rows.clone();
    let first = world.block(vec![placed(0, 100, 0), reserved(0, 100, 100), placed(1, 50, 0)]).unwrap();
    let second = world.block(vec![matched(0), credited(WALLET, 3)]).unwrap();
    world.apply(&second.undo);
    world.apply(&first.undo);
    assert_eq!(world.rows, before);
}
