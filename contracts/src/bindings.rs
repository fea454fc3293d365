//! ABI bindings: one `sol!` expansion over the interfaces, made by `build.rs`.
#![allow(missing_docs, clippy::too_many_arguments, clippy::pub_underscore_fields, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
