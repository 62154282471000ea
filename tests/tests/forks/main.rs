//! Sets that are forked from sets on real sandboxes: parents to which something happens, crowds and long lines. After
//! each nothing is left.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod family;
mod fates;
mod many;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Longer than anything that is not a hang.
const HANG: Duration = Duration::from_secs(60);

/// A census of this process means something only while one test works in it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
