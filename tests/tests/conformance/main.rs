//! The conformance suite: the same cases in every language. `tests/conformance/README.md` says how.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod bad_input;
mod c_agent;
mod cases;
mod host;
mod lies;
mod matrix;
mod parity;
mod pattern;
mod run;
mod schema;
mod sources;
