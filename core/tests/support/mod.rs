//! What all tests of the set share.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::mock::MockBackend;
use sandboxset::{Acquire, Config, FirstLook, GetOptions, SandboxRef, SandboxSet, SandboxSpec, Stats};

/// Longer than anything that is not a hang.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) fn set(config: Config) -> (SandboxSet, MockBackend) {
    let mock = MockBackend::new();
    (SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap(), mock)
}

pub(crate) fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

/// A sandbox that is idle, if there is one.
pub(crate) fn idle(set: &SandboxSet, acquire: Acquire) -> Option<SandboxRef> {
    match set.begin_get(GetOptions { acquire, ..GetOptions::default() }).unwrap() {
        FirstLook::Found(sandbox) => Some(sandbox),
        FirstLook::NotYet(_) => None,
    }
}

/// One try without waiting.
pub(crate) fn now() -> GetOptions {
    GetOptions { timeout: Some(Duration::ZERO), ..GetOptions::default() }
}

pub(crate) fn within(timeout: Duration) -> GetOptions {
    GetOptions { timeout: Some(timeout), ..GetOptions::default() }
}

/// Waits, by yielding, for what another thread is about to do. Fails only on a hang.
pub(crate) fn until(set: &SandboxSet, what: &str, wanted: impl Fn(&Stats) -> bool) {
    let start = std::time::Instant::now();
    loop {
        let stats = set.stats();
        check(&stats);
        if wanted(&stats) {
            return;
        }
        assert!(start.elapsed() < HANG, "never {what}: {stats:?}");
        std::thread::yield_now();
    }
}

/// The conservation law.
pub(crate) fn check(stats: &Stats) {
    let existing =
        stats.idle + stats.held + stats.resuming + stats.returning + stats.destroying + stats.quarantined;
    assert_eq!(stats.created, existing as u64 + stats.destroyed, "{stats:?}");
}
