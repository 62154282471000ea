//! Trying namespaces without forking the host: a short child shares the host's memory while the calling thread
//! stands still, does one thing in its new namespaces, and ends together with them.

use std::ffi::{c_int, c_long, c_void};
use std::ptr;

use rustix::io::Errno;

use super::signals;

const STACK_BYTES: usize = 64 << 10;
const FSCONFIG_CMD_CREATE: c_int = 6;

/// What the child does in its new namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Trial {
    /// Nothing: that they can be had is all.
    Enter,
    /// Changes the propagation of its own mounts, which needs the rights that come with the namespaces.
    ChangeMounts,
    /// Makes a `/proc`, without attaching it anywhere.
    MakeProc,
}

/// What the child is told and what it leaves, in memory that it shares with the caller.
struct Shared {
    trial: Trial,
    errno: c_int,
}

/// Does `trial` in a process of its own in new namespaces: `flags` are those of `clone`. Nothing of it stays.
pub(in super::super) fn in_new_namespaces(flags: c_int, trial: Trial) -> Result<(), Errno> {
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let mut shared = Shared { trial, errno: 0 };
    let shared_pointer = &raw mut shared;
    // No exit signal, so that the host gets no SIGCHLD and its own waits never see the child.
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK;
    signals::with_all_blocked(|| {
        // SAFETY: the pointer is one past the end of the allocation, and stacks grow down; it lives until the child
        // is gone, because CLONE_VFORK suspends this thread until then; `child` only makes system calls.
        let pid = unsafe {
            let top = stack.as_mut_ptr_range().end.cast::<c_void>();
            libc::clone(child, top, flags, shared_pointer.cast::<c_void>())
        };
        if pid < 0 {
            return Err(last_errno());
        }
        // __WALL, because a child without an exit signal is invisible to a plain wait.
        // SAFETY: waits for our own child; the status is not asked for.
        while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } < 0 && last_errno() == Errno::INTR
        {
        }
        Ok(())
    })?;
    // SAFETY: the child is gone; its store happened before the wait returned.
    match unsafe { (&raw const shared.errno).read_volatile() } {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Shares memory with the host. Only system calls.
extern "C" fn child(shared: *mut c_void) -> c_int {
    let shared = shared.cast::<Shared>();
    // SAFETY: `shared` is valid while the host's thread is suspended; all strings end with NUL.
    unsafe {
        let result: c_long = match (*shared).trial {
            Trial::Enter => 0,
            Trial::ChangeMounts => {
                let flags = libc::MS_REC | libc::MS_PRIVATE;
                libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()).into()
            }
            Trial::MakeProc => make_proc(),
        };
        if result < 0 {
            (*shared).errno = *libc::__errno_location();
        }
    }
    0
}

/// # Safety
///
/// Must run in a process whose descriptors are its own, because none is closed.
unsafe fn make_proc() -> c_long {
    // SAFETY: the string ends with NUL, and no other memory is passed.
    unsafe {
        let context = libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 1);
        if context < 0 {
            return context;
        }
        let none = ptr::null::<u8>();
        let made = libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, none, none, 0);
        if made < 0 {
            return made;
        }
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        libc::syscall(libc::SYS_fsmount, context, 1, attributes)
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
