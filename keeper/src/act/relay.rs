//! Sends transactions: one worker per account, which alone gives out its nonces.
//!
//! Data runs one way: planned records wait → `pack` turns them into parcels (policy, preflight, signature) → the journal's
//! outbox → the chain → `track` finds what became of them → records end. Many are under way at once.
//!
//! | part | does |
//! |---|---|
//! | `chain` | reads the chain, hands bytes to the node and understands its answer |
//! | `pack` | one call a transaction for the account's own calls, a batch for those that a session key signs |
//! | `policy` | what may be sent at all |
//! | `track` | mined, final, lost; requests that never ran |
//! | `reorg` | taken back by a reorganisation, be it deeper than what counts as final |
//! | `resend` | sends again, replaces, cancels, closes gaps |
//! | `judge` | reads a receipt |
//!
//! Invariants: bytes are in the outbox before they leave; an ambiguous answer changes nothing but when the chain is read;
//! an intent gets a second signature only when the first can no longer land; every nonce up to the next has one parcel.
//! Every await may be the last: a new worker on the same journal goes on from there.

mod chain;
pub mod fleet;
mod judge;
mod pack;
mod policy;
mod reorg;
mod resend;
mod track;
mod trouble;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use alloy::{
    primitives::{Address, B256},
    providers::{DynProvider, Provider},
    signers::local::PrivateKeySigner,
};
use indexer::Head;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    chain::{Answer, Seen},
    policy::Policy,
    trouble::Trouble,
};
use super::calls::Addresses;
use crate::{
    clock::now_s,
    config::RelayConfig,
    event::{Done, Event, Outcome},
    journal::{Commit, Journal, JournalError, Parcel, Record, State},
    preflight::Preflight,
};

/// Records that wait in one worker; the rest wait in its channel.
const WAITING: usize = 1_024;
/// Longest pause between attempts to reach a chain that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What was seen of the chain so lately is good enough to sign with.
const FRESH: Duration = Duration::from_secs(2);
/// What is final is kept for so many blocks more: should a reorganisation go that deep, the same bytes are sent again.
const KEPT_BLOCKS: u64 = 32;
/// First bytes of the code of an account that is delegated to a contract (EIP-7702).
const DELEGATED: [u8; 3] = [0xef, 0x01, 0x00];

/// Session key of an agent's wallet.
#[derive(Clone, Debug)]
pub struct Session {
    /// The wallet.
    pub wallet: Address,
    /// The key.
    pub key: PrivateKeySigner,
    /// ERC2771Forwarder.
    pub forwarder: Address,
}

/// Sends one account's transactions.
#[derive(Debug)]
pub struct Relay {
    /// Chain access.
    pub provider: DynProvider,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The account.
    pub signer: PrivateKeySigner,
    /// For forwarded calls.
    pub session: Option<Session>,
    /// Contracts.
    pub addresses: Addresses,
    /// Memory.
    pub journal: Journal,
    /// Simulator.
    pub preflight: Preflight,
    /// Time between looks at the chain.
    pub poll: Duration,
    /// Blocks on top of a transaction's after which it is final.
    pub confirmations: u64,
    /// How to send, and what.
    pub config: RelayConfig,
    /// Newest block of the index; without it, the index's freshness is not judged.
    pub index: Option<watch::Receiver<Head>>,
}

/// A fault that ends a relay, and must end its keeper.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// What is known and what is on disk may differ.
    #[error("relay: {0}")]
    Journal(#[from] JournalError),
    /// The outbox and the records do not fit together.
    #[error(
        "relay: record {key} was signed as nonce {nonce} of {account}, but the outbox has no such transaction; the journal \
         was damaged or edited: restore it from a backup, or look {account} up on the chain and abandon the record"
    )]
    Missing {
        /// The record.
        key: String,
        /// Nonce.
        nonce: u64,
        /// Account.
        account: Address,
    },
    /// Code could send transactions in the account's name.
    #[error(
        "account {0} is delegated to a contract (EIP-7702), so its nonces and its gas can be used by others; take another \
         key, or revoke the delegation first"
    )]
    Delegated(Address),
    /// The outbox holds other bytes than were signed.
    #[error(
        "relay: what was signed as nonce {nonce} of {account} cannot be read back; the journal was damaged or edited: \
         restore it from a backup"
    )]
    Damaged {
        /// Nonce.
        nonce: u64,
        /// Account.
        account: Address,
    },
    /// The key does not sign.
    #[error("account {0} cannot sign: {1}; check its keystore")]
    Signer(Address, String),
    /// The account could not be looked at.
    #[error("account {0} cannot be read: {1}; check chain.rpc_urls")]
    Unreachable(Address, String),
}

impl Relay {
    /// Refuses an account that is no plain one.
    ///
    /// # Errors
    /// [`RelayError::Delegated`], [`RelayError::Unreachable`].
    pub async fn check_account(&self) -> Result<(), RelayError> {
        let account = self.signer.address();
        let code = self.provider.get_code_at(account).await;
        let code = code.map_err(|error| RelayError::Unreachable(account, error.to_string()))?;
        match code.starts_with(&DELEGATED) {
            true => Err(RelayError::Delegated(account)),
            false => Ok(()),
        }
    }

    /// Carries records until `stop`: first what an earlier run left in the outbox, then those from `inbox`.
    ///
    /// # Errors
    /// [`RelayError`] when it cannot go on without risking money; the keeper must end then.
    pub async fn run(
        self,
        mut inbox: mpsc::Receiver<Record>,
        out: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<(), RelayError> {
        let mut worker = Worker::open(self, out)?;
        let mut tick = tokio::time::interval(worker.relay.poll);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                record = inbox.recv(), if worker.waiting.len() < WAITING => match record {
                    Some(record) => worker.take(record)?,
                    None => return Ok(()),
                },
                _ = tick.tick() => {}
            }
            while worker.waiting.len() < WAITING
                && let Ok(record) = inbox.try_recv()
            {
                worker.take(record)?;
            }
            match stop.run_until_cancelled(worker.turn()).await {
                None => return Ok(()),
                Some(ended) => ended?,
            }
        }
    }
}

/// One account at work.
struct Worker {
    relay: Relay,
    account: Address,
    policy: Policy,
    out: mpsc::Sender<Event>,
    /// Planned, not yet signed.
    waiting: VecDeque<Record>,
    /// Their keys.
    waits: HashSet<String>,
    /// What the journal's outbox holds: signed, mined, or final but not for long.
    parcels: BTreeMap<u64, Parcel>,
    /// Nonces of those that are final, and the day on which their gas was accounted for, unless an earlier run did that.
    finals: BTreeMap<u64, Option<u64>>,
    /// Nonces of those that a reorganisation took back: if they fail now, that is nobody's fault.
    recalled: HashSet<u64>,
    /// Whether the chain had changed at the last look, and did not reach up to all of those yet.
    in_question: bool,
    /// Planned again though a final parcel has them: that one's block is looked at before they are signed anew.
    doubted: Vec<(String, u64)>,
    /// What this run has handed to the node, by nonce.
    sent: HashMap<u64, Sent>,
    /// What is on its way to the node.
    sending: Option<Sending>,
    /// Nonces without a parcel, and the block at which that was first seen.
    gaps: BTreeMap<u64, u64>,
    /// How often a request of an intent went nowhere.
    rounds: HashMap<String, u32>,
    /// The chain at the last look.
    seen: Option<Seen>,
    /// Number and hash of the block up to which everything is taken in.
    tracked: Option<(u64, B256)>,
    /// Next nonce to give out.
    next: u64,
    looked: Option<Instant>,
    not_before: Instant,
    pause: Duration,
}

/// Whether a parcel was mined and what it was for has ended: one that is not final has live records.
fn is_final(journal: &Journal, parcel: &Parcel) -> Result<bool, JournalError> {
    if parcel.landed.is_none() || parcel.settled || parcel.items.is_empty() {
        return Ok(false);
    }
    for item in &parcel.items {
        match journal.record(&item.key)?.map(|record| record.state) {
            Some(State::Signed { sender, nonce, .. } | State::Included { sender, nonce, .. })
                if (sender, nonce) == (parcel.sender, parcel.nonce) =>
            {
                return Ok(false);
            }
            _ => {}
        }
    }
    Ok(true)
}

/// How a parcel's newest version was last sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    block: u64,
    /// The node said that it has it.
    taken: bool,
    /// The node wants more for it.
    underpriced: bool,
}

/// Bytes on their way to the node.
#[derive(Debug)]
struct Sending {
    nonce: u64,
    hash: B256,
    block: u64,
    answer: JoinHandle<Answer>,
}

impl Worker {
    fn open(relay: Relay, out: mpsc::Sender<Event>) -> Result<Self, RelayError> {
        let account = relay.signer.address();
        let parcels = relay.journal.parcels(account)?;
        if let Some(nonce) = parcels.values().find(|parcel| !parcel.is_whole()).map(|parcel| parcel.nonce) {
            return Err(RelayError::Damaged { nonce, account });
        }
        for (key, record) in relay.journal.records()? {
            if let State::Signed { sender, nonce, .. } | State::Included { sender, nonce, .. } = record.state
                && sender == account
                && !parcels.get(&nonce).is_some_and(|parcel| parcel.items.iter().any(|item| item.key == key))
            {
                return Err(RelayError::Missing { key, nonce, account });
            }
        }
        let mut finals = BTreeMap::new();
        for (nonce, parcel) in &parcels {
            if is_final(&relay.journal, parcel)? {
                finals.insert(*nonce, None);
            }
        }
        if parcels.len() > finals.len() {
            info!(%account, transactions = parcels.len() - finals.len(), "going on with what an earlier run sent");
        }
        Ok(Self {
            account,
            policy: Policy::new(&relay),
            out,
            waiting: VecDeque::new(),
            waits: HashSet::new(),
            next: parcels.keys().next_back().map_or(0, |last| last + 1),
            parcels,
            finals,
            recalled: HashSet::new(),
            in_question: false,
            doubted: Vec::new(),
            sent: HashMap::new(),
            sending: None,
            gaps: BTreeMap::new(),
            rounds: HashMap::new(),
            seen: None,
            tracked: None,
            looked: None,
            not_before: Instant::now(),
            pause: relay.poll,
            relay,
        })
    }

    /// Takes a record in; one that is under way already is left alone.
    fn take(&mut self, record: Record) -> Result<(), RelayError> {
        let key = record.intent.key();
        let planned = self.relay.journal.record(&key)?.is_some_and(|record| record.state == State::Planned);
        if planned && self.waits.insert(key.clone()) {
            if record.attempt > 1 {
                let holds = |nonce: &&u64| {
                    self.parcels.get(nonce).is_some_and(|parcel| parcel.items.iter().any(|item| item.key == key))
                };
                self.doubted.extend(self.finals.keys().rev().find(holds).map(|nonce| (key, *nonce)));
            }
            self.waiting.push_back(record);
        } else {
            debug!(%key, "is under way already");
        }
        Ok(())
    }

    /// Looks at the chain when that is due, then sends what may be sent.
    async fn turn(&mut self) -> Result<(), RelayError> {
        if Instant::now() < self.not_before {
            return Ok(());
        }
        match self.work().await {
            Ok(()) => {
                self.pause = self.relay.poll;
                Ok(())
            }
            Err(Trouble::Chain(error) | Trouble::Reverted(error)) => {
                // Nothing was concluded from a read that failed, so nothing is lost by waiting.
                warn!(account = %self.account, %error, retry_in_ms = self.pause.as_millis() as u64, "the chain cannot be read");
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
            Err(Trouble::Fatal(error)) => Err(error),
        }
    }

    async fn work(&mut self) -> Result<(), Trouble> {
        let age = self.looked.map_or(Duration::MAX, |at| at.elapsed());
        if age < FRESH {
            // What waits does not wait for the look.
            self.pack().await?;
        }
        if age >= self.relay.poll {
            self.look().await?;
            self.looked = Some(Instant::now());
            self.pack().await?;
        }
        Ok(())
    }

    /// What is signed and neither mined nor lost.
    fn in_flight(&self) -> impl Iterator<Item = &Parcel> {
        self.parcels.values().filter(|parcel| parcel.landed.is_none() && !parcel.settled)
    }

    /// What counts against the gas budget by itself: under way, or mined and not accounted for yet.
    fn unaccounted(&self) -> impl Iterator<Item = &Parcel> {
        self.parcels.values().filter(|parcel| !parcel.settled && !self.finals.contains_key(&parcel.nonce))
    }

    fn write(&self, commit: &Commit<'_>) -> Result<(), RelayError> {
        Ok(self.relay.journal.commit(self.account, commit, now_s())?)
    }

    /// Ends a record that was never signed.
    async fn fail(&mut self, key: String, error: String) -> Result<(), RelayError> {
        let states = vec![(key.clone(), State::Failed { error: error.clone() })];
        self.write(&Commit { states, ..Commit::default() })?;
        self.tell(key, Err(error)).await;
        Ok(())
    }

    /// The loop outlives the relay; if it is gone, the journal has the outcome.
    async fn tell(&self, key: String, result: Result<Done, String>) {
        let _ = self.out.send(Event::Acted(Outcome { key, result })).await;
    }
}
