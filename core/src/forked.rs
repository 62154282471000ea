//! Refusing to work in a forked child of the process that owns the sandboxes.

use std::sync::OnceLock;

use crate::{Error, ErrorCode, Phase, Result};

static GUARD: OnceLock<forkguard::Guard> = OnceLock::new();

/// Starts watching for forks. Called when a set or backend is made, so that a library merely loaded costs nothing.
pub(crate) fn watch() {
    GUARD.get_or_init(forkguard::new);
}

/// Whether this process was forked after `watch` was first called. Costs two loads.
#[inline]
pub fn in_forked_child() -> bool {
    GUARD.get().is_some_and(|guard| guard.clone().detected_fork())
}

/// `FORKED_PROCESS` in a forked child. The parent's threads, locks and sandboxes are not ours to use there.
pub(crate) fn refuse_in_child(phase: Phase) -> Result<()> {
    if in_forked_child() {
        return Err(Error::new(
            ErrorCode::ForkedProcess,
            phase,
            "this process was forked from the one that owns the sandbox set; start processes with spawn, or make the set after forking",
        ));
    }
    Ok(())
}
