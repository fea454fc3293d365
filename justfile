# Everything before a commit.
check: fmt lint test

# Formats Rust and Solidity.
fmt:
    cargo fmt --all
    script/forge fmt

# Lints Rust and Solidity, checks licences and advisories.
lint:
    cargo clippy --release --workspace --all-targets -- -D warnings
    script/forge lint
    cargo deny check

# Every test.
test:
    script/test

# Compiles the contracts and writes their bytecode for Rust.
artifacts:
    cargo run --release -p artifacts
