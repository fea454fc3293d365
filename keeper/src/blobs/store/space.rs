//! What a store holds and how much of it: for all, and for each agent.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use alloy::primitives::{Address, B256};
use contracts::ids::AgreementId;

use super::{Store, StoreError, record::Record};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: HashMap<AgreementId, Record>,
    /// Complete blobs and their sizes.
    pub(super) blobs: HashMap<B256, u64>,
    /// How many records refer to a blob.
    pub(super) references: HashMap<B256, usize>,
    pub(super) uploads: HashSet<(AgreementId, B256)>,
    /// Blobs, partial uploads and what is set aside for them, bytes.
    pub(super) used: u64,
}

impl State {
    pub(super) fn insert(&mut self, record: Record) {
        for blob in record.refs() {
            *self.references.entry(blob.sha256).or_default() += 1;
        }
        if let Some(old) = self.records.insert(record.rental, record) {
            for blob in old.refs() {
                self.drop_reference(&blob.sha256);
            }
        }
    }

    /// Whether that was the last one.
    pub(super) fn drop_reference(&mut self, hash: &B256) -> bool {
        let Entry::Occupied(mut count) = self.references.entry(*hash) else { return true };
        *count.get_mut() -= 1;
        let last = *count.get() == 0;
        if last {
            count.remove();
        }
        last
    }
}

impl Store {
    pub(super) fn check_space(&self, used: u64, more: u64) -> Result<(), StoreError> {
        let limit = self.0.limits.total_bytes;
        if used.saturating_add(more) <= limit {
            return Ok(());
        }
        Err(StoreError::Full(format!(
            "this provider's store is full ({used} of {limit} bytes, {more} more wanted); try again when rentals have ended"
        )))
    }

    /// One agent must not fill a provider's store by itself, with a rental more or with more for one that is there.
    pub(super) fn check_share(&self, agent: Address, is_new: bool, more: u64) -> Result<(), StoreError> {
        let limits = self.0.limits;
        let (mut rentals, mut bytes) = (0, more);
        for record in self.state().records.values().filter(|record| record.agent == agent) {
            rentals += 1;
            bytes = record.inputs.iter().map(|blob| blob.bytes).fold(bytes, u64::saturating_add);
        }
        let what = if is_new && rentals >= limits.agent_rentals {
            format!("{rentals} rentals, and {} are remembered", limits.agent_rentals)
        } else if bytes > limits.agent_bytes {
            format!("{bytes} bytes of inputs, and {} are taken", limits.agent_bytes)
        } else {
            return Ok(());
        };
        Err(StoreError::Full(format!(
            "{agent} has {what} here of one agent; try again when some of its rentals have ended"
        )))
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(bytes);
    }

    /// A blob is complete. Two rentals may have uploaded it at the same time; it is there once.
    pub(super) fn adopt(&self, hash: B256, bytes: u64) {
        let mut state = self.state();
        if state.blobs.insert(hash, bytes).is_some() {
            state.used = state.used.saturating_sub(bytes);
        }
    }
}
