//! A bid and the rental it becomes.

use alloy::primitives::{Address, B256};
use contracts::{ids::AgreementId, units::Amount};
use serde::Serialize;
use utoipa::ToSchema;

use super::price_text;
use crate::{
    Snapshot,
    api::query::{bucket_name, class_name},
    error::Result,
    store::rows::{AgreementRow, status_name},
};

/// A bid, and the rental it becomes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgreementInfo {
    /// Id of both.
    #[schema(value_type = String)]
    pub id: AgreementId,
    /// open, confirmed, running, submitted, disputed, settled, resolved, preempted, expired, failed or cancelled.
    pub status: String,
    /// Hardware class.
    pub class: String,
    /// Duration bucket: 10m, 1h, 6h, 24h.
    pub bucket: String,
    /// Whether it gives way.
    pub preemptible: bool,
    /// Price tick.
    pub tick: u8,
    /// Token units per second × 1e18.
    pub price: String,
    /// Wallet that pays.
    #[schema(value_type = String)]
    pub wallet: Address,
    /// Session key that placed the bid.
    #[schema(value_type = String)]
    pub agent: Address,
    /// Seconds paid for at most.
    pub max_duration_s: u32,
    /// From then on the bid cannot be matched.
    pub expiry_s: u64,
    /// Basis points.
    pub fee_bps: u16,
    /// Spec template.
    pub template_id: u16,
    /// Locked.
    #[schema(value_type = String)]
    pub escrow: Amount,
    /// Part of it that the key's credit gave.
    #[schema(value_type = String)]
    pub credit_used: Amount,
    /// SHA-256 of the spec, as bid.
    #[schema(value_type = String)]
    pub spec_hash: B256,
    /// Hash of the policy that priced it.
    #[schema(value_type = String)]
    pub policy_hash: B256,
    /// Block of the bid.
    pub placed_block: u64,
    /// Its time.
    pub placed_time_s: u64,
    /// The match.
    pub matched: Option<MatchInfo>,
    /// The start.
    pub started: Option<StartInfo>,
    /// The result.
    pub submitted: Option<SubmissionInfo>,
    /// The dispute.
    pub dispute: Option<DisputeInfo>,
    /// The payment.
    pub payment: Option<PaymentInfo>,
    /// Block in which it ended.
    pub final_block: Option<u64>,
    /// Time of that block.
    pub final_time_s: Option<u64>,
}

/// A provider took the bid.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MatchInfo {
    /// The offer.
    pub offer_id: u64,
    /// Its provider.
    #[schema(value_type = String)]
    pub provider: Address,
    /// Last moment for the start.
    pub start_deadline_s: u64,
    /// Block of the match.
    pub block: u64,
    /// Its time.
    pub time_s: u64,
}

/// The rental runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StartInfo {
    /// Start of the metered time.
    pub time_s: u64,
    /// End of the paid time.
    pub end_time_s: u64,
    /// The spec as countersigned; the bid's, unless both sides of the start mean other work.
    #[schema(value_type = String)]
    pub spec_hash: B256,
    /// Digest of the image.
    #[schema(value_type = String)]
    pub image_digest: B256,
    /// Block of the start.
    pub block: u64,
}

/// A result was submitted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubmissionInfo {
    /// Seconds to bill.
    pub billable_s: u64,
    /// Hash of the result.
    #[schema(value_type = String)]
    pub result_hash: B256,
    /// Root over the receipts.
    #[schema(value_type = String)]
    pub receipt_root: B256,
    /// End of the challenge window.
    pub challenge_end_s: u64,
    /// Whether receipts were given; a cancel stands for them.
    pub receipts: bool,
    /// Whether the provider gave way.
    pub preempted: bool,
    /// Whether the wallet cancelled it while it ran: then this is its bill, and there is no result.
    pub cancelled: bool,
    /// Block of the submission.
    pub block: u64,
}

/// The result is or was disputed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DisputeInfo {
    /// Who filed it.
    #[schema(value_type = String)]
    pub initiator: Address,
    /// Hash of the reason.
    #[schema(value_type = String)]
    pub reason_hash: B256,
    /// Deposit.
    #[schema(value_type = String)]
    pub deposit: Amount,
    /// Part of it that the key's credit gave.
    #[schema(value_type = String)]
    pub credit_used: Amount,
    /// Whether it counts against the key's limits; not when the owner disputes.
    pub counted: bool,
    /// From then on the default ruling applies.
    pub timeout_s: u64,
    /// Gross pay ruled; null while open.
    #[schema(value_type = Option<String>)]
    pub ruled_pay: Option<Amount>,
    /// Bond taken by the ruling; null while open.
    #[schema(value_type = Option<String>)]
    pub ruled_slash: Option<Amount>,
    /// Whether the ruling was the default.
    pub timed_out: Option<bool>,
}

/// How escrow and bond were shared out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentInfo {
    /// To the provider.
    #[schema(value_type = String)]
    pub pay: Amount,
    /// To the treasury.
    #[schema(value_type = String)]
    pub fee: Amount,
    /// Back to the key's credit.
    #[schema(value_type = String)]
    pub refund: Amount,
    /// Lost by the wallet for a missing start.
    #[schema(value_type = String)]
    pub penalty: Amount,
    /// Bond taken.
    #[schema(value_type = String)]
    pub slash: Amount,
}

impl AgreementInfo {
    pub(in crate::api) fn new(snapshot: &Snapshot<'_>, row: AgreementRow) -> Result<Self> {
        let price = price_text(snapshot.class_base(row.id.class())?.unwrap_or_default(), row.id.tick());
        let (bucket, preemptible) = row.id.book().map_or((0, false), |book| (book.bucket, book.preemptible));
        Ok(Self {
            id: row.id,
            status: status_name(row.status).to_owned(),
            class: class_name(row.id.class()),
            bucket: bucket_name(bucket).to_owned(),
            preemptible,
            tick: row.id.tick(),
            price,
            wallet: row.wallet,
            agent: row.agent,
            max_duration_s: row.max_duration_s,
            expiry_s: row.expiry_s,
            fee_bps: row.fee_bps,
            template_id: row.template_id,
            escrow: row.escrow,
            credit_used: row.credit_used,
            spec_hash: row.spec_hash,
            policy_hash: row.policy_hash,
            placed_block: row.placed_block,
            placed_time_s: row.placed_time_s,
            matched: row.matched.map(|matched| MatchInfo {
                offer_id: matched.offer_id,
                provider: matched.provider,
                start_deadline_s: matched.start_deadline_s,
                block: matched.block,
                time_s: matched.time_s,
            }),
            started: row.started.map(|started| StartInfo {
                time_s: started.time_s,
                end_time_s: started.end_time_s,
                spec_hash: started.spec_hash,
                image_digest: started.image_digest,
                block: started.block,
            }),
            submitted: row.submitted.map(|submitted| SubmissionInfo {
                billable_s: submitted.billable_s,
                result_hash: submitted.result_hash,
                receipt_root: submitted.receipt_root,
                challenge_end_s: submitted.challenge_end_s,
                receipts: submitted.receipts,
                preempted: submitted.preempted,
                cancelled: submitted.cancelled,
                block: submitted.block,
            }),
            dispute: row.dispute.map(|dispute| DisputeInfo {
                initiator: dispute.initiator,
                reason_hash: dispute.reason_hash,
                deposit: dispute.deposit,
                credit_used: dispute.credit_used,
                counted: dispute.counted,
                timeout_s: dispute.timeout_s,
                ruled_pay: dispute.ruling.as_ref().map(|ruling| ruling.pay),
                ruled_slash: dispute.ruling.as_ref().map(|ruling| ruling.slash),
                timed_out: dispute.ruling.as_ref().map(|ruling| ruling.timed_out),
            }),
            payment: row.payment.map(|payment| PaymentInfo {
                pay: payment.pay,
                fee: payment.fee,
                refund: payment.refund,
                penalty: payment.penalty,
                slash: payment.slash,
            }),
            final_block: row.ended.as_ref().map(|ended| ended.block),
            final_time_s: row.ended.as_ref().map(|ended| ended.time_s),
        })
    }
}
