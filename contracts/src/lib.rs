//! What Rust knows of the chain.
//!
//! - [`bindings`]: ABI of the market, the wallets, the forwarder and the token, from `interfaces/*.sol`.
//! - [`ids`]: the bits of an agreement id and of a book.
//! - [`book`]: the rules of books, rentals and wallets, as a model without a chain.
//! - [`price`]: ticks, prices and escrow, equal to `libraries/Price.sol` to the last unit.
//! - [`units`]: amounts of AIT as people write them.
//! - [`classes`]: hardware classes and their reference prices and speeds.
//! - [`typed_data`]: EIP-712 digests of bids, starts and forward requests.
//! - [`params`]: the presets (clocks, fee, confirmations) in one table.
//! - [`artifacts`]: bytecode, compiled by the developer tool in `contracts/artifacts`.
//! - [`errors`]: decodes revert data into a named, readable error.
//! - [`deploy`]: deploys a market through a provider that the caller brings.
//!
//! Deliberately absent: I/O of its own. Nothing here opens a socket or a file.

pub mod artifacts;
pub mod bindings;
pub mod book;
pub mod classes;
pub mod deploy;
pub mod errors;
pub mod ids;
pub mod params;
pub mod price;
pub mod typed_data;
pub mod units;
