//! The system calls that no safe crate offers. All unsafe code of this backend is below this module.

mod signals;
mod spawn;

pub(super) use spawn::spawn_detached;
