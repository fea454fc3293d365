//! Reading ranges of blocks so that every block is proven to belong to one chain.
//!
//! A range is accepted when its headers chain, every log carries the hash of its header and lies in its bloom, and the
//! last header is still the same after the logs were read. Where a bloom says that the market or a wallet may have
//! spoken and no log says what, the receipts are fetched and their root compared with the header's.

use std::collections::BTreeMap;

use alloy::{
    consensus::proofs::calculate_receipt_root,
    primitives::{B256, Bloom, BloomInput},
    rpc::types::{Filter, Log},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::{debug, warn};

use super::{
    FollowError,
    rpc::{Rpc, SeenHeader},
};
use crate::{
    project::{Emitters, RawLog},
    store::Header,
};

/// Requests in flight at once.
const CONCURRENCY: usize = 8;
/// A bloom with more bits than this matches almost anything, and says nothing.
const INFORMATIVE_BITS: u32 = Bloom::len_bytes() as u32 * 8 / 2;

/// A proven block with the logs that may concern the market, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) logs: Vec<RawLog>,
}

/// Reads and proves blocks.
pub(super) struct Reader<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) emitters: Emitters,
    pub(super) topics: &'a [B256],
}

impl Reader<'_> {
    /// Every block of `from..=to`, `to` being at most a few dozen blocks on.
    pub(super) async fn every_block(&self, from: u64, to: u64) -> Result<Vec<Block>, FollowError> {
        let seen = self.headers(from..=to).await?;
        for pair in seen.windows(2) {
            if pair[1].header.parent != pair[0].header.hash {
                return Err(FollowError::Moved(pair[1].header.number));
            }
        }
        let Some(last) = seen.last() else { return Ok(Vec::new()) };
        let filter = Filter::new().event_signature(self.topics.to_vec());
        // By hash where possible: the answer then is about this very block.
        let filter =
            if from == to { filter.at_block_hash(last.header.hash) } else { filter.from_block(from).to_block(to) };
        let mut logs = self.sorted(self.rpc.logs(&filter).await?)?;
        self.confirm(last).await?;
        let mut blocks = Vec::with_capacity(seen.len());
        for seen in &seen {
            let logs = take_block(&mut logs, seen)?;
            let logs = if self.is_suspicious(seen, &logs) { self.prove(seen, logs).await? } else { logs };
            blocks.push(Block { header: seen.header, logs });
        }
        nothing_left(&logs)?;
        Ok(blocks)
    }

    /// The blocks of `from..=to` that have logs, and `to` itself in any case. For ranges below the horizon.
    pub(super) async fn blocks_with_logs(&self, from: u64, to: u64) -> Result<Vec<Block>, FollowError> {
        let last = self.header(to).await?;
        let filter = Filter::new().event_signature(self.topics.to_vec()).from_block(from).to_block(to);
        let mut logs = self.sorted(self.rpc.logs(&filter).await?)?;
        let numbers: Vec<u64> = logs.keys().copied().filter(|number| *number != to).collect();
        let mut seen = self.headers(numbers).await?;
        self.confirm(&last).await?;
        seen.push(last);
        let blocks = seen.iter().map(|seen| Ok(Block { header: seen.header, logs: take_block(&mut logs, seen)? }));
        let blocks = blocks.collect::<Result<Vec<_>, FollowError>>()?;
        nothing_left(&logs)?;
        Ok(blocks)
    }

    async fn headers(&self, numbers: impl IntoIterator<Item = u64>) -> Result<Vec<SeenHeader>, FollowError> {
        stream::iter(numbers).map(|number| self.header(number)).buffered(CONCURRENCY).try_collect().await
    }

    pub(super) async fn header(&self, number: u64) -> Result<SeenHeader, FollowError> {
        self.rpc.header(number).await?.ok_or(FollowError::Missing(number))
    }

    /// The header is still the same.
    async fn confirm(&self, seen: &SeenHeader) -> Result<(), FollowError> {
        let again = self.header(seen.header.number).await?;
        if again.header == seen.header { Ok(()) } else { Err(FollowError::Moved(seen.header.number)) }
    }

    fn sorted(&self, logs: Vec<Log>) -> Result<LogsByBlock, FollowError> {
        let mut by_block = LogsByBlock::new();
        for log in logs {
            let (Some(number), Some(hash), Some(index)) = (log.block_number, log.block_hash, log.log_index) else {
                return Err(FollowError::Faulty("a log without block or index".into()));
            };
            if log.removed {
                return Err(FollowError::Moved(number));
            }
            by_block.entry(number).or_default().push((hash, RawLog { index, log: log.inner }));
        }
        for logs in by_block.values_mut() {
            logs.sort_by_key(|(_, log)| log.index);
            logs.dedup_by_key(|(_, log)| log.index);
        }
        Ok(by_block)
    }

    /// The bloom names an emitter or an event of ours that no log shows.
    fn is_suspicious(&self, seen: &SeenHeader, logs: &[RawLog]) -> bool {
        let bits: u32 = seen.bloom.data().iter().map(|byte| byte.count_ones()).sum();
        if bits > INFORMATIVE_BITS {
            return false;
        }
        let may_hold = |bytes: &[u8]| seen.bloom.contains_input(BloomInput::Raw(bytes));
        let silent = |emitter| may_hold(emitter) && !logs.iter().any(|raw| raw.log.address.as_slice() == emitter);
        silent(self.emitters.market.as_slice())
            || silent(self.emitters.factory.as_slice())
            || self.topics.iter().any(|topic| {
                may_hold(topic.as_slice()) && !logs.iter().any(|raw| raw.log.topics().first() == Some(topic))
            })
    }

    /// The logs as the receipts have them, when the receipts prove to be the header's; else those that were given.
    async fn prove(&self, seen: &SeenHeader, given: Vec<RawLog>) -> Result<Vec<RawLog>, FollowError> {
        let number = seen.header.number;
        let receipts = match self.rpc.receipts(seen.header.hash).await {
            Ok(Some(receipts)) => receipts,
            Ok(None) => return Err(FollowError::Missing(number)),
            Err(error) => {
                debug!(block = number, %error, "no receipts to prove a block's logs with");
                return Ok(given);
            }
        };
        let receipts: Vec<_> = receipts.into_iter().map(|receipt| receipt.into_primitives_receipt().inner).collect();
        if calculate_receipt_root(&receipts) != seen.receipts_root {
            debug!(block = number, "receipts of a kind that this program cannot prove");
            return Ok(given);
        }
        let all = receipts.iter().flat_map(|receipt| receipt.logs()).zip(0..);
        let proven: Vec<RawLog> = all
            .filter(|(log, _)| log.topics().first().is_some_and(|topic| self.topics.contains(topic)))
            .map(|(log, index)| RawLog { index, log: log.clone() })
            .collect();
        if proven != given {
            warn!(
                block = number,
                given = given.len(),
                proven = proven.len(),
                "an endpoint left out logs: the receipts are believed"
            );
        }
        Ok(proven)
    }
}

type LogsByBlock = BTreeMap<u64, Vec<(B256, RawLog)>>;

/// The logs of one header, which they must name and which must have them in its bloom.
fn take_block(logs: &mut LogsByBlock, seen: &SeenHeader) -> Result<Vec<RawLog>, FollowError> {
    let number = seen.header.number;
    let logs = logs.remove(&number).unwrap_or_default();
    if logs.iter().any(|(hash, _)| *hash != seen.header.hash) {
        return Err(FollowError::Moved(number));
    }
    if logs.iter().any(|(_, raw)| !seen.bloom.contains_log(&raw.log)) {
        return Err(FollowError::Faulty(format!("block {number} has a log that its bloom denies")));
    }
    Ok(logs.into_iter().map(|(_, raw)| raw).collect())
}

fn nothing_left(logs: &LogsByBlock) -> Result<(), FollowError> {
    match logs.keys().next() {
        Some(number) => Err(FollowError::Faulty(format!("logs of block {number}, which was not asked for"))),
        None => Ok(()),
    }
}
