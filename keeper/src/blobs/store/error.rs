//! What goes wrong with blobs, and what to do about it.

use std::{io, path::PathBuf};

use alloy::primitives::B256;
use contracts::ids::AgreementId;

use crate::spec::SpecError;

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The spec is not what the chain says, or not a spec.
    #[error("rental {rental}: {source}")]
    Spec {
        /// The rental.
        rental: AgreementId,
        /// What is wrong with it.
        #[source]
        source: SpecError,
    },
    /// Bytes are not what their name says.
    #[error("the bytes hash to {found}, not to {expected}; send the right file again from its beginning")]
    WrongHash {
        /// What was promised.
        expected: B256,
        /// What came.
        found: B256,
    },
    /// More came than was promised.
    #[error("more than the {bytes} bytes promised for {hash} were sent; send exactly the file the spec names")]
    TooLong {
        /// The blob.
        hash: B256,
        /// Its size.
        bytes: u64,
    },
    /// The upload ended early.
    #[error("{received} of {bytes} bytes of {hash} have arrived; continue from there")]
    TooShort {
        /// The blob.
        hash: B256,
        /// What is there.
        received: u64,
        /// Its size.
        bytes: u64,
    },
    /// The upload does not go on where the last one ended.
    #[error("{received} bytes of {hash} have arrived, so the upload must continue at {received}, not at {offset}")]
    Offset {
        /// The blob.
        hash: B256,
        /// What is there.
        received: u64,
        /// Where the client wanted to go on.
        offset: u64,
    },
    /// A rental takes no more tasks.
    #[error("rental {rental} takes no more tasks: {why}; rent for them")]
    Sealed {
        /// The rental.
        rental: AgreementId,
        /// Why.
        why: &'static str,
    },
    /// The spec of the rental names no such blob.
    #[error("rental {rental} refers to no blob {hash}; push its spec first, and only the inputs that it names")]
    NotReferenced {
        /// The rental.
        rental: AgreementId,
        /// The blob.
        hash: B256,
    },
    /// The same blob is being uploaded by another request.
    #[error("{hash} is being uploaded by another request; wait for that one")]
    Busy {
        /// The blob.
        hash: B256,
    },
    /// One rental must not take all the uploads of a provider.
    #[error("rental {rental} has {limit} uploads under way; send the next one when one of them has ended")]
    TooMany {
        /// The rental.
        rental: AgreementId,
        /// How many there may be.
        limit: usize,
    },
    /// A receipt at a position that is not the next.
    #[error("rental {rental}: the next receipt is at {next}, not at {sequence}; sign it anew for that position")]
    Sequence {
        /// The rental.
        rental: AgreementId,
        /// Where it belongs.
        next: u64,
        /// Where it says it is.
        sequence: u64,
    },
    /// Over a bound.
    #[error("{0}")]
    Full(String),
    /// The outputs to publish do not agree with their manifest.
    #[error("rental {rental}: outputs cannot be published: {what}")]
    Outputs {
        /// The rental.
        rental: AgreementId,
        /// What is wrong.
        what: String,
    },
    /// A file of the store.
    #[error("blob store, {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
