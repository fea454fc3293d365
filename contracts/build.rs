//! Joins the Solidity interfaces into one `sol!` expansion.
//!
//! `sol!` ignores imports, so a file that imports types cannot be expanded alone: the import, pragma and licence lines
//! are dropped and the files are joined, types first.

use std::{env, fs, io, path::Path};

const SOURCES: [&str; 5] = [
    "interfaces/Types.sol",
    "interfaces/IAgentWallet.sol",
    "interfaces/IAgentWalletFactory.sol",
    "interfaces/IAIPowerRental.sol",
    "src/external.sol",
];

fn main() -> io::Result<()> {
    let mut joined = String::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        strip(&fs::read_to_string(source)?, &mut joined);
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let expansion = format!(
        "alloy::sol! {{\n#![sol(rpc, all_derives, extra_derives(serde::Serialize, serde::Deserialize))]\n{joined}\n}}\n"
    );
    fs::write(Path::new(&out).join("bindings.rs"), expansion)
}

/// Appends `source` without licence, pragma and (possibly multi-line) import statements.
fn strip(source: &str, joined: &mut String) {
    let mut in_import = false;
    for line in source.lines() {
        let trimmed = line.trim_start();
        if in_import || trimmed.starts_with("import ") {
            in_import = !trimmed.ends_with(';');
            continue;
        }
        if trimmed.starts_with("pragma ") || trimmed.starts_with("// SPDX") {
            continue;
        }
        joined.push_str(line);
        joined.push('\n');
    }
}
