//! Several accounts side by side: each has its own relay, and every intent stays with the one that got it.
//!
//! What the session key signs goes through one account alone: its requests must be mined in the order of their nonces,
//! which only one account's nonces guarantee. The other accounts take what anybody may send.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    act::calls::{Addresses, Prepared, prepare},
    journal::Record,
};

/// Hands records from `inbox` to `relays`, the first of which is the session key's, until `stop`.
pub async fn share(
    mut inbox: mpsc::Receiver<Record>,
    relays: Vec<mpsc::Sender<Record>>,
    addresses: Addresses,
    stop: CancellationToken,
) {
    let mut turn = 0;
    while let Some(Some(record)) = stop.run_until_cancelled(inbox.recv()).await {
        let Some(relay) = choose(&record, &relays, addresses, &mut turn) else { return };
        // A relay that is gone has said why, and the keeper ends.
        if !matches!(stop.run_until_cancelled(relay.send(record)).await, Some(Ok(()))) {
            return;
        }
    }
}

/// The session key's relay for what it signs; else the one with the most room, in turn.
fn choose<'a>(
    record: &Record,
    relays: &'a [mpsc::Sender<Record>],
    addresses: Addresses,
    turn: &mut usize,
) -> Option<&'a mpsc::Sender<Record>> {
    if !matches!(prepare(&record.intent, addresses), Ok(Some(Prepared::Direct { .. }))) {
        return relays.first();
    }
    *turn += 1;
    let from_turn = (0..relays.len()).map(|at| &relays[(at + *turn) % relays.len()]);
    // `max_by_key` takes the last of equals.
    from_turn.rev().max_by_key(|relay| relay.capacity())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy::primitives::{Address, B256};
    use contracts::ids::AgreementId;

    use super::*;
    use crate::{event::Intent, job::JobId, journal::State};

    fn record(intent: Intent) -> Record {
        Record { intent, why: String::new(), attempt: 1, at_s: 0, state: State::Planned }
    }

    #[tokio::test]
    async fn the_session_keys_requests_go_one_way_and_the_rest_is_shared() {
        let (senders, mut inboxes): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel(64)).unzip();
        let (out, inbox) = mpsc::channel(64);
        let addresses = Addresses { market: Address::repeat_byte(1), token: Address::repeat_byte(2) };
        let task = tokio::spawn(share(inbox, senders, addresses, CancellationToken::new()));
        for at in 0..12 {
            out.send(record(Intent::Advance { rental: AgreementId::from_u128(at).unwrap() })).await.unwrap();
        }
        for at in 0..6 {
            let bid = Intent::Bid {
                job: JobId(at),
                attempt: 0,
                class: 1,
                tick: 1,
                max_duration_s: 60,
                expiry: 1,
                spec_hash: B256::ZERO,
            };
            out.send(record(bid)).await.unwrap();
        }
        drop(out);
        task.await.unwrap();
        let mut bids = 0;
        for (at, inbox) in inboxes.iter_mut().enumerate() {
            let mut direct = 0;
            while let Ok(record) = inbox.try_recv() {
                match record.intent {
                    Intent::Bid { .. } => bids += usize::from(at == 0),
                    _ => direct += 1,
                }
            }
            assert_eq!(direct, 4);
        }
        assert_eq!(bids, 6);
    }
}
