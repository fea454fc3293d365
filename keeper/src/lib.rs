//! The keeper: rents for agents, sells for node operators.
pub mod act;
pub mod blobs;
pub mod spec;
