//! What Rust and Solidity must agree on, read from the fixtures that the Foundry tests made and check.

#![allow(clippy::unwrap_used, missing_docs)]

mod differential;
mod digests;
mod prices;

use std::path::PathBuf;

/// A fixture of `test/fixtures`.
fn fixture(name: &str) -> serde_json::Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../test/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}
