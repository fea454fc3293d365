//! The journal over a real folder, its crashes and its earlier form.

#![allow(clippy::unwrap_used)]

use alloy::{
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, Bytes, U256},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};

use super::*;

fn withdraw() -> Intent {
    Intent::Withdraw { to: Address::ZERO }
}

fn parcel(sender: Address, nonce: u64) -> Parcel {
    Parcel {
        sender,
        nonce,
        items: vec![Item { key: withdraw().key(), about: None, request: None, verdict: None }],
        to: Address::ZERO,
        gas_limit: 21_000,
        versions: Vec::new(),
        first_block: 1,
        last_block: 1,
        landed: None,
        settled: false,
    }
}

#[test]
fn every_state_survives_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let record = journal.plan(withdraw(), "due".into(), 1).unwrap();
    for state in state::one_of_each() {
        let kept = Record { state: state.clone(), ..record.clone() };
        journal.write("planned", b"i/any", &kept).unwrap();
        assert_eq!(journal.record("any").unwrap(), Some(kept), "{}", state.name());
    }
}

#[test]
fn a_live_intent_is_never_planned_twice_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let intent = Intent::Advance { rental: AgreementId::from_u128(9).unwrap() };
    let key = intent.key();
    {
        let journal = Journal::open(dir.path()).unwrap();
        journal.plan(intent.clone(), "due".into(), 1).unwrap();
        assert!(journal.plan(intent.clone(), "due".into(), 2).is_err());
    }
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.record(&key).unwrap().unwrap().state, State::Planned);
    journal.advance(&key, State::Failed { error: "reverted".into() }, 3).unwrap();
    assert_eq!(journal.plan(intent, "again".into(), 4).unwrap().attempt, 2);
    assert_eq!(journal.records().unwrap().len(), 1);
}

#[test]
fn only_what_has_ended_is_planned_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let record = journal.plan(withdraw(), "due".into(), 1).unwrap();
    for state in state::one_of_each() {
        let (is_live, key) = (state.is_live(), record_key(&record.intent.key()));
        journal.write("planned", key.as_bytes(), &Record { state: state.clone(), ..record.clone() }).unwrap();
        let planned = journal.plan(withdraw(), "due".into(), 2);
        assert_eq!(planned.is_err(), is_live, "{state:?}: {planned:?}");
    }
}

#[test]
fn a_commit_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let (sender, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let key = journal.plan(withdraw(), "due".into(), 1).unwrap().intent.key();
    let signed = State::Signed { hash: Default::default(), sender, nonce: 7 };
    let (mine, wrong) = (parcel(sender, 7), State::Included { sender, nonce: 7, block: 1, gas_wei: U256::ZERO });
    let bad = Commit { states: vec![(key.clone(), wrong)], keep: vec![&mine], ..Commit::default() };
    assert!(matches!(journal.commit(sender, &bad, 2), Err(JournalError::Transition { .. })));
    assert!(journal.parcels(sender).unwrap().is_empty());

    let good = Commit { states: vec![(key.clone(), signed)], keep: vec![&mine], ..Commit::default() };
    journal.commit(sender, &good, 2).unwrap();
    journal.commit(other, &Commit { keep: vec![&parcel(other, 1)], ..Commit::default() }, 2).unwrap();
    assert_eq!(journal.parcels(sender).unwrap(), [(7, mine)].into());
    assert_eq!(journal.record(&key).unwrap().unwrap().state.name(), "signed");

    let spent = |wei: u64| Commit { forget: vec![7], spent: Some((100, U256::from(wei))), ..Commit::default() };
    journal.commit(sender, &spent(3), 3).unwrap();
    journal.commit(sender, &spent(4), 3).unwrap();
    assert!(journal.parcels(sender).unwrap().is_empty());
    assert_eq!(journal.gas_spent(sender, 100).unwrap(), U256::from(7));
    assert_eq!(journal.gas_spent(sender, 101).unwrap(), U256::ZERO);
    assert_eq!(journal.gas_spent(other, 100).unwrap(), U256::ZERO);
}

/// What a keeper of format 1 left: the bytes of its transaction come into the outbox, and are sent on as they are.
#[tokio::test]
async fn a_journal_of_format_1_is_moved_on() {
    let dir = tempfile::tempdir().unwrap();
    let signer = PrivateKeySigner::random();
    let request = TransactionRequest::default()
        .with_chain_id(31_337)
        .with_from(signer.address())
        .with_to(Address::repeat_byte(9))
        .with_nonce(5)
        .with_gas_limit(50_000)
        .with_max_fee_per_gas(10)
        .with_max_priority_fee_per_gas(1);
    let envelope = request.build(&EthereumWallet::from(signer.clone())).await.unwrap();
    let raw = Bytes::from(alloy::eips::Encodable2718::encoded_2718(&envelope));
    let record = |raw: String| {
        serde_json::json!({
            "intent": { "do": "withdraw", "to": Address::ZERO }, "why": "due", "attempt": 1, "at_s": 1,
            "state": { "state": "signed", "raw": raw, "hash": envelope.tx_hash(), "sender": signer.address(), "nonce": 5 },
        })
    };
    {
        let db = DB::open_default(dir.path()).unwrap();
        db.put(b"format", b"1").unwrap();
        db.put(b"i/provider/withdraw", record("0x1234".into()).to_string()).unwrap();
    }
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("provider/withdraw") && error.contains("keeper version that wrote it"), "{error}");
    {
        let db = DB::open_default(dir.path()).unwrap();
        db.put(b"i/provider/withdraw", record(raw.to_string()).to_string()).unwrap();
    }
    let journal = Journal::open(dir.path()).unwrap();
    let parcels = journal.parcels(signer.address()).unwrap();
    let parcel = &parcels[&5];
    assert_eq!((parcel.to, parcel.gas_limit), (Address::repeat_byte(9), 50_000));
    assert_eq!(parcel.versions[0].raw, raw);
    assert_eq!(parcel.items[0].key, "provider/withdraw");
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().parcels(signer.address()).unwrap(), parcels);
}

#[test]
fn a_journal_of_a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = DB::open_default(dir.path()).unwrap();
        db.put(b"format", b"9").unwrap();
    }
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Format(format)) if format == "9"));
}
