//! The data plane: content-addressed blobs between keepers. The chain carries the hashes, this carries the bytes.
//!
//! - [`store`]: a provider's blobs on disk, by SHA-256, with what each rental refers to.
//! - [`server`]: what a provider serves to the agents of its own rentals.
//! - [`client`]: what an agent pushes and pulls.
//! - [`auth`]: signed, short-lived requests.
//! - [`bucket`]: the way of those who cannot open a port.
//! - [`guard`]: which endpoints of strangers an agent will talk to.
//!
//! Only providers listen. Every transfer can be cut off and resumed, every byte is hashed on its way, and every count
//! and size is capped. TLS keeps the bytes from being read on the way; that they are right does not rest on it, but on hashes and
//! signatures.

pub mod auth;
pub mod bucket;
pub mod client;
pub mod guard;
mod roots;
pub mod server;
pub mod store;

pub use self::{
    client::{Client, ClientAuth, ClientError, Nodes, PushReport, Sought},
    guard::Reach,
    roots::{CaError, Roots},
    server::{
        Access, BlobEvent, RentalAccess, RentalView, Seen, ServerConfig, ServerLimits, ServerState, Tls, TlsError,
        router, serve,
    },
    store::{
        MissingInput, PushedSpec, RentalFiles, ResultDocument, Store, StoreError, StoreLimits, TaskDocument, Upload,
    },
};
