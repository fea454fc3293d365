//! When a submitted result is disputed: at once if it does not hold, and while there is still time if it is not served.

use contracts::params::Params;
use indexer::rows::{AgreementRow, Submitted};

use super::{Desk, runs_own_spec};
use crate::{
    event::Intent,
    ledger::{REFUTED, UNSERVED},
};

/// Why a rental is disputed that was started with another spec than the bid's.
const OTHER_SPEC: &str = "the start was countersigned for another spec than the bid's";

/// A provider that was started anew is away for less than this, seconds: that alone is no reason for a dispute. Windows
/// under twice as long, as in the demo preset, are too short to tell; such a result is brought after its settlement.
const PATIENCE_S: u64 = 30;

/// Why the result is to be disputed now, if it is. `fetch` is how it is brought.
pub(super) fn objection(desk: &Desk<'_>, row: &AgreementRow, submitted: &Submitted, fetch: &Intent) -> Option<String> {
    // What the wallet itself cancelled brings no result, only its bill.
    if submitted.cancelled || desk.chain_s >= submitted.challenge_end_s {
        return None;
    }
    if !runs_own_spec(row) {
        return Some(OTHER_SPEC.into());
    }
    let key = fetch.key();
    let error = desk.ledger.error(&key);
    if let Some(reason) = error.and_then(|error| error.strip_prefix(REFUTED)) {
        return Some(reason.into());
    }
    if desk.ledger.is_done(&key) || !is_worth_it(submitted, &desk.params) {
        return None;
    }
    let window_s = submitted.challenge_end_s.saturating_sub(submitted.time_s);
    let is_past = |quarters: u64| desk.chain_s >= submitted.time_s + (window_s * quarters / 4).max(PATIENCE_S);
    let attempts = desk.ledger.attempts(&key);
    let served = match error {
        Some(error) if !error.starts_with(UNSERVED) => return None,
        Some(_) => !is_past(2),
        None if attempts > 1 => !is_past(2),
        // A first transfer that is still under way is given more time, but not all of it: it may be made to last.
        None => attempts == 0 || !is_past(3),
    };
    if served {
        return None;
    }
    let last = error.and_then(|error| error.strip_prefix(UNSERVED)).unwrap_or("the transfer does not end");
    Some(format!("the result was not served within half of the challenge window: {last}"))
}

/// The deposit equals the claim, but is never less than the least bill: a claim of less than half of it is let go.
fn is_worth_it(submitted: &Submitted, params: &Params) -> bool {
    submitted.billable_s > 0 && submitted.billable_s * 2 >= params.min_billed_s
}
