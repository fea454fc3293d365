//! Refusals, one for each custom error of the contracts, with its arguments.

use alloy::primitives::Address;

use super::types::{OfferId, Status};
use crate::ids::{AgreementId, BookId};

/// Why a call is refused; nothing changed then. Names are the contracts' own, those of OpenZeppelin's bases included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the arguments of the errors that the interfaces document")]
pub enum Error {
    // --- IAIPowerRental ---
    #[error("class {class} is unknown")]
    ClassUnknown { class: u8 },
    #[error("class {class} exists")]
    ClassExists { class: u8 },
    #[error("class {class} or its price is invalid")]
    InvalidClass { class: u8 },
    #[error("class {class} has no template {template}")]
    TemplateUnknown { template: u16, class: u8 },
    #[error("template {template} exists")]
    TemplateExists { template: u16 },
    #[error("template {template} is above {max}")]
    InvalidTemplate { template: u16, max: u16 },
    #[error("{max_duration_s} s is no duration of a rental")]
    InvalidDuration { max_duration_s: u32 },
    #[error("the bid ends at {expiry_s}, before {earliest_s}")]
    BidLifetimeTooShort { expiry_s: u64, earliest_s: u64 },
    #[error("the bid ends at {expiry_s}, after {latest_s}")]
    BidLifetimeTooLong { expiry_s: u64, latest_s: u64 },
    #[error("no spec is named")]
    ZeroSpecHash,
    #[error("{caller} is no wallet")]
    NotWallet { caller: Address },
    #[error("{agent} belongs to wallet {wallet}")]
    KeyOfAnotherWallet { agent: Address, wallet: Address },
    #[error("{caller} is not the wallet of {agent}")]
    NotKeyWallet { agent: Address, caller: Address },
    #[error("{caller} is not the consumer of {id}")]
    NotConsumer { id: AgreementId, caller: Address },
    #[error("{caller} is no provider")]
    NotProvider { caller: Address },
    #[error("{caller} does not operate offer {offer}")]
    NotOperator { offer: OfferId, caller: Address },
    #[error("{caller} is not the arbiter")]
    NotArbiter { caller: Address },
    #[error("{caller} may not pause")]
    NotPauser { caller: Address },
    #[error("the bid is not signed by key {agent} of wallet {wallet}")]
    InvalidBidSignature { wallet: Address, agent: Address },
    #[error("{signer} may not countersign the start of {id}")]
    InvalidStartSignature { id: AgreementId, signer: Address },
    #[error("{id} is {status:?}")]
    WrongStatus { id: AgreementId, status: Status },
    #[error("{id} can be cancelled from {cancellable_s}")]
    BidTooYoung { id: AgreementId, cancellable_s: u64 },
    #[error("{id} can be moved from {available_s}")]
    NotYet { id: AgreementId, available_s: u64 },
    #[error("{id} had time until {deadline_s}")]
    TooLate { id: AgreementId, deadline_s: u64 },
    #[error("there is no offer {offer}")]
    OfferUnknown { offer: OfferId },
    #[error("offer {offer} has ended")]
    OfferInactive { offer: OfferId },
    #[error("offer {offer} is full")]
    OfferFull { offer: OfferId },
    #[error("offer {offer} does not serve book {book}")]
    BookNotServed { offer: OfferId, book: BookId },
    #[error("the offer is empty or over")]
    InvalidOffer,
    #[error("bond {bond_per_slot} is below {minimum}")]
    BondTooSmall { bond_per_slot: u128, minimum: u128 },
    #[error("{id} claims {claimed_s} s of {elapsed_s} s")]
    ClaimTooLong { id: AgreementId, claimed_s: u64, elapsed_s: u64 },
    #[error("{id} does not give way")]
    NotPreemptible { id: AgreementId },
    #[error("a ruling of {pay} and {slash} is out of range")]
    RulingOutOfRange { pay: u128, slash: u128 },
    #[error("a fee of {fee_bps} is above {max}")]
    FeeTooHigh { fee_bps: u16, max: u16 },
    #[error("an address is zero")]
    ZeroAddress,
    #[error("{account} has no credit")]
    NothingToWithdraw { account: Address },
    #[error("an endpoint of {length} bytes is longer than {max}")]
    EndpointTooLong { length: usize, max: usize },
    // --- IAgentWallet ---
    #[error("{caller} is not the owner")]
    NotOwner { caller: Address },
    #[error("{caller} is no key that may do this")]
    NotAgent { caller: Address },
    #[error("key {agent} expired at {expiry_s}")]
    AgentExpired { agent: Address, expiry_s: u64 },
    #[error("key {agent} is unknown or revoked")]
    AgentUnknown { agent: Address },
    #[error("key {agent} has another parent")]
    AgentExists { agent: Address },
    #[error("key {agent} lacks permission {permission}")]
    PermissionMissing { agent: Address, permission: u8 },
    #[error("the wallet is paused")]
    WalletPaused,
    #[error("key {agent} may not bid for class {class}")]
    ClassForbidden { agent: Address, class: u8 },
    #[error("tick {tick} is above {max_tick} of key {agent}")]
    TickAboveCap { agent: Address, tick: u8, max_tick: u8 },
    #[error("{amount} is above the limit for one bid of {spender}, {limit}")]
    PerBidLimitExceeded { spender: Address, amount: u128, limit: u128 },
    #[error("{wanted} is above the daily limit of {spender}, {limit}")]
    DailyLimitExceeded { spender: Address, wanted: u128, limit: u128 },
    #[error("{wanted} is above the lifetime limit of {spender}, {limit}")]
    LifetimeLimitExceeded { spender: Address, wanted: u128, limit: u128 },
    #[error("{caller} may not act for the key of {id}")]
    NotBidAgent { id: AgreementId, caller: Address },
    #[error("{id} is no bid of this wallet")]
    BidUnknown { id: AgreementId },
    #[error("{parent} is too deep to delegate")]
    DelegationTooDeep { parent: Address },
    #[error("the policy exceeds that of {parent}")]
    DelegationExceedsParent { parent: Address },
    #[error("limit {limit} is above {max}")]
    LimitTooLarge { limit: u128, max: u128 },
    #[error("the policy is invalid")]
    InvalidPolicy,
    #[error("a wallet needs an owner")]
    ZeroOwner,
    // --- OpenZeppelin ---
    #[error("the market is paused")]
    EnforcedPause,
    #[error("the market is not paused")]
    ExpectedPause,
    #[error("{caller} is not the admin")]
    OwnableUnauthorizedAccount { caller: Address },
    /// The contract's nonce is `agent << 96 | nonce`.
    #[error("the next nonce of key {agent} of wallet {wallet} is {nonce}")]
    InvalidAccountNonce { wallet: Address, agent: Address, nonce: u64 },
    #[error("{sender} has {balance} of {needed}")]
    ERC20InsufficientBalance { sender: Address, balance: u128, needed: u128 },
    #[error("{spender} may take {allowance} of {needed}")]
    ERC20InsufficientAllowance { spender: Address, allowance: u128, needed: u128 },
    #[error("tokens cannot go to {receiver}")]
    ERC20InvalidReceiver { receiver: Address },
    /// `SafeCastOverflowedUintDowncast`: the dearest price of a class does not fit 128 bits.
    #[error("the price of tick 255 is above 2^128")]
    PriceTooLarge,
}
