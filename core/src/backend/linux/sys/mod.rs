//! The system calls that no safe crate offers. All unsafe code of this backend is below this module.

mod features;
mod memory;
mod signals;
mod spawn;
mod trial;

pub(super) use features::{clone3_into_cgroup, landlock_abi, mount_setattr, wait_by_pidfd};
pub(super) use memory::shares_memory;
pub(super) use spawn::spawn_detached;
pub(super) use trial::{Trial, in_new_namespaces};
