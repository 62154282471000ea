//! What hostile programs try from inside real sandboxes, each with a negative control where one is possible: the
//! same attempt by the same program outside of a sandbox succeeds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod planted;
mod probes;
mod resources;
mod support;
