//! Whether the kernel has a system call: each is called with arguments that it must refuse, so nothing happens.

use std::ffi::c_long;
use std::ptr;

use rustix::io::Errno;

/// The crate's constant is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// `clone3` with `CLONE_INTO_CGROUP`.
pub(in super::super) fn clone3_into_cgroup() -> Result<(), Errno> {
    // SAFETY: clone_args is plain old data, for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    // No descriptor is that large. A kernel that does not know the field says E2BIG instead.
    args.cgroup = u64::MAX;
    // SAFETY: args is valid for the size given, and no process is made, because there is no such cgroup.
    refused_as(Errno::INVAL, unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    })
}

/// `mount_setattr`, the youngest of the new mount calls.
pub(in super::super) fn mount_setattr() -> Result<(), Errno> {
    // SAFETY: an attribute structure of no size is refused before it is read.
    refused_as(Errno::INVAL, unsafe {
        libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, ptr::null::<libc::mount_attr>(), 0usize)
    })
}

/// Waiting for a process by its pidfd.
pub(in super::super) fn wait_by_pidfd() -> Result<(), Errno> {
    // SAFETY: there is no such descriptor, so nothing is waited for and nothing written.
    refused_as(Errno::BADF, unsafe {
        let info = ptr::null_mut::<libc::siginfo_t>();
        libc::syscall(libc::SYS_waitid, libc::P_PIDFD, i32::MAX, info, libc::WEXITED, ptr::null_mut::<u8>())
    })
}

/// The version of Landlock that the kernel speaks.
pub(in super::super) fn landlock_abi() -> Result<u32, Errno> {
    // SAFETY: with this flag the call takes no attributes and only answers a number.
    let version = unsafe {
        let none = ptr::null::<u8>();
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    if version < 0 { Err(last_errno()) } else { Ok(version as u32) }
}

fn refused_as(expected: Errno, result: c_long) -> Result<(), Errno> {
    match last_errno() {
        _ if result >= 0 => Ok(()),
        errno if errno == expected => Ok(()),
        errno => Err(errno),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
