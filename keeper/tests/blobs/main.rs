//! The data plane over real sockets and real files: honest transfers, cut-off ones, and everything a stranger may try.
#![allow(clippy::unwrap_used)]

mod attacks;
mod bucket;
mod client;
mod courier;
mod fleet;
mod lines;
mod score;
mod server;
mod store;
mod support;
mod tls;
