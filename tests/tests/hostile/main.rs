//! What hostile programs leave for the host to stumble over, and what they use up beside a neighbour. Attempts to
//! get out are in `probes`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod evil_init;
mod handover;
mod kernel_log;
mod neighbours;
mod objects;
mod planted;
mod resources;
mod support;
