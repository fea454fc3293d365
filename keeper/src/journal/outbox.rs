//! The outbox: what was signed under each nonce of each relaying account, kept until long after it is final.
//!
//! A [`Parcel`] is written together with the records of its intents before its bytes leave the keeper. There is one for
//! every nonce between the chain's count and the next one to be given out, so nothing is ever signed twice by accident.

use std::collections::BTreeMap;

use alloy::{
    consensus::{Transaction, TxEnvelope},
    eips::{Decodable2718, Encodable2718},
    primitives::{Address, B256, Bytes, U256},
};
use contracts::ids::AgreementId;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use super::{Journal, JournalError, Record, State, check_transition, parse, put, record_key, synced, utf8};

/// One nonce of one account, and all that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Account.
    pub sender: Address,
    /// Its nonce.
    pub nonce: u64,
    /// What the transaction does; empty for one that only closes a gap.
    pub items: Vec<Item>,
    /// Contract called.
    pub to: Address,
    /// Gas offered.
    pub gas_limit: u64,
    /// Signed transactions, the newest last: replacements pay more, the last ones may cancel.
    pub versions: Vec<Version>,
    /// Block that was the newest when the first version was signed.
    pub first_block: u64,
    /// Block that was the newest when the last version was signed.
    pub last_block: u64,
    /// Where one of the versions was mined, if one was.
    pub landed: Option<Landed>,
    /// Whether the nonce is used for good, deep enough; such a parcel only waits for forwarded requests that others
    /// could still bring to the chain.
    pub settled: bool,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Bytes, sent as they are.
    pub raw: Bytes,
    /// Transaction hash.
    pub hash: B256,
    /// Most wei paid for a unit of gas.
    pub max_fee_wei: u128,
    /// Wei of it for the block's producer.
    pub tip_wei: u128,
    /// Whether it only uses the nonce up.
    pub cancels: bool,
}

/// Where a transaction was mined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The version's hash.
    pub hash: B256,
    /// Block.
    pub block: u64,
    /// Its hash: another block of that height means that a reorganisation took it.
    pub block_hash: B256,
    /// Wei of gas paid.
    pub gas_wei: U256,
}

/// One intent in a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Key of the intent's record.
    pub key: String,
    /// The agreement it is about, if any.
    pub about: Option<AgreementId>,
    /// The session key's request, when it goes through the forwarder.
    pub request: Option<SignedRequest>,
    /// What came of it, once known.
    pub verdict: Option<Verdict>,
}

/// A forward request that is out in the open: whoever has it can bring it to the chain until its nonce is used or its
/// deadline has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// Session key.
    pub signer: Address,
    /// Its nonce at the forwarder.
    pub nonce: u64,
    /// Last Unix second of the chain in which it is valid.
    pub deadline_s: u64,
    /// 65 bytes, by which its execution is told from another's.
    pub signature: Bytes,
}

/// What came of an intent on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect.
    Executed {
        /// Block.
        block: u64,
    },
    /// It ran and had no effect, as it should: somebody else was faster.
    Overtaken {
        /// By whom or what.
        error: String,
    },
    /// It ran and had no effect, or never will.
    Refused {
        /// Why.
        error: String,
    },
}

impl Parcel {
    /// The version that should be mined now.
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Whether the bytes of every version are those of the transaction that it names.
    pub fn is_whole(&self) -> bool {
        self.versions.iter().all(|version| {
            TxEnvelope::decode_2718(&mut version.raw.as_ref()).is_ok_and(|envelope| *envelope.hash() == version.hash)
        })
    }

    /// Calldata; empty for one that only closes a gap.
    pub fn data(&self) -> Bytes {
        let calling = self.versions.iter().find(|version| !version.cancels);
        let envelope = calling.and_then(|version| TxEnvelope::decode_2718(&mut version.raw.as_ref()).ok());
        envelope.map(|envelope| envelope.input().clone()).unwrap_or_default()
    }

    /// Most wei it can cost, whichever version is mined.
    pub fn worst_case_wei(&self) -> U256 {
        let dearest = self.versions.iter().map(|version| version.max_fee_wei).max().unwrap_or_default();
        U256::from(self.gas_limit) * U256::from(dearest)
    }

    /// Gas that one of its items is said to have cost.
    pub fn gas_share_wei(&self) -> U256 {
        let gas = self.landed.as_ref().map_or(U256::ZERO, |landed| landed.gas_wei);
        gas / U256::from(self.items.len().max(1))
    }
}

/// One atomic change of the journal by a relay.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// Records that move on.
    pub states: Vec<(String, State)>,
    /// Parcels that are new or changed.
    pub keep: Vec<&'a Parcel>,
    /// Nonces whose parcels are over.
    pub forget: Vec<u64>,
    /// Gas to account for, by day of the Unix epoch.
    pub spent: Option<(u64, U256)>,
    /// Gas that was accounted for and was not paid after all.
    pub returned: Option<(u64, U256)>,
}

impl Journal {
    /// Parcels of an account by nonce.
    ///
    /// # Errors
    /// When the database fails.
    pub fn parcels(&self, sender: Address) -> Result<BTreeMap<u64, Parcel>, JournalError> {
        let found: Vec<(Vec<u8>, Parcel)> = self.scan(&[b"o/".as_slice(), sender.as_slice()].concat())?;
        Ok(found.into_iter().map(|(_, parcel)| (parcel.nonce, parcel)).collect())
    }

    /// Wei of gas that an account paid for good on a day of the Unix epoch.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gas_spent(&self, sender: Address, day: u64) -> Result<U256, JournalError> {
        Ok(self.read(&gas_key(sender, day))?.unwrap_or_default())
    }

    /// Writes all of `commit` or nothing.
    ///
    /// # Errors
    /// [`JournalError::Transition`] for a change that must never be.
    pub fn commit(&self, sender: Address, commit: &Commit<'_>, now_s: u64) -> Result<(), JournalError> {
        let _writing = self.writing();
        let mut batch = WriteBatch::default();
        for (key, state) in &commit.states {
            let Some(mut record) = self.record(key)? else {
                return Err(JournalError::Transition { key: key.clone(), from: "missing", to: state.name() });
            };
            check_transition(key, &record.state, state)?;
            record.state = state.clone();
            record.at_s = now_s;
            put(&mut batch, record_key(key).as_bytes(), &record)?;
        }
        for parcel in &commit.keep {
            put(&mut batch, &parcel_key(parcel.sender, parcel.nonce), parcel)?;
        }
        for nonce in &commit.forget {
            batch.delete(parcel_key(sender, *nonce));
        }
        if let Some((day, wei)) = commit.spent {
            let key = gas_key(sender, day);
            let before: U256 = self.read(&key)?.unwrap_or_default();
            put(&mut batch, &key, &before.saturating_add(wei))?;
            if let Some(old) = day.checked_sub(KEPT_DAYS) {
                batch.delete_range(gas_key(sender, 0), gas_key(sender, old));
            }
        }
        if let Some((day, wei)) = commit.returned {
            let key = gas_key(sender, day);
            let before: U256 = self.read(&key)?.unwrap_or_default();
            put(&mut batch, &key, &before.saturating_sub(wei))?;
        }
        let mut whats: Vec<&str> = commit.states.iter().map(|(_, state)| state.name()).collect();
        whats.dedup();
        // A change of parcels alone has no record's state to be named by.
        if whats.is_empty() {
            whats.push("parcel");
        }
        self.write_batch(&whats, batch, &synced())
    }

    /// Moves a journal of format 1 on: it kept the bytes of a signed transaction in the intent's own record.
    pub(super) fn fill_outbox_from_format_1(&self, batch: &mut WriteBatch) -> Result<(), JournalError> {
        let records: Vec<(Vec<u8>, serde_json::Value)> = self.scan(b"i/")?;
        for (key, value) in records.into_iter().filter(|(_, value)| value["state"]["state"] == "signed") {
            let name = utf8(&key[2..]);
            let record: Record = parse(&key, value.to_string().as_bytes())?;
            let raw = value["state"]["raw"].as_str().and_then(|hex| hex.parse::<Bytes>().ok());
            let parcel = raw.and_then(|raw| parcel_of(&name, &record, &raw));
            let parcel = parcel.ok_or(JournalError::Upgrade(name))?;
            put(batch, &parcel_key(parcel.sender, parcel.nonce), &parcel)?;
        }
        Ok(())
    }
}

/// Days of gas accounts kept.
const KEPT_DAYS: u64 = 32;

/// The parcel of a transaction that an earlier format kept by itself.
fn parcel_of(key: &str, record: &Record, raw: &Bytes) -> Option<Parcel> {
    let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).ok()?;
    let State::Signed { sender, .. } = record.state else { return None };
    Some(Parcel {
        sender,
        nonce: envelope.nonce(),
        items: vec![Item { key: key.into(), about: record.intent.rental(), request: None, verdict: None }],
        to: envelope.to()?,
        gas_limit: envelope.gas_limit(),
        versions: vec![Version {
            raw: envelope.encoded_2718().into(),
            hash: *envelope.tx_hash(),
            max_fee_wei: envelope.max_fee_per_gas(),
            tip_wei: envelope.max_priority_fee_per_gas().unwrap_or_default(),
            cancels: false,
        }],
        first_block: 0,
        last_block: 0,
        landed: None,
        settled: false,
    })
}

fn parcel_key(sender: Address, nonce: u64) -> Vec<u8> {
    [b"o/".as_slice(), sender.as_slice(), &nonce.to_be_bytes()].concat()
}

fn gas_key(sender: Address, day: u64) -> Vec<u8> {
    [b"g/".as_slice(), sender.as_slice(), &day.to_be_bytes()].concat()
}
