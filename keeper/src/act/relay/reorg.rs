//! Reorganisations: what was mined, final or not, goes back to being sent when its block is gone.

use std::{cmp::Ordering, collections::BTreeMap};

use alloy::primitives::B256;
use tracing::warn;

use super::{
    RelayError, Trouble, Worker,
    chain::{self, Seen},
};
use crate::{
    event::Done,
    journal::{Commit, JournalError, Landed, Parcel, State, Verdict},
};

/// Times that what is to be written is judged anew because a record moved on meanwhile.
const TRIES: u32 = 3;

impl Worker {
    /// Parcels whose block is gone go back to being sent, under the same nonce. Final ones are looked at only when the chain
    /// is not the one that was taken in, and go only if it has another block in their block's place.
    pub(super) async fn find_taken_back(&mut self, seen: Seen) -> Result<(), Trouble> {
        let look_deep = !self.finals.is_empty() && (self.in_question || !self.goes_on(seen).await?);
        let watched: Vec<(u64, Landed, bool)> = self
            .parcels
            .values()
            .filter(|parcel| !parcel.settled)
            .filter_map(|parcel| Some((parcel.nonce, parcel.landed.clone()?)))
            .map(|(nonce, landed)| (nonce, landed, self.finals.contains_key(&nonce)))
            .filter(|(.., is_final)| look_deep || !is_final)
            .collect();
        let mut canonical: BTreeMap<u64, Option<B256>> = watched.iter().map(|(_, at, _)| (at.block, None)).collect();
        for (block, hash) in &mut canonical {
            *hash = self.hash_at(*block, seen).await?;
        }
        let mut in_question = false;
        for (nonce, landed, is_final) in watched {
            let is_gone = match canonical.get(&landed.block).copied().flatten() {
                Some(hash) => hash != landed.block_hash,
                // A lower head may be an endpoint's that lags.
                None => {
                    in_question |= is_final;
                    !is_final
                }
            };
            if is_gone {
                self.take_back(nonce).await?;
            }
        }
        self.in_question = in_question;
        Ok(())
    }

    /// Whether the newest block follows from the one that was taken in last, and with it from all that came before.
    async fn goes_on(&self, seen: Seen) -> Result<bool, Trouble> {
        match self.tracked {
            Some((number, hash)) => Ok(self.hash_at(number, seen).await? == Some(hash)),
            None => Ok(false),
        }
    }

    /// Hash of the block of a height in the chain that was seen.
    async fn hash_at(&self, number: u64, seen: Seen) -> Result<Option<B256>, Trouble> {
        match number.cmp(&seen.number) {
            Ordering::Less => chain::hash_at(&self.relay.provider, number).await,
            Ordering::Equal => Ok(Some(seen.hash)),
            Ordering::Greater => Ok(None),
        }
    }

    async fn take_back(&mut self, nonce: u64) -> Result<(), RelayError> {
        warn!(account = %self.account, nonce, "a reorganisation took a transaction back; it is sent again as it is");
        let mut tries = 1;
        let told = loop {
            match self.put_back(nonce) {
                // The relay of another account signed a direct call between the look at its record and the write.
                Err(RelayError::Journal(JournalError::Transition { .. })) if tries < TRIES => tries += 1,
                put_back => break put_back?,
            }
        };
        for key in told {
            self.drop_waiting(&key);
            self.tell(key, Ok(Done::TakenBack)).await;
        }
        Ok(())
    }

    /// Writes that a parcel is under way again; gives the intents that are so with it.
    fn put_back(&mut self, nonce: u64) -> Result<Vec<String>, RelayError> {
        let Some(mut parcel) = self.parcels.get(&nonce).cloned() else { return Ok(Vec::new()) };
        let was_final = self.finals.get(&nonce).copied();
        if was_final.is_some() {
            self.drop_others(&mut parcel)?;
        }
        let hash = parcel.versions.first().map(|version| version.hash).unwrap_or_default();
        let mut told = Vec::new();
        for item in &mut parcel.items {
            let verdict = item.verdict.take();
            if was_final.is_some() || matches!(verdict, Some(Verdict::Executed { .. })) {
                told.push(item.key.clone());
            }
        }
        // It has as much time to be mined as any other before it is replaced.
        parcel.last_block = self.seen.map_or(parcel.last_block, |seen| seen.number);
        let gas_wei = parcel.landed.take().map(|landed| landed.gas_wei).unwrap_or_default();
        let signed = |key: &String| (key.clone(), State::Signed { hash, sender: self.account, nonce });
        let states = told.iter().map(signed).collect();
        let returned = was_final.flatten().map(|day| (day, gas_wei));
        self.write(&Commit { states, keep: vec![&parcel], returned, ..Commit::default() })?;
        self.parcels.insert(nonce, parcel);
        self.finals.remove(&nonce);
        self.recalled.insert(nonce);
        self.sent.remove(&nonce);
        Ok(told)
    }

    /// Lets go of the intents that have gone another way since this parcel was final: only its nonce is still to be used.
    fn drop_others(&self, parcel: &mut Parcel) -> Result<(), RelayError> {
        let mut others = Vec::new();
        for item in &parcel.items {
            let state = self.relay.journal.record(&item.key)?.map(|record| record.state);
            let is_ours = match (&item.verdict, state) {
                // Planned again, but not signed: whichever relay it is handed to sees that its first bytes go.
                (_, Some(State::Planned)) => true,
                (Some(Verdict::Executed { block }), Some(State::Done { block: done, .. })) => *block == done,
                (Some(Verdict::Refused { error }), Some(State::Failed { error: failed })) => *error == failed,
                _ => false,
            };
            if !is_ours {
                others.push(item.key.clone());
            }
        }
        parcel.items.retain(|item| !others.contains(&item.key));
        Ok(())
    }

    /// What has ended for good is planned again because it is wanted anew, or because a reorganisation took its effect back and
    /// this relay has not seen that yet: then the bytes that are signed go again, and nothing else is signed.
    pub(super) async fn resolve_doubts(&mut self) -> Result<(), Trouble> {
        while let Some((key, nonce)) = self.doubted.last().cloned() {
            let landed = self.parcels.get(&nonce).filter(|_| self.finals.contains_key(&nonce));
            if let Some(landed) = landed.and_then(|parcel| parcel.landed.clone())
                && self.waits.contains(&key)
                && chain::hash_at(&self.relay.provider, landed.block).await? != Some(landed.block_hash)
            {
                self.take_back(nonce).await?;
            }
            self.doubted.pop();
        }
        Ok(())
    }
}
