//! What the model is made of. Amounts are token units (below 2^96), times Unix seconds, durations seconds.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

use super::ledger::Ledger;

/// An offer's number; the first is 1, zero stands for "none".
pub type OfferId = u64;

/// Life of a bid and of the rental it becomes; numbered as in `Types.sol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No such agreement.
    #[default]
    None,
    /// In its queue.
    Open,
    /// Matched, not started.
    Confirmed,
    /// Started.
    Running,
    /// Result submitted, may be challenged.
    Submitted,
    /// Challenged, waits for the arbiter.
    Disputed,
    /// Ended: paid as claimed.
    Settled,
    /// Ended: by a ruling or its default.
    Resolved,
    /// Ended: gave way, paid in whole checkpoints.
    Preempted,
    /// Ended: the bid expired, or nobody started the rental.
    Expired,
    /// Ended: no result came.
    Failed,
    /// Ended: by the consumer, or declined; paid for what ran.
    Cancelled,
}

impl Status {
    /// Whether nothing can change any more.
    pub fn is_terminal(self) -> bool {
        self > Self::Disputed
    }
}

/// What a session key bids (`BidTerms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Hardware class, 1..=31.
    pub class: u8,
    /// Whether the rental gives way.
    pub preemptible: bool,
    /// Price tick.
    pub tick: u8,
    /// Seconds paid for at most; below 2^24.
    pub max_duration_s: u32,
    /// Second from which it can no longer be matched; below 2^40.
    pub expiry_s: u64,
    /// Registered spec template.
    pub template: u16,
    /// Only whether it is zero matters.
    pub spec_hash: B256,
}

/// A bid or rental.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Key that placed it.
    pub agent: Address,
    /// Seconds escrowed.
    pub max_duration_s: u32,
    /// When it was placed.
    pub placed_s: u64,
    /// End of the bid, exclusive.
    pub expiry_s: u64,
    /// Fee as of its placing, 1/10,000 of the gross pay.
    pub fee_bps: u16,
    /// Where it is.
    pub status: Status,
    /// Zero until it is matched.
    pub offer: OfferId,
    /// Confirmed: 0. Running: start time. Submitted and later: seconds to bill.
    pub start_or_billable_s: u64,
    /// Second from which anyone may move it on; zero until it is matched.
    pub deadline_s: u64,
    /// Taken from escrow when it ended.
    pub paid: u128,
    /// Whether the result came with receipts.
    pub has_receipts: bool,
    /// Whether it gave way.
    pub preempted: bool,
    /// Whether the consumer cancelled it while it ran.
    pub cancelled: bool,
    /// Whether a dispute's deposit counts against the key's limits.
    pub deposit_counted: bool,
}

/// A provider's standing offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who earns.
    pub provider: Address,
    /// Hardware class.
    pub class: u8,
    /// Bit `BookId::bits` set for every book served.
    pub book_mask: u8,
    /// Lowest tick taken.
    pub reserve_tick: u8,
    /// Rentals it can hold.
    pub slots: u16,
    /// Rentals it holds.
    pub used: u16,
    /// Second from which it matches no more; zero when closed.
    pub valid_until_s: u64,
    /// Bond behind each slot.
    pub bond_per_slot: u128,
}

/// What the market holds for a session key (`KeyAccount`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyAccount {
    /// Wallet it belongs to; zero before its first bid.
    pub wallet: Address,
    /// Funds the key's next bids.
    pub credit: u128,
    /// Spent by ended bids, not yet counted by the wallet.
    pub spent: u128,
    /// Not spent by ended bids, still reserved in the wallet.
    pub released: u128,
}

/// Limits of a whole wallet; rounded down to whole units of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Spent plus reserved in any 24 hours.
    pub daily: u128,
    /// For one bid.
    pub per_bid: u128,
    /// For ever.
    pub lifetime: u128,
}

/// What a session key may do (`KeyPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Second from which the key is dead.
    pub expiry_s: u64,
    /// Bits: [`permission`].
    pub permissions: u8,
    /// Bit n: class n allowed.
    pub class_mask: u32,
    /// Whether only listed providers may be countersigned.
    pub provider_list: bool,
    /// The key's own limits.
    pub limits: Limits,
    /// Highest tick by class, at least 1 for each class of the mask.
    pub max_ticks: [u8; 32],
}

/// Bits of [`Policy::permissions`].
pub mod permission {
    /// Bid and countersign.
    pub const BID: u8 = 1;
    /// Cancel.
    pub const CANCEL: u8 = 2;
    /// Dispute.
    pub const DISPUTE: u8 = 4;
    /// Delegate.
    pub const DELEGATE: u8 = 8;
    /// All of them.
    pub const ALL: u8 = 15;
}

/// A session key as its wallet keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Who delegated it; none for the owner's keys.
    pub parent: Option<Address>,
    /// 0 for the owner's keys, at most 3.
    pub depth: u8,
    /// Second from which it is dead.
    pub expiry_s: u64,
    /// Bits: [`permission`].
    pub permissions: u8,
    /// Not revoked by name.
    pub active: bool,
    /// Only listed providers.
    pub provider_list: bool,
    /// The wallet's epoch when it was authorised.
    pub epoch: u16,
    /// Limit for one bid, in units of a limit.
    pub per_bid_units: u32,
    /// Highest tick by class; zero forbids the class.
    pub max_ticks: [u8; 32],
    /// What it spent and holds reserved.
    pub ledger: Ledger,
}

/// A wallet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wallet {
    /// Its owner.
    pub owner: Address,
    /// Whom ownership was offered; zero for nobody.
    pub pending_owner: Address,
    /// Keys of other epochs are dead.
    pub epoch: u16,
    /// No new bids, starts and disputes by keys.
    pub paused: bool,
    /// Limit for one bid, in units of a limit.
    pub per_bid_units: u32,
    /// Wallet-wide ledger.
    pub ledger: Ledger,
    /// Its keys.
    pub keys: BTreeMap<Address, Key>,
    /// Providers on the allow-list.
    pub allowed: BTreeSet<Address>,
}
