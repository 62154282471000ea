//! Real sandboxes on this host. Where the host cannot have any, every test says so loudly and counts as skipped.

#![cfg(feature = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod ahead;
mod asynchronous;
mod exec;
mod files;
mod fork;
mod fork_deaths;
mod fork_leaks;
mod fork_support;
#[cfg(feature = "oci")]
#[allow(dead_code, reason = "the unit tests of the crate use the rest")]
mod image;
mod late;
mod layers;
mod lifecycle;
mod nobody;
#[cfg(feature = "oci")]
mod oci;
mod process;
mod python;
mod reset;
mod runtime;
mod share;
mod shells;
mod support;
mod targets;
mod trees;
mod waiting;
