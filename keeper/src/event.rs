//! What the keeper's loop takes in and gives out: a closed set of events and of intents.

use alloy::primitives::{Address, B256, Bytes};
use contracts::{ids::AgreementId, units::Amount};
use serde::{Deserialize, Serialize};

use crate::{act::errands::Brought, benchmark::Scored, blobs::BlobEvent, job::JobId, socket::Call};

/// Everything that can wake the loop.
#[derive(Debug)]
pub enum Event {
    /// The index reached another block, or time passed: look at the market again.
    Look,
    /// Something arrived over the data plane.
    Blob(BlobEvent),
    /// An intent ended, for now.
    Acted(Outcome),
    /// A provider was asked how fast it is.
    Scored {
        /// Whom.
        provider: Address,
        /// What it said, not yet checked, or why nothing.
        said: Result<Scored, String>,
    },
    /// A client of the socket wants something.
    Call(Call),
    /// A hand cannot go on without risking money; the keeper ends.
    Fault(String),
}

/// Everything the keeper may do to the world. Written to the journal under [`Intent::key`] before anything acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Intent {
    /// Publish where blobs are served.
    RegisterProvider {
        /// URL.
        endpoint: String,
    },
    /// Let the market pull bonds.
    ApproveBond {
        /// Allowance.
        amount: Amount,
    },
    /// List slots.
    PostOffer {
        /// Hardware class.
        class: u8,
        /// Books served.
        book_mask: u8,
        /// Rentals at once.
        slots: u16,
        /// Lowest tick.
        reserve_tick: u8,
        /// Bond of each slot.
        bond_per_slot: Amount,
        /// Unix seconds.
        valid_until: u64,
    },
    /// Take the best bid.
    Match {
        /// Offer with a free slot.
        offer: u64,
        /// Queue.
        book: u16,
        /// Lowest tick taken.
        min_tick: u8,
        /// Bid seen at the head.
        expected: AgreementId,
    },
    /// Start a confirmed rental with the agent's countersignature.
    Start {
        /// The rental.
        rental: AgreementId,
        /// The bid's spec, which the countersignature must cover.
        spec_hash: B256,
        /// Worker image.
        image: B256,
        /// 65 bytes.
        countersignature: Bytes,
    },
    /// Refuse a confirmed rental.
    Decline {
        /// The rental.
        rental: AgreementId,
    },
    /// Give way on a running pre-emptible rental: what it ran so far is billed.
    Preempt {
        /// The rental.
        rental: AgreementId,
    },
    /// Run the rental's worker to its end and keep the result.
    Work {
        /// The rental.
        rental: AgreementId,
    },
    /// Put the result on chain.
    Submit {
        /// The rental.
        rental: AgreementId,
        /// Seconds to bill.
        seconds: u64,
        /// See [`crate::spec::result_hash`].
        result_hash: B256,
        /// Hash of the receipt.
        receipt_root: B256,
    },
    /// Move an agreement past its deadline on.
    Advance {
        /// The agreement.
        rental: AgreementId,
    },
    /// Pull the provider's earnings.
    Withdraw {
        /// Receiver.
        to: Address,
    },
    /// Bid for a job.
    Bid {
        /// The job.
        job: JobId,
        /// How many bids the job has placed before.
        attempt: u32,
        /// Hardware class.
        class: u8,
        /// Price.
        tick: u8,
        /// Seconds.
        max_duration_s: u32,
        /// Unix seconds.
        expiry: u64,
        /// Spec.
        spec_hash: B256,
    },
    /// Push spec and inputs to the provider, then countersign the start.
    Deliver {
        /// The rental.
        rental: AgreementId,
        /// Its job.
        job: JobId,
    },
    /// Bring the result and check it.
    Fetch {
        /// The rental.
        rental: AgreementId,
        /// Its job.
        job: JobId,
    },
    /// Hand a job's tasks to a rental of the agent that runs, and bring their results as soon as they are done.
    Attend {
        /// The rental.
        rental: AgreementId,
        /// The job.
        job: JobId,
    },
    /// Dispute a result that does not hold.
    Dispute {
        /// The rental.
        rental: AgreementId,
        /// Hash of the reason.
        reason_hash: B256,
    },
    /// Cancel a bid or rental of a job that was called off.
    Cancel {
        /// The bid or rental.
        rental: AgreementId,
        /// Its job.
        job: JobId,
    },
    /// Change an offer's lowest price and validity.
    UpdateOffer {
        /// The offer.
        offer: u64,
        /// Lowest tick.
        reserve_tick: u8,
        /// Unix seconds.
        valid_until: u64,
    },
    /// End an offer.
    CloseOffer {
        /// The offer.
        offer: u64,
    },
}

impl Intent {
    /// Idempotency key: at most one intent of a key is under way at a time.
    pub fn key(&self) -> String {
        match self {
            Self::RegisterProvider { .. } => "provider/register".into(),
            Self::ApproveBond { .. } => "provider/approve".into(),
            Self::PostOffer { .. } => "provider/offer".into(),
            Self::Match { offer, expected, .. } => format!("match/{offer}/{expected}"),
            Self::Start { rental, .. } => format!("start/{rental}"),
            Self::Decline { rental } => format!("decline/{rental}"),
            Self::Preempt { rental } => format!("preempt/{rental}"),
            Self::Work { rental } => format!("work/{rental}"),
            Self::Submit { rental, .. } => format!("submit/{rental}"),
            Self::Advance { rental } => format!("advance/{rental}"),
            Self::Withdraw { .. } => "provider/withdraw".into(),
            Self::Bid { job, attempt, .. } => format!("bid/{job}/{attempt}"),
            Self::Deliver { rental, .. } => format!("deliver/{rental}"),
            Self::Fetch { rental, .. } => format!("fetch/{rental}"),
            Self::Attend { rental, job } => format!("attend/{rental}/{job}"),
            Self::Dispute { rental, .. } => format!("dispute/{rental}"),
            Self::Cancel { rental, .. } => format!("cancel/{rental}"),
            Self::UpdateOffer { offer, .. } => format!("offer/update/{offer}"),
            Self::CloseOffer { offer } => format!("offer/close/{offer}"),
        }
    }

    /// Whether it is a transaction; the others act off the chain.
    pub fn on_chain(&self) -> bool {
        !matches!(self, Self::Work { .. } | Self::Deliver { .. } | Self::Fetch { .. } | Self::Attend { .. })
    }

    /// The rental or bid it is about, if any.
    pub fn rental(&self) -> Option<AgreementId> {
        match self {
            Self::Match { expected: rental, .. }
            | Self::Start { rental, .. }
            | Self::Decline { rental }
            | Self::Preempt { rental }
            | Self::Work { rental }
            | Self::Submit { rental, .. }
            | Self::Advance { rental }
            | Self::Deliver { rental, .. }
            | Self::Fetch { rental, .. }
            | Self::Attend { rental, .. }
            | Self::Dispute { rental, .. }
            | Self::Cancel { rental, .. } => Some(*rental),
            _ => None,
        }
    }
}

/// How an intent ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The intent's key.
    pub key: String,
    /// What came of it.
    pub result: Result<Done, String>,
}

/// What an intent achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A transaction was mined with success.
    Mined {
        /// In this block.
        block: u64,
    },
    /// A reorganisation took the transaction back; it is sent again.
    TakenBack,
    /// A worker ran to its end; its result is in the journal.
    Worked,
    /// Work was handed over.
    Delivered,
    /// A result is here and holds.
    Fetched {
        /// The job it is for.
        job: JobId,
        /// The rental that made it.
        rental: AgreementId,
        /// What it is.
        brought: Brought,
    },
}
