//! Whether two processes are the same memory.

use rustix::process::Pid;

/// `KCMP_VM` of the kernel's `kcmp`.
const SAME_MEMORY: libc::c_long = 1;

/// Whether two processes share all their memory, as who waits to fork does with its server. No, where the kernel does
/// not tell.
pub(in super::super) fn shares_memory(one: Pid, other: Pid) -> bool {
    let (one, other) = (one.as_raw_nonzero().get(), other.as_raw_nonzero().get());
    // SAFETY: five plain numbers go in, and nothing is read or written.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, SAME_MEMORY, 0, 0) == 0 }
}
