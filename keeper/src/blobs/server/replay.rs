//! Requests that were served: each is remembered until it is void, so that none is served twice.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use alloy::primitives::{Address, B128};

use crate::blobs::auth::{AuthError, Signed};

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It came before, or its expiry is one that has been forgotten.
    Void(VoidReason),
    /// One key has made too many requests for its last ones to be remembered.
    KeyIsBusy,
    /// All keys together have.
    AllAreBusy,
}

/// Why a request is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoidReason {
    Replayed,
    /// The clock was set back: what was forgotten as void must not become valid again.
    Forgotten {
        now_unix_s: u64,
    },
}

impl VoidReason {
    pub(super) fn error(self, signed: &Signed) -> AuthError {
        match self {
            Self::Replayed => AuthError::Replayed(signed.nonce),
            Self::Forgotten { now_unix_s } => AuthError::Expired { expires: signed.expires_unix_s, now: now_unix_s },
        }
    }
}

/// The requests of each key that are not void yet.
#[derive(Debug)]
pub(super) struct Served {
    per_key: usize,
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Expiry and nonce, by key.
    requests: HashMap<Address, BTreeSet<(u64, B128)>>,
    count: usize,
    /// Everything that expired up to here is forgotten.
    forgotten_unix_s: u64,
}

impl Served {
    /// Remembers at most `per_key` requests of a key and `total` of all keys.
    pub(super) fn new(per_key: usize, total: usize) -> Self {
        Self { per_key, total, state: Mutex::default() }
    }

    /// Takes a request that has not been served before.
    pub(super) fn take(&self, signed: &Signed, now_unix_s: u64) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now_unix_s > state.forgotten_unix_s {
            state.forget(now_unix_s);
        }
        let now_unix_s = state.forgotten_unix_s;
        if signed.expires_unix_s <= now_unix_s {
            return Err(Refusal::Void(VoidReason::Forgotten { now_unix_s }));
        }
        let all = state.count;
        let own = state.requests.entry(signed.signer).or_default();
        let request = (signed.expires_unix_s, signed.nonce);
        if own.contains(&request) {
            return Err(Refusal::Void(VoidReason::Replayed));
        }
        if own.len() >= self.per_key {
            return Err(Refusal::KeyIsBusy);
        }
        if all >= self.total {
            return Err(Refusal::AllAreBusy);
        }
        own.insert(request);
        state.count += 1;
        Ok(())
    }
}

impl State {
    fn forget(&mut self, now_unix_s: u64) {
        self.forgotten_unix_s = now_unix_s;
        self.requests.retain(|_, own| {
            while own.first().is_some_and(|(expires, _)| *expires <= now_unix_s) {
                own.pop_first();
            }
            !own.is_empty()
        });
        self.count = self.requests.values().map(BTreeSet::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: u8, expires_unix_s: u64, nonce: u8) -> Signed {
        Signed { signer: Address::repeat_byte(key), expires_unix_s, nonce: B128::repeat_byte(nonce) }
    }

    #[test]
    fn a_request_is_served_once_until_it_is_void() {
        let served = Served::new(10, 10);
        assert_eq!(served.take(&signed(1, 30, 1), 0), Ok(()));
        for now in [0, 29] {
            assert_eq!(served.take(&signed(1, 30, 1), now), Err(Refusal::Void(VoidReason::Replayed)));
        }
        assert_eq!(served.take(&signed(2, 30, 1), 29), Ok(()), "another key's nonces are its own");
        // Forgotten at 30, and never valid again, even if the clock is set back.
        assert_eq!(served.take(&signed(1, 60, 2), 30), Ok(()));
        let forgotten = Err(Refusal::Void(VoidReason::Forgotten { now_unix_s: 30 }));
        assert_eq!(served.take(&signed(1, 30, 1), 5), forgotten);
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let served = Served::new(3, 5);
        for nonce in 0..3 {
            assert_eq!(served.take(&signed(1, 30, nonce), 0), Ok(()));
        }
        assert_eq!(served.take(&signed(1, 30, 9), 0), Err(Refusal::KeyIsBusy));
        assert_eq!(served.take(&signed(2, 40, 1), 0), Ok(()));
        assert_eq!(served.take(&signed(3, 40, 1), 0), Ok(()));
        assert_eq!(served.take(&signed(4, 40, 1), 0), Err(Refusal::AllAreBusy));
        assert_eq!(served.take(&signed(4, 60, 1), 30), Ok(()));
        let state = served.state.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((state.count, state.requests.len()), (3, 3));
    }
}
