//! The market's rules in Rust, without a chain: an oracle for tests and the world of simulations.
//!
//! - [`Market`]: the whole of it; `demand`, `supply` and `settle` hold its calls as the contracts do.
//! - [`Book`] and [`Level`]: one queue of bids.
//! - [`Wallet`], [`Key`], [`Ledger`], [`Window`]: keys and the limit law.
//! - [`Error`]: one refusal for each error of the contracts, with its arguments.
//!
//! Amounts are token units, times Unix seconds (`_s`), ticks and classes as in [`crate::ids`]. The clock is passed in and
//! never runs backwards. A refused call changes nothing. Signatures are replaced by who signed.
//!
//! Deliberately absent: events, gas, signatures' bytes, and what only the token could do wrong.

mod demand;
mod error;
mod ledger;
mod market;
mod queue;
mod settle;
mod supply;
#[cfg(test)]
mod tests;
mod token;
mod types;
mod wallet;

pub use error::Error;
pub use ledger::{Ledger, Window};
pub use market::{BURNED, Config, MAX_BID_LIFETIME_S, MAX_ENDPOINT_LENGTH, MAX_FEE_BPS, MAX_TEMPLATE, Market};
pub use queue::{Book, Level};
pub use settle::BURN_BPS;
pub use supply::{MAX_DEAD, OfferTerms, StartItem, SubmitItem};
pub use token::Token;
pub use types::{Agreement, Key, KeyAccount, Limits, Offer, OfferId, Policy, Status, Terms, Wallet, permission};
