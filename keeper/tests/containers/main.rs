//! Container engines, with real workers: what holds for every engine, what Docker must seal off, what a process keeps.
#![allow(clippy::unwrap_used)]

mod both;
mod docker;
mod process;
mod support;
