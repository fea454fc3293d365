//! What the journal says of each intent, held in memory for the loop: which may be planned now, which are over.

use std::collections::HashMap;

use crate::{
    event::Intent,
    journal::{Record, State},
};

/// Longest pause between two attempts at the same intent, seconds.
const MAX_BACKOFF_S: u64 = 60;
/// An effect on chain is in the index once it is this many blocks past the transaction's.
const VISIBLE_AFTER_BLOCKS: u64 = 2;
/// Work off the chain that is still wanted after its success is repeated after so long, seconds.
const REPEAT_AFTER_S: u64 = 10;
/// Opens the error of a fetched result that does not hold; such a fetch is not repeated.
pub const REFUTED: &str = "refuted: ";
/// Opens the error of a fetch whose provider did not serve the result.
pub const UNSERVED: &str = "unserved: ";
/// Opens the error of tasks that a running rental did not take.
pub const LEFT_OUT: &str = "left out: ";
/// Opens the error of a match whose bid somebody else took first: nothing is wrong then.
pub const OVERTAKEN: &str = "overtaken: ";
/// Opens the error of an intent that an operator gave up; it is not planned again until the operator says so.
pub const ABANDONED: &str = "abandoned: ";

#[derive(Clone, Debug)]
struct Entry {
    attempt: u32,
    at_s: u64,
    on_chain: bool,
    state: State,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: HashMap<String, Entry>,
}

impl Ledger {
    /// From the journal's records.
    pub fn new(records: impl IntoIterator<Item = (String, Record)>) -> Self {
        let mut ledger = Self::default();
        for (key, record) in records {
            ledger.note(key, &record);
        }
        ledger
    }

    /// Takes over a record as it is now.
    pub fn note(&mut self, key: String, record: &Record) {
        let entry = Entry {
            attempt: record.attempt,
            at_s: record.at_s,
            on_chain: record.intent.on_chain(),
            state: record.state.clone(),
        };
        self.entries.insert(key, entry);
    }

    /// Forgets what the journal forgot.
    pub fn forget(&mut self, keys: &[String]) {
        keys.iter().for_each(|key| drop(self.entries.remove(key)));
    }

    /// Whether `intent` may be planned when the index is at block `head` and the clock at `now_s`.
    pub fn may_plan(&self, intent: &Intent, head: u64, now_s: u64) -> bool {
        let Some(entry) = self.entries.get(&intent.key()) else { return true };
        match &entry.state {
            State::Planned | State::Signed { .. } | State::Included { .. } => false,
            State::Done { block, .. } if entry.on_chain => head >= block + VISIBLE_AFTER_BLOCKS,
            State::Done { .. } => now_s >= entry.at_s + REPEAT_AFTER_S,
            State::Failed { error } if error.starts_with(ABANDONED) => false,
            State::Failed { .. } => now_s >= entry.at_s + backoff_s(entry.attempt),
        }
    }

    /// Lets a failed intent be planned again at once.
    pub fn hurry(&mut self, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.at_s = 0;
        }
    }

    /// Unix seconds from which a failed intent may be planned again; `None` for others, and for those given up.
    pub fn next_try_s(&self, key: &str) -> Option<u64> {
        let entry = self.entries.get(key)?;
        match &entry.state {
            State::Failed { error } if !error.starts_with(ABANDONED) => Some(entry.at_s + backoff_s(entry.attempt)),
            _ => None,
        }
    }

    /// Whether something may still happen to the intent of `key`.
    pub fn is_live(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.state.is_live())
    }

    /// Whether an intent whose key starts with `prefix` may still take effect, or has done so in a block past `head`, which the
    /// index does not show yet.
    pub fn any_unseen(&self, prefix: &str, head: u64) -> bool {
        let unseen = |state: &State| match state {
            State::Planned | State::Signed { .. } => true,
            State::Included { block, .. } | State::Done { block, .. } => *block > head,
            State::Failed { .. } => false,
        };
        self.entries.iter().any(|(key, entry)| key.starts_with(prefix) && unseen(&entry.state))
    }

    /// How many intents whose key starts with `prefix` are under way.
    pub fn count_live(&self, prefix: &str) -> usize {
        self.entries.iter().filter(|(key, entry)| key.starts_with(prefix) && entry.state.is_live()).count()
    }

    /// Whether the intent of `key` took effect, be it that a reorganisation may still take that back.
    pub fn is_done(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.state, State::Included { .. } | State::Done { .. }))
    }

    /// How often the intent of `key` was tried.
    pub fn attempts(&self, key: &str) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.attempt)
    }

    /// Unix seconds of the last change of `key`.
    pub fn changed_at_s(&self, key: &str) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.at_s)
    }

    /// Error of the last attempt of `key`, if it failed.
    pub fn error(&self, key: &str) -> Option<&str> {
        match &self.entries.get(key)?.state {
            State::Failed { error } => Some(error),
            _ => None,
        }
    }
}

fn backoff_s(attempt: u32) -> u64 {
    2u64.saturating_pow(attempt.min(16)).min(MAX_BACKOFF_S)
}

#[cfg(test)]
mod tests {
    use contracts::ids::AgreementId;

    use super::*;

    fn ledger(state: State) -> (Ledger, Intent) {
        let intent = Intent::Advance { rental: AgreementId::default() };
        let record = Record { intent: intent.clone(), why: String::new(), attempt: 1, at_s: 100, state };
        (Ledger::new([(intent.key(), record)]), intent)
    }

    #[test]
    fn what_the_journal_dropped_takes_no_memory() {
        let (mut ledger, intent) = ledger(State::Failed { error: String::new() });
        ledger.forget(&[intent.key()]);
        assert!(ledger.entries.is_empty() && ledger.may_plan(&intent, 0, 0));
    }

    #[test]
    fn what_is_under_way_is_left_alone() {
        let (ledger, intent) = ledger(State::Planned);
        assert!(!ledger.may_plan(&intent, u64::MAX, u64::MAX));
    }

    #[test]
    fn what_took_effect_is_unseen_until_the_index_is_there() {
        let gas_wei = alloy::primitives::U256::ZERO;
        let sender = alloy::primitives::Address::ZERO;
        let unseen = |state| ledger(state).0.any_unseen("advance/", 10);
        assert!(unseen(State::Planned));
        let included = |block| State::Included { sender, nonce: 0, block, gas_wei };
        assert_eq!((unseen(included(11)), unseen(included(10))), (true, false));
        let done = |block| State::Done { block, gas_wei };
        assert_eq!((unseen(done(11)), unseen(done(10))), (true, false));
        assert!(!unseen(State::Failed { error: String::new() }));
    }

    #[test]
    fn an_effect_is_awaited_before_it_is_wanted_again() {
        let (ledger, intent) = ledger(State::Done { block: 10, gas_wei: alloy::primitives::U256::ZERO });
        assert!(!ledger.may_plan(&intent, 11, u64::MAX));
        assert!(ledger.may_plan(&intent, 12, 0));
    }

    #[test]
    fn what_was_given_up_stays_so_and_what_is_hurried_is_tried_at_once() {
        let (mut failed, intent) = ledger(State::Failed { error: "no".into() });
        assert_eq!(failed.next_try_s(&intent.key()), Some(102));
        failed.hurry(&intent.key());
        assert!(failed.may_plan(&intent, 0, 101));
        let (abandoned, intent) = ledger(State::Failed { error: format!("{ABANDONED}by hand") });
        assert!(!abandoned.may_plan(&intent, u64::MAX, u64::MAX));
        assert_eq!(abandoned.next_try_s(&intent.key()), None);
    }

    #[test]
    fn failures_are_repeated_more_and_more_slowly() {
        let (ledger, intent) = ledger(State::Failed { error: String::new() });
        assert!(!ledger.may_plan(&intent, 0, 101));
        assert!(ledger.may_plan(&intent, 0, 102));
        assert_eq!((backoff_s(3), backoff_s(40)), (8, MAX_BACKOFF_S));
    }
}
