//! Bytecode for deploying and for tests. Written by `cargo run --release -p artifacts`; do not edit by hand.
