//! Turns planned records into signed parcels.
//!
//! An account's own call is a transaction of its own. What a session key signs goes through the forwarder in a batch, be
//! it of one: in a batch a call that fails has used its nonce up, so that nobody can bring it to the chain later, when it
//! might succeed. While nothing is on its way, what waits is sent at once; while something is, more may gather.

use alloy::{
    primitives::{Address, Bytes, U256, aliases::U48},
    sol_types::SolCall,
};
use contracts::{
    bindings::{ForwardRequest, IERC2771Forwarder as Forwarder},
    ids::AgreementId,
    typed_data::sign_forward,
};
use tracing::{debug, info, warn};

use super::{
    RelayError, Session, Trouble, Worker,
    chain::{Seen, patiently},
    judge::{expected_match, gone},
};
use crate::{
    act::calls::{Prepared, prepare},
    journal::{Commit, Item, JournalError, Parcel, Record, SignedRequest, State},
    preflight::{ContractCall, MAX_TRANSACTION_GAS, Preflighted, Ran},
};

/// A forwarded request is dead after this: requests cannot be cancelled, so they live shortly. Seconds of the chain.
const FORWARD_LIFETIME_S: u64 = 90;
/// Least gas of a forwarded request. The forwarder only checks that a 63rd of it is left, five calls further out than where
/// it runs short: a request that asks for less could be made to fail, its nonce spent, by whoever sends it.
const FORWARD_GAS_FLOOR: u64 = 1_500_000;
/// Gas that the forwarder needs for each request besides the call: signature, trust, nonce, event, memory.
const FORWARD_OVERHEAD_GAS: u64 = 60_000;
/// Gas of every transaction before its first instruction.
const BASE_GAS: u64 = 21_000;
/// Most matches under way that a further one is run after.
const MATCHES_BEFORE: usize = 32;
/// Most gas of a byte of calldata (EIP-7623).
const BYTE_GAS: u64 = 40;

impl Worker {
    /// Sends what waits, as far as it may be sent now.
    pub(super) async fn pack(&mut self) -> Result<(), Trouble> {
        let Some(seen) = self.seen else { return Ok(()) };
        self.resolve_doubts().await?;
        let mut held = 0;
        while self.waiting.len() > held && self.in_flight().count() < self.relay.config.max_in_flight {
            let Some(record) = self.waiting.get(held).cloned() else { break };
            let key = record.intent.key();
            if let Err(refusal) = self.policy.admit() {
                self.drop_waiting(&key);
                self.fail(key, refusal.to_string()).await?;
                continue;
            }
            match prepare(&record.intent, self.relay.addresses) {
                Ok(Some(Prepared::Direct { to, data })) => self.pack_direct(seen, &record, to, data).await?,
                Ok(Some(Prepared::Forwarded { .. })) => {
                    // The first that waits speaks for all of them.
                    if self.holds_forwarded(held) || !self.pack_batch(seen).await? {
                        held += 1;
                    }
                }
                Ok(None) => {
                    self.drop_waiting(&key);
                    self.fail(key.clone(), format!("{key} is no transaction")).await?;
                }
                Err(error) => {
                    self.drop_waiting(&key);
                    self.fail(key, error).await?;
                }
            }
        }
        Ok(())
    }

    fn holds_forwarded(&self, held: usize) -> bool {
        self.waiting.iter().take(held).any(|record| self.forwarded(record).is_some())
    }

    /// Calldata for the wallet, if the record goes there.
    fn forwarded(&self, record: &Record) -> Option<Bytes> {
        match prepare(&record.intent, self.relay.addresses) {
            Ok(Some(Prepared::Forwarded { data })) => Some(data),
            _ => None,
        }
    }

    pub(super) fn drop_waiting(&mut self, key: &str) {
        self.waits.remove(key);
        // What is dropped is near the front.
        if let Some(at) = self.waiting.iter().position(|record| record.intent.key() == key) {
            self.waiting.remove(at);
        }
    }

    async fn pack_direct(&mut self, seen: Seen, record: &Record, to: Address, data: Bytes) -> Result<(), Trouble> {
        let key = record.intent.key();
        let call = ContractCall { from: self.account, to, data };
        if let Err(refusal) = self.policy.allows(&call) {
            self.drop_waiting(&key);
            return Ok(self.fail(key, refusal.to_string()).await?);
        }
        self.warn_of_pending(record);
        match patiently(self.relay.preflight.check_after(self.matches_before(&call), call)).await {
            Ok(ready) => match no_match(&ready) {
                None => {
                    let item = Item { key: key.clone(), about: record.intent.rental(), request: None, verdict: None };
                    self.dispatch(seen, ready, vec![item]).await
                }
                Some(bid) => {
                    self.drop_waiting(&key);
                    Ok(self.fail(key, gone(bid)).await?)
                }
            },
            Err(Trouble::Reverted(error)) => {
                self.drop_waiting(&key);
                Ok(self.fail(key, error).await?)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Forwards up to a batch of what waits; false when it is better to let more gather.
    async fn pack_batch(&mut self, seen: Seen) -> Result<bool, Trouble> {
        let waiting: Vec<(Record, Bytes)> = self
            .waiting
            .iter()
            .filter_map(|record| self.forwarded(record).map(|data| (record.clone(), data)))
            .take(self.relay.config.max_batch)
            .collect();
        let under_way = self.in_flight().any(|parcel| parcel.items.iter().any(|item| item.request.is_some()));
        if under_way && waiting.len() < self.relay.config.max_batch {
            return Ok(false);
        }
        let Some(session) = self.relay.session.clone() else {
            for (record, _) in waiting {
                let key = record.intent.key();
                self.drop_waiting(&key);
                self.fail(key, "this keeper has no session key; add an [agent] table".into()).await?;
            }
            return Ok(true);
        };
        let mut calls = Vec::new();
        let mut allowed = Vec::new();
        for (record, data) in waiting {
            let inner = ContractCall { from: session.key.address(), to: session.wallet, data: data.clone() };
            if let Err(refusal) = self.policy.allows(&inner) {
                let key = record.intent.key();
                self.drop_waiting(&key);
                self.fail(key, refusal.to_string()).await?;
                continue;
            }
            self.warn_of_pending(&record);
            let as_forwarded = Bytes::from([data.as_ref(), session.key.address().as_slice()].concat());
            calls.push(ContractCall { from: session.forwarder, to: session.wallet, data: as_forwarded });
            allowed.push((record, data));
        }
        if calls.is_empty() {
            return Ok(true);
        }
        let signer = session.key.address();
        let forwarder = Forwarder::new(session.forwarder, &self.relay.provider);
        let nonce = forwarder.nonces(signer);
        let (answers, nonce) = tokio::try_join!(patiently(self.relay.preflight.run(calls)), patiently(nonce.call()))?;
        let mut ready = Vec::new();
        for ((record, data), answer) in allowed.into_iter().zip(answers) {
            match answer {
                Ok(ran) => ready.push((record, data, ran)),
                Err(error) => {
                    let key = record.intent.key();
                    self.drop_waiting(&key);
                    self.fail(key, error.to_string()).await?;
                }
            }
        }
        if ready.is_empty() {
            return Ok(true);
        }
        let first = self.next_request(signer, nonce.saturating_to());
        let (preflighted, items) = self.sign_batch(seen, &session, first, ready).await?;
        self.dispatch(seen, preflighted, items).await?;
        Ok(true)
    }

    /// Signs a request for each call, with nonces from `first`.
    async fn sign_batch(
        &self,
        seen: Seen,
        session: &Session,
        first: u64,
        ready: Vec<(Record, Bytes, Ran)>,
    ) -> Result<(Preflighted, Vec<Item>), Trouble> {
        let signer = session.key.address();
        let deadline_s = seen.timestamp_s + FORWARD_LIFETIME_S;
        let (mut requests, mut items, mut ran_all, mut most_gas) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut overhead = BASE_GAS;
        for (nonce, (record, data, ran)) in (first..).zip(ready) {
            let gas = (ran.gas_used() + ran.gas_used() / 2).max(FORWARD_GAS_FLOOR);
            let length = data.len() as u64 + 512;
            let more = FORWARD_OVERHEAD_GAS + length * BYTE_GAS;
            let with_it =
                Preflighted::wrapping_gas(ran_all.iter().chain([&ran]), overhead + more + gas.max(most_gas) * 64 / 63);
            if !items.is_empty() && with_it >= seen.gas_limit.min(MAX_TRANSACTION_GAS) {
                // It waits for the next batch.
                break;
            }
            (overhead, most_gas) = (overhead + more, gas.max(most_gas));
            let request = ForwardRequest {
                from: signer,
                to: session.wallet,
                value: U256::ZERO,
                gas: U256::from(gas),
                nonce: U256::from(nonce),
                deadline: U48::from(deadline_s),
                data,
            };
            let signed = sign_forward(request, &session.key, self.relay.chain_id, session.forwarder)
                .await
                .map_err(|error| RelayError::Signer(signer, error.to_string()))?;
            let own = SignedRequest { signer, nonce, deadline_s, signature: signed.signature.clone() };
            items.push(Item {
                key: record.intent.key(),
                about: record.intent.rental(),
                request: Some(own),
                verdict: None,
            });
            requests.push(signed);
            ran_all.push(ran);
        }
        let data = Forwarder::executeBatchCall { requests, refundReceiver: self.account }.abi_encode();
        let call = ContractCall { from: self.account, to: session.forwarder, data: data.into() };
        // While a request runs, what it asks for must be there and a 63rd on top; what it leaves serves the next.
        Ok((Preflighted::wrapping(call, &ran_all, overhead + most_gas * 64 / 63), items))
    }

    /// The nonce after those of the requests that will run, in the order in which they will be mined.
    fn next_request(&self, signer: Address, first: u64) -> u64 {
        let under_way = self.in_flight().filter(|parcel| parcel.newest().is_some_and(|newest| !newest.cancels));
        let requests = under_way.flat_map(|parcel| &parcel.items).filter_map(|item| item.request.as_ref());
        requests
            .filter(|request| request.signer == signer)
            .fold(first, |next, request| next + u64::from(request.nonce == next))
    }

    /// Signs under the next nonce, journals, sends.
    async fn dispatch(&mut self, seen: Seen, ready: Preflighted, items: Vec<Item>) -> Result<(), Trouble> {
        let (call, gas_limit) = (ready.call(), ready.gas_limit());
        let (policy, fees) = (&self.policy, seen.fees.within(self.relay.config.max_fee_wei()));
        let refused = policy
            .allows(call)
            .and_then(|()| policy.affords(gas_limit, fees, seen.base_fee_wei, self.unaccounted()))
            .and_then(|()| policy.really(self.next, call, gas_limit, fees));
        if let Err(refusal) = refused {
            for item in items {
                self.drop_waiting(&item.key);
                self.fail(item.key, refusal.to_string()).await?;
            }
            return Ok(());
        }
        let nonce = self.next;
        let version = self.sign(nonce, call.to, call.data.clone(), gas_limit, fees, false)?;
        let hash = version.hash;
        let states = items.iter().map(|item| (item.key.clone(), State::Signed { hash, sender: self.account, nonce }));
        let states = states.collect();
        let parcel = Parcel {
            sender: self.account,
            nonce,
            items,
            to: call.to,
            gas_limit,
            versions: vec![version],
            first_block: seen.number,
            last_block: seen.number,
            landed: None,
            settled: false,
        };
        match self.write(&Commit { states, keep: vec![&parcel], ..Commit::default() }) {
            Err(RelayError::Journal(error @ JournalError::Transition { .. })) => {
                return Ok(self.drop_overtaken(&parcel.items, error)?);
            }
            written => written?,
        }
        for item in &parcel.items {
            self.drop_waiting(&item.key);
            info!(key = %item.key, account = %self.account, nonce, tx = %hash, batch = parcel.items.len(), "signed");
        }
        self.parcels.insert(nonce, parcel);
        self.next = nonce + 1;
        self.send(nonce, seen).await;
        Ok(())
    }

    /// Lets go of what is not planned any more: the relay of another account, to which a reorganisation gave it back, has signed
    /// it. `error` says so of one of them.
    fn drop_overtaken(&mut self, items: &[Item], error: JournalError) -> Result<(), JournalError> {
        let before = self.waiting.len();
        for item in items {
            if self.relay.journal.record(&item.key)?.is_some_and(|record| record.state != State::Planned) {
                debug!(key = %item.key, account = %self.account, "is under way already");
                self.drop_waiting(&item.key);
            }
        }
        if self.waiting.len() == before { Err(error) } else { Ok(()) }
    }

    /// Matches under way that will be mined before `call`, if that is one too: each takes a bid from a queue and a slot from an
    /// offer, so that the next finds others.
    fn matches_before(&self, call: &ContractCall) -> Vec<ContractCall> {
        if expected_match(&call.data).is_none() {
            return Vec::new();
        }
        let sent = self.in_flight().filter(|parcel| parcel.newest().is_some_and(|newest| !newest.cancels));
        let calls = sent.map(|parcel| ContractCall { from: self.account, to: parcel.to, data: parcel.data() });
        calls.filter(|call| expected_match(&call.data).is_some()).take(MATCHES_BEFORE).collect()
    }

    /// What revm saw does not know of what is under way.
    fn warn_of_pending(&self, record: &Record) {
        let Some(about) = record.intent.rental().filter(|rental| *rental != AgreementId::default()) else { return };
        let other = self.in_flight().flat_map(|parcel| &parcel.items).find(|item| item.about == Some(about));
        if let Some(other) = other {
            warn!(key = %record.intent.key(), rental = %about, pending = %other.key, "a transaction under way may change what the preflight saw");
        }
    }
}

/// The bid of a match that would find it taken and do nothing: what that costs is saved. One that would clear dead bids away, or
/// the gaps that cancelled ones leave, is worth it.
fn no_match(ready: &Preflighted) -> Option<AgreementId> {
    expected_match(&ready.call().data).filter(|_| !ready.changes())
}
