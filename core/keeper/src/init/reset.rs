//! Making a used sandbox as empty as a fresh one. The host looks at the result from outside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use sandboxset_keeper::{Failure, FromInit, empty_tree};

use super::command::Commands;
use super::failure;
use crate::sys::{self, Forked};

/// Kills everybody, removes what they left, and answers on the reply socket when nobody but us is alive.
pub(super) fn reset(commands: &mut Commands<'_>, scratch_mode: u32, reply: &OwnedFd) {
    let answer = match kill_all(commands).and_then(|()| in_helper(scratch_mode, reply)) {
        Ok(true) => FromInit::Done,
        // The helper has answered.
        Ok(false) => return,
        Err(failure) => FromInit::Failed(failure),
    };
    let _ = sandboxset_keeper::send(reply, &answer, &[]);
}

/// Ends every process but us and reaps them. They cannot hide: whoever loses its parent becomes our child.
fn kill_all(commands: &mut Commands<'_>) -> Result<(), Failure> {
    match sys::kill(-1, libc::SIGKILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(failure("kill the processes", errno)),
    }
    while let Some(ended) = sys::reap_next() {
        commands.ended(&ended);
    }
    Ok(())
}

/// Removes what is left in a process of its own, whose memory and descriptors end with it. Answers whether that
/// succeeded; if not, it has told the host what failed, unless it could not be made or was killed.
fn in_helper(scratch_mode: u32, reply: &OwnedFd) -> Result<bool, Failure> {
    match sys::clone3(0, None).map_err(|errno| failure("start a process", errno))? {
        Forked::Child => {
            let result = remove_everything(scratch_mode);
            if let Err(failure) = &result {
                let _ = sandboxset_keeper::send(reply, &FromInit::Failed(failure.clone()), &[]);
            }
            sys::exit(i32::from(result.is_err()))
        }
        Forked::Parent(..) => {
            let mut code = None;
            while let Some(ended) = sys::reap_next() {
                code = ended.exit_code;
            }
            match code {
                Some(code) => Ok(code == 0),
                None => Err(Failure { step: "remove what is left: its process was killed".into(), errno: 0 }),
            }
        }
    }
}

fn remove_everything(scratch_mode: u32) -> Result<(), Failure> {
    for (path, mode) in [("/scratch", scratch_mode), ("/tmp", 0o1777), ("/dev/shm", 0o1777)] {
        empty(path, mode).map_err(|errno| failure(&format!("empty {path}"), errno))?;
    }
    // Its attributes are out of reach: it belongs to nobody in the sandbox.
    empty_as_is("/dev/mqueue").map_err(|errno| failure("empty /dev/mqueue", errno))?;
    let left = sys::remove_sysv_ipc().map_err(|errno| failure("remove System V IPC objects", errno))?;
    if left > 0 {
        return Err(Failure { step: format!("{left} System V IPC objects are left"), errno: 0 });
    }
    Ok(())
}

/// Empties a directory and gives it the attributes of a fresh one.
fn empty(path: &str, mode: u32) -> Result<(), Errno> {
    // Before it is opened, because it may have been closed even to its owner. It is a mount, so no link.
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
    let dir = empty_as_is(path)?;
    remove_attributes(&dir)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::futimens(&dir, &Timestamps { last_access: now, last_modification: now })
}

fn empty_as_is(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    empty_tree(dir.as_fd())?;
    Ok(dir)
}

/// Removes what a holder can have attached to a directory itself.
fn remove_attributes(dir: &OwnedFd) -> Result<(), Errno> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(dir, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for name in names[..length].split(|&byte| byte == 0) {
        if name.starts_with(b"user.") || name.starts_with(b"system.posix_acl") {
            rustix::fs::fremovexattr(dir, name)?;
        }
    }
    Ok(())
}
