//! What became of the parcels: mined, final, lost to another transaction of the account; and the requests in them that never
//! ran.

use alloy::{eips::BlockId, primitives::U256, providers::Provider, rpc::types::Filter, sol_types::SolEvent};
use contracts::bindings::IERC2771Forwarder as Forwarder;
use futures_util::{StreamExt, stream};
use tracing::{info, warn};

use super::{
    KEPT_BLOCKS, RelayError, Trouble, Worker,
    chain::{self, Seen, patiently},
    judge,
    policy::DAY_S,
};
use crate::{
    clock::now_s,
    event::Done,
    journal::{Commit, Landed, Parcel, SignedRequest, State, Verdict},
};

/// Receipts written down at once.
const AT_ONCE: usize = 16;
/// A request that went nowhere is signed anew so often, then its intent fails.
const MAX_ROUNDS: u32 = 3;

impl Worker {
    /// Takes the newest block in, then sends again what needs it.
    pub(super) async fn look(&mut self) -> Result<(), Trouble> {
        self.sent_out().await;
        let seen = chain::look(&self.relay.provider, self.account, self.seen).await?;
        if self.seen.is_none() {
            // What the node holds of this account already is not ours to replace.
            self.next = self.next.max(seen.pending);
        }
        if seen.count > self.next {
            warn!(
                account = %self.account, expected = self.next, found = seen.count,
                "somebody else sent transactions of this account; its nonces are taken from the chain again"
            );
        }
        self.next = self.next.max(seen.count);
        self.seen = Some(seen);
        if self.tracked.is_none_or(|(_, hash)| hash != seen.hash) {
            if !self.parcels.is_empty() {
                self.find_taken_back(seen).await?;
                self.find_mined(seen).await?;
                self.settle_deep(seen).await?;
                self.settle_lost(seen).await?;
                self.free_requests(seen).await?;
            }
            self.tracked = Some((seen.number, seen.hash));
            // So that the next preflight finds it; if it fails, that one reads for itself.
            let _ = patiently(self.relay.preflight.warm()).await;
        }
        self.policy.see(&self.relay, &seen).await?;
        self.resend(seen).await
    }

    /// Looks for the receipts of what has its nonce used.
    async fn find_mined(&mut self, seen: Seen) -> Result<(), Trouble> {
        let asked: Vec<Parcel> = self.in_flight().filter(|parcel| parcel.nonce < seen.count).cloned().collect();
        let provider = self.relay.provider.clone();
        // The next are asked for while some are written down.
        let mut answers = stream::iter(asked)
            .map(|parcel| {
                let provider = provider.clone();
                async move { Ok::<_, Trouble>((chain::receipt(&provider, &parcel).await?, parcel)) }
            })
            .buffered(2 * AT_ONCE)
            .chunks(AT_ONCE);
        while let Some(some) = answers.next().await {
            let mut mined = Vec::new();
            for answer in some {
                let (receipt, mut parcel) = answer?;
                let Some(receipt) = receipt.filter(|receipt| receipt.block_hash.is_some()) else { continue };
                judge::judge(&mut parcel, &receipt);
                info!(
                    account = %self.account, nonce = parcel.nonce, tx = %receipt.transaction_hash, block = receipt.block_number,
                    gas = receipt.gas_used, intents = parcel.items.len(), "mined"
                );
                mined.push(parcel);
            }
            self.mined(mined).await?;
        }
        Ok(())
    }

    /// Notes where parcels were mined. What took effect is told at once; what did not, only when it is final: until then
    /// a reorganisation could still give it its effect.
    async fn mined(&mut self, parcels: Vec<Parcel>) -> Result<(), RelayError> {
        if parcels.is_empty() {
            return Ok(());
        }
        let (mut states, mut told) = (Vec::new(), Vec::new());
        for parcel in &parcels {
            let Some(block) = parcel.landed.as_ref().map(|landed| landed.block) else { continue };
            let (nonce, gas_wei) = (parcel.nonce, parcel.gas_share_wei());
            for item in parcel.items.iter().filter(|item| matches!(item.verdict, Some(Verdict::Executed { .. }))) {
                states.push((item.key.clone(), State::Included { sender: self.account, nonce, block, gas_wei }));
                told.push((item.key.clone(), Ok(Done::Mined { block })));
            }
        }
        self.write(&Commit { states, keep: parcels.iter().collect(), ..Commit::default() })?;
        for parcel in parcels {
            self.sent.remove(&parcel.nonce);
            self.parcels.insert(parcel.nonce, parcel);
        }
        for (key, outcome) in told {
            self.tell(key, outcome).await;
        }
        Ok(())
    }

    /// Ends the intents of what is deep enough, and lets go of what is final for so long that no reorganisation is expected to
    /// reach it.
    async fn settle_deep(&mut self, seen: Seen) -> Result<(), RelayError> {
        let final_now: Vec<Parcel> = self
            .unaccounted()
            .filter(|parcel| {
                parcel.landed.as_ref().is_some_and(|landed| lies_deep(landed, self.relay.confirmations, seen))
            })
            .cloned()
            .collect();
        let kept = self.relay.confirmations.saturating_add(KEPT_BLOCKS);
        let is_old = |nonce: &u64| {
            let landed = self.parcels.get(nonce).and_then(|parcel| parcel.landed.as_ref());
            landed.is_none_or(|landed| lies_deep(landed, kept, seen))
        };
        let old: Vec<u64> = self.finals.keys().copied().filter(is_old).collect();
        if !final_now.is_empty() || !old.is_empty() {
            self.settle(final_now, old).await?;
        }
        Ok(())
    }

    /// Ends what can never be mined: its nonce went to a transaction that is not ours, deep enough.
    async fn settle_lost(&mut self, seen: Seen) -> Result<(), Trouble> {
        let Some(deep) = seen.number.checked_sub(self.relay.confirmations) else { return Ok(()) };
        let Some(first) = self.in_flight().map(|parcel| parcel.nonce).next().filter(|first| *first < seen.count) else {
            return Ok(());
        };
        let count = self.relay.provider.get_transaction_count(self.account).block_id(BlockId::number(deep));
        let count = patiently(count).await?;
        let candidates: Vec<u64> =
            self.in_flight().map(|parcel| parcel.nonce).filter(|nonce| (first..count).contains(nonce)).collect();
        for nonce in candidates {
            let Some(mut parcel) = self.parcels.get(&nonce).cloned() else { continue };
            // Asked once more, and in another way: an endpoint that has lost a receipt must not make it be sent twice.
            let provider = &self.relay.provider;
            if chain::receipt(provider, &parcel).await?.is_some() || chain::knows(provider, &parcel).await? {
                continue;
            }
            warn!(account = %self.account, nonce, "somebody else used this nonce of the account: keep its key to one keeper");
            // What needs no session key is signed anew at once: the old bytes can never land.
            let (requests, direct): (Vec<_>, Vec<_>) = parcel.items.drain(..).partition(|item| item.request.is_some());
            parcel.items = requests;
            let again: Vec<_> = direct.into_iter().map(|item| item.key).collect();
            self.put_away(parcel, again.iter().map(|key| (key.clone(), State::Planned)).collect())?;
            self.requeue(again)?;
        }
        Ok(())
    }

    /// Writes what the end of a parcel's nonce means, and keeps of it only what others could still bring.
    fn put_away(&mut self, parcel: Parcel, states: Vec<(String, State)>) -> Result<(), RelayError> {
        let nonce = parcel.nonce;
        let rest = rest_of(parcel);
        let forget = if rest.is_some() { Vec::new() } else { vec![nonce] };
        self.write(&Commit { states, keep: rest.iter().collect(), forget, ..Commit::default() })?;
        self.replace_with(nonce, rest);
        Ok(())
    }

    fn replace_with(&mut self, nonce: u64, rest: Option<Parcel>) {
        self.sent.remove(&nonce);
        match rest {
            Some(rest) => self.parcels.insert(nonce, rest),
            None => self.parcels.remove(&nonce),
        };
    }

    /// Takes intents in again whose signed bytes can no longer land.
    fn requeue(&mut self, again: Vec<String>) -> Result<(), RelayError> {
        for key in again {
            info!(%key, "what was signed for it can no longer land; it is signed anew");
            if let Some(record) = self.relay.journal.record(&key)? {
                self.take(record)?;
            }
        }
        Ok(())
    }

    /// Ends the intents of parcels that will not change any more, those without a verdict stay with theirs; forgets `old` ones.
    async fn settle(&mut self, parcels: Vec<Parcel>, old: Vec<u64>) -> Result<(), RelayError> {
        let day = now_s() / DAY_S;
        let (mut states, mut told, mut ended, mut spent_wei) = (Vec::new(), Vec::new(), Vec::new(), U256::ZERO);
        // By nonce, what stays of those that are not kept as they are; and the nonces of those that are.
        let (mut rests, mut whole) = (Vec::new(), Vec::new());
        for parcel in parcels {
            let (nonce, gas_wei) = (parcel.nonce, parcel.gas_share_wei());
            for item in &parcel.items {
                let Some(verdict) = &item.verdict else { continue };
                let (state, outcome) = ends(verdict, gas_wei);
                states.push((item.key.clone(), state));
                told.push((item.key.clone(), outcome));
            }
            spent_wei = spent_wei.saturating_add(parcel.landed.as_ref().map_or(U256::ZERO, |landed| landed.gas_wei));
            let closes_gap = parcel.items.is_empty();
            let (was_recalled, well) = (self.recalled.remove(&nonce), went_well(&parcel));
            if !closes_gap && (well || !was_recalled) {
                ended.push(well);
            }
            if !closes_gap && parcel.items.iter().all(|item| item.verdict.is_some()) {
                // The journal's copy is as it should be: it was written when the parcel was mined.
                whole.push(nonce);
            } else {
                rests.push((nonce, rest_of(parcel)));
            }
        }
        let keep = rests.iter().filter_map(|(_, rest)| rest.as_ref()).collect();
        let over = rests.iter().filter(|(_, rest)| rest.is_none()).map(|(nonce, _)| *nonce);
        let forget = old.iter().copied().chain(over).collect();
        let spent = Some((day, spent_wei)).filter(|_| !spent_wei.is_zero());
        self.write(&Commit { states, keep, forget, spent, ..Commit::default() })?;
        for nonce in old {
            self.parcels.remove(&nonce);
            self.finals.remove(&nonce);
        }
        self.finals.extend(whole.into_iter().map(|nonce| (nonce, Some(day))));
        for (nonce, rest) in rests {
            self.replace_with(nonce, rest);
        }
        for well in ended {
            self.policy.ended(well);
        }
        self.tell_all(told).await;
        Ok(())
    }

    async fn tell_all(&mut self, told: Vec<(String, Result<Done, String>)>) {
        for (key, outcome) in told {
            self.rounds.remove(&key);
            self.tell(key, outcome).await;
        }
    }

    /// Requests that their own transaction did not run: somebody else may have brought them, or may still do so until
    /// their deadline. Only then are they signed anew.
    async fn free_requests(&mut self, seen: Seen) -> Result<(), Trouble> {
        if !self.parcels.values().any(|parcel| parcel.settled) {
            return Ok(());
        }
        let deep = seen.number.saturating_sub(self.relay.confirmations);
        let block = patiently(self.relay.provider.get_block_by_number(deep.into())).await?;
        let deep_s = block.map(|block| block.header.timestamp).unwrap_or_default();
        let settled: Vec<Parcel> = self.parcels.values().filter(|parcel| parcel.settled).cloned().collect();
        for mut parcel in settled {
            let (mut states, mut told, mut again) = (Vec::new(), Vec::new(), Vec::new());
            for item in &mut parcel.items {
                let Some(request) = &item.request else { continue };
                let forwarder = Forwarder::new(parcel.to, &self.relay.provider);
                let used = patiently(forwarder.nonces(request.signer).block(BlockId::number(deep)).call()).await?;
                let used = used > U256::from(request.nonce);
                if !used && deep_s <= request.deadline_s {
                    continue;
                }
                let brought = match used {
                    true => self.brought_by_others(parcel.to, request, parcel.first_block, deep).await?,
                    false => None,
                };
                let rounds = self.rounds.entry(item.key.clone()).or_default();
                *rounds += 1;
                let verdict = match brought {
                    None if *rounds <= MAX_ROUNDS => {
                        again.push(item.key.clone());
                        states.push((item.key.clone(), State::Planned));
                        item.verdict = Some(Verdict::Refused { error: "signed anew".into() });
                        continue;
                    }
                    None => Verdict::Refused { error: format!("its forward request went nowhere {MAX_ROUNDS} times") },
                    Some(verdict) => verdict,
                };
                let (state, outcome) = ends(&verdict, U256::ZERO);
                states.push((item.key.clone(), state));
                told.push((item.key.clone(), outcome));
                item.verdict = Some(verdict);
            }
            if !states.is_empty() {
                self.put_away(parcel, states)?;
                self.requeue(again)?;
                self.tell_all(told).await;
            }
        }
        Ok(())
    }

    /// What became of `request` if another transaction carried it; `None` if its nonce was used by another request.
    async fn brought_by_others(
        &self,
        forwarder: alloy::primitives::Address,
        request: &SignedRequest,
        from_block: u64,
        to_block: u64,
    ) -> Result<Option<Verdict>, Trouble> {
        let filter = Filter::new()
            .address(forwarder)
            .event_signature(Forwarder::ExecutedForwardRequest::SIGNATURE_HASH)
            .topic1(request.signer)
            .from_block(from_block)
            .to_block(to_block);
        let logs = patiently(self.relay.provider.get_logs(&filter)).await?;
        for log in logs {
            let Some(success) = judge::executed(std::slice::from_ref(&log), forwarder, request) else { continue };
            let Some(hash) = log.transaction_hash else { continue };
            let carrier = patiently(self.relay.provider.get_transaction_by_hash(hash)).await?;
            let carrier =
                carrier.ok_or_else(|| Trouble::Chain(format!("the endpoint does not give transaction {hash}")))?;
            let input = alloy::consensus::Transaction::input(&carrier);
            let ours = input.windows(request.signature.len().max(1)).any(|window| window == request.signature.as_ref());
            let block = log.block_number.unwrap_or_default();
            return Ok(ours.then(|| match success {
                true => Verdict::Executed { block },
                false => {
                    Verdict::Refused { error: format!("transaction {hash}: the wallet refused the forwarded call") }
                }
            }));
        }
        Ok(None)
    }
}

/// Whether a block lies under so many others.
fn lies_deep(landed: &Landed, blocks: u64, seen: Seen) -> bool {
    seen.number >= landed.block.saturating_add(blocks)
}

/// What stays of a parcel whose nonce is gone: the requests that others could still bring, if there are any.
fn rest_of(mut parcel: Parcel) -> Option<Parcel> {
    parcel.settled = true;
    parcel.items.retain(|item| item.verdict.is_none());
    Some(parcel).filter(|parcel| !parcel.items.is_empty())
}

/// Whether a final parcel did what it was sent for, or was overtaken: whoever is overtaken did nothing wrong, and a race must not
/// stop what else is to be sent.
fn went_well(parcel: &Parcel) -> bool {
    let cancelled = parcel
        .landed
        .as_ref()
        .is_none_or(|landed| parcel.versions.iter().any(|version| version.hash == landed.hash && version.cancels));
    !cancelled && !parcel.items.iter().any(|item| matches!(item.verdict, Some(Verdict::Refused { .. })))
}

/// What a verdict makes of its intent's record, and what the intent's role is told.
fn ends(verdict: &Verdict, gas_wei: U256) -> (State, Result<Done, String>) {
    match verdict {
        Verdict::Executed { block } => (State::Done { block: *block, gas_wei }, Ok(Done::Mined { block: *block })),
        Verdict::Overtaken { error } | Verdict::Refused { error } => {
            (State::Failed { error: error.clone() }, Err(error.clone()))
        }
    }
}
