//! Bytecode for deploying and for tests, from `artifacts/bytecode.json`, which the developer tool in that folder
//! compiles; building this crate needs no Solidity compiler.

use std::{collections::BTreeMap, sync::LazyLock};

use alloy::primitives::Bytes;
use serde::Deserialize;

/// No bytecode of that name.
#[derive(Debug, thiserror::Error)]
#[error("no bytecode of {0}; run `cargo run --release -p artifacts` to compile the contracts")]
pub struct ArtifactError(String);

#[derive(Deserialize)]
struct Bytecode {
    creation: Bytes,
    runtime: Bytes,
}

static ALL: LazyLock<BTreeMap<String, Bytecode>> = LazyLock::new(|| {
    // An unreadable file holds no contracts; each look-up then names the remedy.
    serde_json::from_str(include_str!("../artifacts/bytecode.json")).unwrap_or_default()
});

/// Creation code of a contract, without constructor arguments.
///
/// # Errors
/// [`ArtifactError`] for a name that was not compiled.
pub fn creation_code(name: &str) -> Result<Bytes, ArtifactError> {
    ALL.get(name).map(|code| code.creation.clone()).ok_or_else(|| ArtifactError(name.into()))
}

/// Code of a contract as deployed, immutables zero.
///
/// # Errors
/// [`ArtifactError`] for a name that was not compiled.
pub fn runtime_code(name: &str) -> Result<Bytes, ArtifactError> {
    ALL.get(name).map(|code| code.runtime.clone()).ok_or_else(|| ArtifactError(name.into()))
}
