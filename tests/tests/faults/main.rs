//! What the fault table asks for: calls that fail, resources that run out, processes that die or cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod calls;
mod cgroup;
mod exhaustion;
mod hosts;
mod matrix;
mod processes;
mod table;
mod unkillable;

use std::io::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Longer than anything that is not a hang.
const HANG: Duration = Duration::from_secs(60);

/// A census of this process means something only while one test works in it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Says that this test was skipped, past the harness, which swallows what a passing test prints.
fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}
