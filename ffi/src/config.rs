//! `sandboxset_config`.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use ::sandboxset::{Clock, Config, Result, Reuse, ScratchDirs};

use crate::boundary::Caller;
use crate::clock::sandboxset_clock;
use crate::options::{self, Plain};
use crate::set::sandboxset;
use crate::text::{check_reserved, to_usize, unknown};

/// What a put does before the sandbox becomes idle: nothing, the next holder finds what the last one left.
pub const SANDBOXSET_REUSE_KEEP: u32 = 0;
/// What a put does before the sandbox becomes idle: it is emptied in the background, and verified from outside to be
/// as it was when fresh; any doubt destroys it. Not for sandboxes with a runtime.
pub const SANDBOXSET_REUSE_RESET: u32 = 1;
/// What a put does before the sandbox becomes idle: it is destroyed, and another takes its place; with min_idle, one
/// that was made ahead in the background.
pub const SANDBOXSET_REUSE_REPLACE: u32 = 2;

/// How a set behaves. Initialise it with sandboxset_config_init. What it points to is copied by sandboxset_new.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_config {
    /// sizeof(sandboxset_config).
    pub struct_size: usize,
    /// Sandboxes at most, in whatever state; default 8.
    pub max_size: u64,
    /// Idle sandboxes that are kept ready; default 0, so that an unused set costs nothing.
    pub min_idle: u64,
    /// Callers that may wait at once; default 1024. One more is SANDBOXSET_OVERLOADED.
    pub max_waiters: u64,
    /// Milliseconds that a get waits unless told otherwise; default 30000.
    pub get_timeout_ms: u64,
    /// Milliseconds that one create may take; default 60000.
    pub create_timeout_ms: u64,
    /// SANDBOXSET_REUSE_KEEP, the default, _RESET or _REPLACE.
    pub reuse: u32,
    /// Must be 0.
    pub reserved: u32,
    /// A path: an existing directory of the host below which scratch dirs are made; their size is then not
    /// limited. NULL, the default: a size-limited tmpfs in each sandbox.
    pub scratch_dirs: *const c_char,
    /// Where time comes from, for tests. NULL, the default: the machine's monotonic clock.
    pub clock: *const sandboxset_clock,
    /// The set whose sandboxes are forked to make those of this one, which then are never made otherwise; NULL, the
    /// default: none. Its sandboxes must be made by the same backend, which can fork, and its reuse must be
    /// SANDBOXSET_REUSE_KEEP. It stays open as long as this set or a ref of it exists. See sandboxset_new.
    pub parent: *const sandboxset,
    /// Forks of one sandbox that may be in flight at once, if this set is a parent; default 8. When more want to
    /// fork, the set grows, up to its max_size.
    pub max_forks: u64,
}

// SAFETY: repr(C), size first, integers and raw pointers, padding spelled out.
unsafe impl Plain for sandboxset_config {
    const FIRST_SIZE: usize = 88;

    fn defaults() -> Self {
        let config = Config::default();
        sandboxset_config {
            struct_size: size_of::<Self>(),
            max_size: config.max_size as u64,
            min_idle: config.min_idle as u64,
            max_waiters: config.max_waiters as u64,
            get_timeout_ms: config.get_timeout.as_millis() as u64,
            create_timeout_ms: config.create_timeout.as_millis() as u64,
            reuse: SANDBOXSET_REUSE_KEEP,
            reserved: 0,
            scratch_dirs: std::ptr::null(),
            clock: std::ptr::null(),
            parent: std::ptr::null(),
            max_forks: config.max_forks as u64,
        }
    }
}

/// Fills the config with its defaults. `struct_size` is sizeof(sandboxset_config).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_config_init(config: *mut sandboxset_config, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(config, struct_size) };
}

/// The config that C gave; the core checks its values.
pub(crate) fn read(caller: &Caller, config: *const sandboxset_config) -> Result<Config> {
    let from = caller.options(config, "config")?;
    check_reserved(from.reserved, "config.reserved")?;
    let mut config = Config::default();
    config.max_size = to_usize(from.max_size, "max_size")?;
    config.min_idle = to_usize(from.min_idle, "min_idle")?;
    config.max_waiters = to_usize(from.max_waiters, "max_waiters")?;
    config.get_timeout = Duration::from_millis(from.get_timeout_ms);
    config.create_timeout = Duration::from_millis(from.create_timeout_ms);
    config.reuse = match from.reuse {
        SANDBOXSET_REUSE_KEEP => Reuse::Keep,
        SANDBOXSET_REUSE_RESET => Reuse::Reset,
        SANDBOXSET_REUSE_REPLACE => Reuse::Replace,
        other => return Err(unknown(other, "reuse", "SANDBOXSET_REUSE_")),
    };
    if let Some(base) = caller.optional_path(from.scratch_dirs, "scratch_dirs")? {
        config.scratch_dirs = ScratchDirs::Disk(base);
    }
    if let Some(clock) = caller.borrow_optional(from.clock, "clock")? {
        config.clock = Clock::Manual(Arc::clone(clock));
    }
    if let Some(parent) = caller.borrow_optional(from.parent, "parent")? {
        config.parent = Some(parent.clone());
    }
    config.max_forks = to_usize(from.max_forks, "max_forks")?;
    Ok(config)
}
