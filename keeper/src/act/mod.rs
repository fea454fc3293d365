//! The keeper's hands: what it does to the world, and nothing that decides.

pub mod calls;
pub mod containers;
pub mod errands;
pub mod relay;
