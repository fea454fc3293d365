//! The rows: plain structs, one for each thing that the market's events tell of.
//!
//! Times are Unix seconds, amounts are token units, prices are token units per second × 1e18.

use alloy::primitives::{Address, B256, U256};
pub use contracts::bindings::Status;
use contracts::{ids::AgreementId, units::Amount};

use super::codec::row;

row! {
    /// A bid and the rental it becomes; one id for both.
    AgreementRow v 2 {
        /// Id; class, book, tick and place in the queue are its bits.
        id: AgreementId,
        /// The wallet that pays.
        wallet: Address,
        /// The session key that placed the bid.
        agent: Address,
        /// Where in its life it stands, as of the last event.
        status: Status,
        /// Seconds paid for at most.
        max_duration_s: u32,
        /// From then on the bid can no longer be matched.
        expiry_s: u64,
        /// Market's fee, basis points of the provider's gross pay.
        fee_bps: u16,
        /// Spec template.
        template_id: u16,
        /// Locked when the bid was placed.
        escrow: Amount,
        /// Part of the escrow that came from the key's credit at the market.
        credit_used: Amount,
        /// SHA-256 of the spec, as bid.
        spec_hash: B256,
        /// Content hash of the policy that priced it; zero when a heuristic did.
        policy_hash: B256,
        /// Block of the bid.
        placed_block: u64,
        /// Time of that block.
        placed_time_s: u64,
        /// Set once a provider took it.
        matched: Option<Matched>,
        /// Set once it runs.
        started: Option<Started>,
        /// Set once a result was submitted.
        submitted: Option<Submitted>,
        /// Set once it was disputed.
        dispute: Option<Dispute>,
        /// Set once the escrow was paid out.
        payment: Option<Payment>,
        /// Fee of a provider that declined, taken from its bond.
        decline_fee: Option<Amount>,
        /// Set once terminal.
        ended: Option<Ended>,
    }
}

row! { @part
    /// A provider took the bid.
    Matched {
        /// The offer whose slot it fills.
        offer_id: u64,
        /// The offer's provider.
        provider: Address,
        /// Last moment for the countersigned start.
        start_deadline_s: u64,
        /// Block of the match.
        block: u64,
        /// Time of that block.
        time_s: u64,
    }
}

row! { @part
    /// The rental runs.
    Started {
        /// Start of the metered time.
        time_s: u64,
        /// End of the paid time.
        end_time_s: u64,
        /// The spec as countersigned; whoever signed it vouched that it is the bid's.
        spec_hash: B256,
        /// Digest of the image.
        image_digest: B256,
        /// Block of the start.
        block: u64,
    }
}

row! { @part
    /// A result or a bill was submitted.
    Submitted {
        /// Seconds to bill.
        billable_s: u64,
        /// Hash of the result.
        result_hash: B256,
        /// Root over the receipts.
        receipt_root: B256,
        /// End of the challenge window.
        challenge_end_s: u64,
        /// Whether receipts were given; a cancel stands for them.
        receipts: bool,
        /// Whether the provider gave way.
        preempted: bool,
        /// Whether the wallet cancelled it while it ran: then this is its bill, and there is no result.
        cancelled: bool,
        /// Block of the submission.
        block: u64,
        /// Time of that block.
        time_s: u64,
    }
}

row! { @part
    /// The result is or was disputed.
    Dispute {
        /// Who filed it.
        initiator: Address,
        /// Hash of the reason.
        reason_hash: B256,
        /// Deposit locked with it.
        deposit: Amount,
        /// Part of the deposit that came from the key's credit at the market.
        credit_used: Amount,
        /// Whether the deposit counts against the key's limits; not when the owner disputes.
        counted: bool,
        /// From then on the default ruling applies.
        timeout_s: u64,
        /// Block of the dispute.
        block: u64,
        /// Set once ruled.
        ruling: Option<Ruling>,
    }
}

row! { @part
    /// The ruling on a dispute.
    Ruling {
        /// Gross pay.
        pay: Amount,
        /// Bond taken.
        slash: Amount,
        /// Part of the deposit that was lost.
        deposit_forfeited: Amount,
        /// Whether it was the default after a silent arbiter.
        timed_out: bool,
        /// Block of the ruling.
        block: u64,
    }
}

row! { @part
    /// How the escrow and the bond were shared out.
    Payment {
        /// To the provider, net of the fee.
        pay: Amount,
        /// To the treasury.
        fee: Amount,
        /// Back to the key's credit.
        refund: Amount,
        /// Lost by the wallet for a missing start.
        penalty: Amount,
        /// Bond taken.
        slash: Amount,
        /// Block of the payment.
        block: u64,
    }
}

row! { @part
    /// The end of an agreement.
    Ended {
        /// Block of the last event.
        block: u64,
        /// Time of that block.
        time_s: u64,
    }
}

row! {
    /// One price level of a book.
    #[derive(Default)]
    LevelRow v 1 {
        /// Next sequence to be given.
        tail: u64,
        /// Open bids.
        live: u64,
        /// Sum of their paid-for seconds.
        seconds: u64,
        /// Sum of their escrows.
        escrow: Amount,
    }
}

row! {
    /// One book: its non-empty ticks and their sums.
    #[derive(Default)]
    BookRow v 1 {
        /// Bit n set: tick n has open bids.
        bitmap: U256,
        /// Open bids.
        live: u64,
        /// Sum of their paid-for seconds.
        seconds: u64,
        /// Sum of their escrows.
        escrow: Amount,
    }
}

row! {
    /// A hardware class.
    ClassRow v 1 {
        /// Price of tick 0, per second × 1e18.
        base_price: u128,
        /// Newest match.
        last_clearing: Option<Clearing>,
    }
}

row! {
    /// A match, as a price that somebody paid.
    Clearing v 1 {
        /// The rental.
        id: AgreementId,
        /// Tick.
        tick: u8,
        /// Price per second × 1e18.
        price: u128,
        /// Block of the match.
        block: u64,
        /// Time of that block.
        time_s: u64,
    }
}

row! {
    /// A provider's standing offer.
    OfferRow v 1 {
        /// Id.
        id: u64,
        /// Its provider.
        provider: Address,
        /// Hardware class.
        class: u8,
        /// Bit `bucket × 2 + preemptible` set for every book it serves.
        book_mask: u8,
        /// Rentals it can hold at once.
        slots: u16,
        /// Rentals it holds now.
        used: u16,
        /// Lowest tick it takes.
        reserve_tick: u8,
        /// Bond behind every slot.
        bond_per_slot: Amount,
        /// From then on it takes no bids.
        valid_until_s: u64,
        /// False once closed.
        active: bool,
        /// Block in which it was posted.
        posted_block: u64,
        /// Block of its last change by its provider.
        updated_block: u64,
    }
}

row! {
    /// A provider.
    ProviderRow v 1 {
        /// Whether it may post offers.
        authorized: bool,
        /// Where its keeper serves blobs; empty until published.
        endpoint: String,
        /// Block in which it was first seen.
        since_block: u64,
        /// Rentals that ended with payment.
        settled: u64,
        /// Rentals that failed after their start.
        failed: u64,
        /// Net pay so far.
        earned: Amount,
        /// Bonds lost so far.
        slashed: Amount,
    }
}

row! {
    /// An agent's wallet.
    WalletRow v 1 {
        /// Owner.
        owner: Address,
        /// Offered the ownership, not yet accepted.
        pending_owner: Option<Address>,
        /// Block in which it was created.
        created_block: u64,
        /// Time of that block.
        created_time_s: u64,
        /// No new bids while set.
        paused: bool,
        /// Keys authorised in an earlier epoch are dead.
        epoch: u32,
        /// Most that may be spent plus reserved in any 24 hours.
        daily: Amount,
        /// Most that one bid may reserve.
        per_bid: Amount,
        /// Most that may ever be spent plus reserved.
        lifetime: Amount,
        /// Reserved for live bids, rentals and deposits, and for ended ones that it has not counted yet.
        reserved: Amount,
        /// Spent since creation, as far as it has counted.
        spent: Amount,
        /// Taken out by the owner since creation.
        withdrawn: Amount,
        /// Bids placed since creation.
        bids: u64,
    }
}

row! {
    /// A session key of a wallet.
    KeyRow v 1 {
        /// The key that delegated to it; `None` when the owner authorised it.
        parent: Option<Address>,
        /// From then on it is dead.
        expiry_s: u64,
        /// Most that one bid may reserve.
        per_bid: Amount,
        /// Most that may be spent plus reserved in any 24 hours.
        daily: Amount,
        /// Most that may ever be spent plus reserved.
        lifetime: Amount,
        /// Byte n, least significant first: highest tick for class n.
        max_ticks: U256,
        /// Bit n set: class n allowed.
        class_mask: u32,
        /// Bits: 1 bid, 2 cancel, 4 dispute, 8 delegate.
        permissions: u8,
        /// Whether only listed providers may be countersigned.
        provider_list: bool,
        /// Epoch in which it was authorised; dead when the wallet's is later.
        epoch: u32,
        /// Revoked by itself; see also `epoch`, `expiry_s` and the parent.
        revoked: bool,
        /// Reserved for it and the keys below it; what ended is in it until the wallet counts it.
        reserved: Amount,
        /// Spent by it and the keys below it, as far as the wallet has counted.
        spent: Amount,
        /// Block in which it was last authorised.
        authorized_block: u64,
    }
}

row! {
    /// What the market holds for a session key, from its first bid on.
    KeyAccountRow v 1 {
        /// The wallet that the key belongs to, for good.
        wallet: Address,
        /// Funds the key's next bids; goes to the wallet when somebody collects.
        credit: Amount,
        /// Spent by ended bids, not counted by the wallet yet.
        spent: Amount,
        /// Not spent by ended bids, but held reserved by the wallet until it counts.
        released: Amount,
    }
}

row! {
    /// A wallet counted what ended bids of one of its keys had spent and released.
    SpendRow v 2 {
        /// The key.
        agent: Address,
        /// Spent.
        spent: Amount,
        /// Released.
        released: Amount,
        /// Time of the block.
        time_s: u64,
    }
}

row! {
    /// What a bid's spec may demand at most.
    TemplateRow v 1 {
        /// Bit n set: usable in class n.
        class_mask: u32,
        /// Memory, MiB.
        memory_mib: u32,
        /// Disk, MiB.
        disk_mib: u32,
        /// Processes.
        pids: u32,
        /// Whether the network is reachable.
        network: bool,
        /// The only image allowed; zero for any.
        image_digest: B256,
    }
}

row! {
    /// The market's configuration.
    #[derive(Default)]
    ConfigRow v 1 {
        /// Fee of new bids, basis points.
        fee_bps: u16,
        /// Receives fees and slashes.
        treasury: Address,
        /// Rules on disputes.
        arbiter: Address,
        /// May stop entries.
        pauser: Address,
        /// Whether entries are stopped.
        paused: bool,
    }
}

row! {
    /// What the market holds; the four add up to its token balance.
    #[derive(Default)]
    TotalsRow v 1 {
        /// Escrow of live bids and rentals.
        escrow: Amount,
        /// Bonds of offers, free and held slots.
        bonds: Amount,
        /// Credits of accounts and keys that have not been pulled or used.
        credits: Amount,
        /// Deposits of open disputes.
        deposits: Amount,
        /// Agreements ever placed.
        agreements: u64,
        /// Rentals that ended Settled, Resolved or Preempted.
        settled: u64,
        /// Gross fees so far.
        fees: Amount,
    }
}

row! {
    /// A credit that its owner may pull. Keys have accounts of their own.
    CreditRow v 1 {
        /// Amount, never zero.
        amount: Amount,
    }
}

impl AgreementRow {
    /// Whether it can still change.
    pub fn is_live(&self) -> bool {
        is_live(self.status)
    }

    /// The provider, once matched.
    pub fn provider(&self) -> Option<Address> {
        self.matched.as_ref().map(|matched| matched.provider)
    }
}

/// Whether an agreement in this status can still change.
pub fn is_live(status: Status) -> bool {
    matches!(status, Status::Open | Status::Confirmed | Status::Running | Status::Submitted | Status::Disputed)
}

/// Name of a status as written in the API.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Open => "open",
        Status::Confirmed => "confirmed",
        Status::Running => "running",
        Status::Submitted => "submitted",
        Status::Disputed => "disputed",
        Status::Settled => "settled",
        Status::Resolved => "resolved",
        Status::Preempted => "preempted",
        Status::Expired => "expired",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
        _ => "none",
    }
}

/// The status of an API name.
pub fn status_from_name(name: &str) -> Option<Status> {
    (0..=u8::MAX).map_while(|raw| Status::try_from(raw).ok()).find(|status| status_name(*status) == name)
}

impl BookRow {
    /// Highest tick with open bids.
    pub fn best_tick(&self) -> Option<u8> {
        (!self.bitmap.is_zero()).then(|| (self.bitmap.bit_len() - 1) as u8)
    }
}

impl OfferRow {
    /// Whether it takes bids at `now_s`.
    pub fn is_open_at(&self, now_s: u64) -> bool {
        self.active && now_s < self.valid_until_s
    }
}
