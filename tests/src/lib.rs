//! What the suites of this package share: the census, which finds whatever a sandbox set left behind, a host
//! process to be killed, and small helpers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

pub mod attacks;
pub mod census;
pub mod chaos;
pub mod evil;
pub mod frozen;
pub mod kernel;
pub mod lacks;
pub mod machine;
pub mod strace;
pub mod worlds;
