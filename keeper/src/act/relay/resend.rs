//! Sends what the chain does not show yet: again as it is, dearer, or as an empty transaction that uses the nonce up.

use std::time::Duration;

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, U256},
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    RelayError, Sending, Sent, Trouble, Worker,
    chain::{self, Answer, Fees, Seen},
};
use crate::journal::{Commit, Parcel, Version};

/// Bytes that a node did not clearly take are sent again after this.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// Bytes that it took, and that are not mined, are sent again after so many blocks: nodes forget.
const RESEND_AFTER_BLOCKS: u64 = 4;
/// Versions of one nonce; beyond that the newest is only sent again.
const MAX_VERSIONS: usize = 40;
/// Gas of a transaction that does nothing.
const EMPTY_GAS: u64 = 21_000;
/// Gaps closed in one look.
const GAPS_AT_ONCE: usize = 16;

impl Worker {
    /// Goes through all that is not mined, in the order of nonces.
    pub(super) async fn resend(&mut self, seen: Seen) -> Result<(), Trouble> {
        self.close_gaps(seen).await?;
        let open: Vec<u64> = self.in_flight().map(|parcel| parcel.nonce).filter(|nonce| *nonce >= seen.count).collect();
        for nonce in open {
            let Some(parcel) = self.parcels.get(&nonce) else { continue };
            let last = self.sent.get(&nonce).copied();
            let waited = seen.number.saturating_sub(parcel.last_block);
            let underpriced = last.is_some_and(|last| last.underpriced);
            let first_in_line = nonce == seen.count;
            let too_cheap = parcel.newest().is_some_and(|newest| newest.max_fee_wei < seen.base_fee_wei);
            let stuck = waited >= self.relay.config.replace_after_blocks && (first_in_line || too_cheap);
            let replaceable = last.is_some() && (stuck || underpriced) && parcel.versions.len() < MAX_VERSIONS;
            if replaceable && self.replace(nonce, seen)? {
                self.send(nonce, seen).await;
                continue;
            }
            let due = match last {
                None => true,
                Some(last) if !last.taken => last.at.elapsed() >= RESEND_AFTER,
                Some(last) => seen.number >= last.block + RESEND_AFTER_BLOCKS,
            };
            if due {
                self.send(nonce, seen).await;
            }
        }
        Ok(())
    }

    /// Begins to hand the newest version to the node, after the one before it is there. While the node takes it, the next can be
    /// prepared.
    pub(super) async fn send(&mut self, nonce: u64, seen: Seen) {
        self.sent_out().await;
        let Some(newest) = self.parcels.get(&nonce).and_then(Parcel::newest).cloned() else { return };
        let provider = self.relay.provider.clone();
        let hash = newest.hash;
        let answer = tokio::spawn(async move { chain::send(&provider, &newest).await });
        self.sending = Some(Sending { nonce, hash, block: seen.number, answer });
    }

    /// Waits until the node has answered to what was sent last. Whatever it answers, only the chain tells what came of it.
    pub(super) async fn sent_out(&mut self) {
        let Some(Sending { nonce, hash, block, answer }) = &mut self.sending else { return };
        let answer = answer.await.unwrap_or_else(|error| Answer::Unknown(error.to_string()));
        let (account, nonce, tx) = (self.account, *nonce, *hash);
        let mut sent = Sent { at: Instant::now(), block: *block, taken: false, underpriced: false };
        match answer {
            Answer::Taken => {
                debug!(%account, nonce, %tx, "sent");
                sent.taken = true;
            }
            Answer::Underpriced(text) => {
                warn!(%account, nonce, %tx, %text, "the node wants more for it");
                sent.underpriced = true;
            }
            Answer::NonceUsed => debug!(%account, nonce, %tx, "its nonce is used; the chain is read"),
            Answer::Unknown(error) => {
                warn!(%account, nonce, %tx, %error, "it is not known whether the node has it");
            }
        }
        self.sending = None;
        self.sent.insert(nonce, sent);
    }

    /// Signs a dearer version, or one that cancels. Whether there is a new one.
    fn replace(&mut self, nonce: u64, seen: Seen) -> Result<bool, RelayError> {
        let Some(mut parcel) = self.parcels.get(&nonce).cloned() else { return Ok(false) };
        let Some(newest) = parcel.newest() else { return Ok(false) };
        let least = Fees::of(newest).bumped();
        let cap_wei = self.relay.config.max_fee_wei();
        let expired = !parcel.items.is_empty()
            && parcel
                .items
                .iter()
                .all(|item| item.request.as_ref().is_some_and(|own| own.deadline_s < seen.timestamp_s));
        let late = seen.number.saturating_sub(parcel.first_block) >= self.relay.config.cancel_after_blocks;
        let cancels = newest.cancels || parcel.items.is_empty() || late || expired || least.max_wei > cap_wei;
        // An empty transaction costs little, and everything behind it waits: it may pay twice the cap.
        let cap_wei = if cancels { cap_wei.saturating_mul(2) } else { cap_wei };
        if least.max_wei > cap_wei {
            return Ok(false);
        }
        let fees = least.or_more(seen.fees.within(cap_wei));
        let version = match cancels {
            true => self.sign(nonce, self.account, Bytes::new(), EMPTY_GAS, fees, true)?,
            false => self.sign(nonce, parcel.to, parcel.data(), parcel.gas_limit, fees, false)?,
        };
        info!(account = %self.account, nonce, tx = %version.hash, max_fee_wei = fees.max_wei, cancels, "replaced");
        parcel.versions.push(version);
        parcel.last_block = seen.number;
        self.write(&Commit { keep: vec![&parcel], ..Commit::default() })?;
        self.parcels.insert(nonce, parcel);
        Ok(true)
    }

    /// Nonces that nothing would ever use would hold up everything after them.
    async fn close_gaps(&mut self, seen: Seen) -> Result<(), RelayError> {
        self.gaps.retain(|nonce, _| *nonce >= seen.count && !self.parcels.contains_key(nonce));
        let missing: Vec<u64> =
            (seen.count..self.next).filter(|nonce| !self.parcels.contains_key(nonce)).take(GAPS_AT_ONCE).collect();
        for nonce in missing {
            let since = *self.gaps.entry(nonce).or_insert(seen.number);
            // Somebody's transaction of this nonce may be on its way: that is waited for like one of ours.
            let patience = if seen.pending > nonce { self.relay.config.cancel_after_blocks } else { 1 };
            if seen.number.saturating_sub(since) < patience {
                continue;
            }
            warn!(account = %self.account, nonce, "no transaction has this nonce; an empty one closes the gap");
            let version = self.sign(nonce, self.account, Bytes::new(), EMPTY_GAS, seen.fees, true)?;
            let parcel = Parcel {
                sender: self.account,
                nonce,
                items: Vec::new(),
                to: self.account,
                gas_limit: EMPTY_GAS,
                versions: vec![version],
                first_block: seen.number,
                last_block: seen.number,
                landed: None,
                settled: false,
            };
            self.write(&Commit { keep: vec![&parcel], ..Commit::default() })?;
            self.parcels.insert(nonce, parcel);
            self.gaps.remove(&nonce);
        }
        Ok(())
    }

    /// Signs a transaction of this account.
    pub(super) fn sign(
        &self,
        nonce: u64,
        to: Address,
        input: Bytes,
        gas_limit: u64,
        fees: Fees,
        cancels: bool,
    ) -> Result<Version, RelayError> {
        let mut tx = TxEip1559 {
            chain_id: self.relay.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fees.max_wei,
            max_priority_fee_per_gas: fees.tip_wei.min(fees.max_wei),
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        };
        let signature = self
            .relay
            .signer
            .sign_transaction_sync(&mut tx)
            .map_err(|error| RelayError::Signer(self.account, error.to_string()))?;
        let envelope = TxEnvelope::Eip1559(tx.into_signed(signature));
        Ok(Version {
            raw: envelope.encoded_2718().into(),
            hash: *envelope.tx_hash(),
            max_fee_wei: fees.max_wei,
            tip_wei: fees.tip_wei.min(fees.max_wei),
            cancels,
        })
    }
}
