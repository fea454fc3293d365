//! Rows for the tests of both roles.
#![allow(clippy::unwrap_used)]

use alloy::primitives::{Address, B256};
use contracts::{ids::AgreementId, units::Amount};
use indexer::rows::{AgreementRow, Matched, Started, Status, Submitted};

/// Time of the newest block, unless a test lets time pass.
pub(crate) const NOW_S: u64 = 1_000_000;
/// Who took the bid.
pub(crate) const PROVIDER: Address = Address::repeat_byte(9);

/// An agreement that has been through every step up to `status`.
pub(crate) fn row(status: Status) -> AgreementRow {
    AgreementRow {
        id: AgreementId::from_u128(1 << 80).unwrap(),
        wallet: Address::ZERO,
        agent: Address::ZERO,
        status,
        max_duration_s: 60,
        expiry_s: NOW_S + 60,
        fee_bps: 250,
        template_id: 1,
        escrow: Amount(1),
        credit_used: Amount::ZERO,
        spec_hash: B256::repeat_byte(1),
        policy_hash: B256::ZERO,
        placed_block: 1,
        placed_time_s: NOW_S,
        matched: Some(Matched {
            offer_id: 1,
            provider: PROVIDER,
            start_deadline_s: NOW_S + 30,
            block: 2,
            time_s: NOW_S,
        }),
        started: Some(Started {
            time_s: NOW_S,
            end_time_s: NOW_S + 60,
            spec_hash: B256::repeat_byte(1),
            image_digest: B256::ZERO,
            block: 100,
        }),
        submitted: Some(Submitted {
            billable_s: 5,
            result_hash: B256::ZERO,
            receipt_root: B256::ZERO,
            challenge_end_s: NOW_S + 10,
            receipts: true,
            preempted: false,
            cancelled: false,
            block: 104,
            time_s: NOW_S,
        }),
        dispute: None,
        payment: None,
        decline_fee: None,
        ended: None,
    }
}
