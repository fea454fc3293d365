//! Container engines, with real workers: what holds for every engine, what Docker must seal off, what a
//! process keeps; rentals' work over them.
#![allow(clippy::unwrap_used)]

mod both;
mod docker;
mod hostile;
mod measure;
mod process;
mod reap;
mod support;
mod workshop;
