//! The built binary on real files: what a keeper puts under `/in`, and what it finds under `/out` afterwards.

#![allow(clippy::unwrap_used)]

mod bench;
mod data;
mod faults;
mod model;
mod model_faults;
mod picture;
mod plain;
mod text;
