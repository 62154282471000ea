//! Making an init below a sandbox that is to be forked: in a user namespace that the fork server owns, and in its
//! process id namespace.
//!
//! The owner of a user namespace may join it without any capability; so it is made by a process that is the fork
//! server's user in the fork server's user namespace. The keeper is neither and stays what it is: helpers do it, each
//! a fork of the keeper. None of them can be read from inside: the memory of the keeper is in all of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sandboxset_keeper::{CLONE_STEP, Failure, FrameError};

use super::clone::{IdMaps, set_dumpable};
use super::message_pair;
use super::sandbox::{ends_within, failure};
use crate::init;
use crate::sys::{self, Forked};

/// What it takes to make sandboxes below one whose runtime is a fork server.
pub(super) struct Parent {
    /// Its user namespace.
    pub(super) user: OwnedFd,
    /// Its process id namespace.
    pub(super) pid: OwnedFd,
    /// The socket to its fork server.
    pub(super) server: OwnedFd,
    /// How many forks of it may wait to be asked for.
    pub(super) most_ahead: usize,
}

/// An init that the helpers are cloning.
pub(super) struct Cloning {
    /// Where the init is handed to us.
    socket: OwnedFd,
}

/// How long the helpers may take. The parent's processes see one of them for a moment, and may be able to stop it.
pub(super) const HELP: Duration = Duration::from_secs(1);

/// Has `child` run as the first process of new namespaces below a parent. Answers a pidfd of the first helper: when that
/// has ended, [`Cloning::end`] has the init.
///
/// The init ends up as a child of the parent's init, because whoever started it has ended by then.
pub(super) fn begin(
    parent: &Parent,
    maps: &IdMaps,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> Result<(OwnedFd, Cloning), Failure> {
    let step = |errno| failure("make a socket", errno);
    let (socket, theirs) = message_pair().map_err(step)?;
    match sys::clone3(0, None).map_err(|errno| failure("start a helper", errno))? {
        Forked::Parent(_, pidfd) => {
            rustix::io::ioctl_fionbio(&socket, true).map_err(step)?;
            Ok((pidfd, Cloning { socket }))
        }
        Forked::Child => {
            if let Err(failure) = help(parent, maps, cgroup, &theirs, child) {
                let _ = sandboxset_keeper::send(&theirs, &Err::<(), Failure>(failure), &[]);
            }
            sys::exit(0)
        }
    }
}

impl Cloning {
    /// Answers a pidfd of the init. A helper that has not ended is killed, and never will have one; what else it started
    /// ends without it.
    pub(super) fn end(self, helper: &OwnedFd) -> Result<OwnedFd, Failure> {
        let has_ended = ends_within(helper, Duration::ZERO);
        let _ = rustix::process::pidfd_send_signal(helper, rustix::process::Signal::KILL);
        await_end(helper);
        if !has_ended {
            return Err(failure("wait for a helper", Errno::TIMEDOUT));
        }
        let answer = sandboxset_keeper::receive::<Result<(), Failure>>(&self.socket);
        let (result, mut fds) = answer.map_err(|error| broken(&error))?;
        result?;
        fds.pop().ok_or_else(|| broken(&FrameError::Malformed("pidfd missing")))
    }
}

/// The first helper: enters the parent's user namespace, has the new one made, and maps its user.
fn help(
    parent: &Parent,
    maps: &IdMaps,
    cgroup: Option<BorrowedFd<'_>>,
    keeper: &OwnedFd,
    child: impl FnOnce(),
) -> Result<(), Failure> {
    // Now, because the init cannot: the files of an undumpable process are root's.
    set_dumpable(true)?;
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    set_dumpable(false)?;
    move_into_link_name_space(parent.user.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|errno| failure("enter the parent's user namespace", errno))?;
    let (ours, theirs) = message_pair().map_err(|errno| failure("make a socket", errno))?;
    let (pid, holder) = match sys::clone3(0, None).map_err(|errno| failure("start a helper", errno))? {
        Forked::Parent(pid, pidfd) => (pid.as_raw_nonzero().get(), pidfd),
        Forked::Child => {
            drop(ours);
            hold_user_namespace(&theirs);
            sys::exit(0)
        }
    };
    drop(theirs);
    let (made, _) =
        sandboxset_keeper::receive::<Result<(), Failure>>(&ours).map_err(|error| broken(&error))?;
    made?;
    maps.write(pid)?;
    let user = rustix::fs::openat(
        CWD,
        format!("/proc/{pid}/ns/user"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| failure("open the user namespace", errno))?;
    // Only now, because from here on our children are in sight of the parent's processes.
    move_into_link_name_space(parent.pid.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .map_err(|errno| failure("enter the parent's process id namespace", errno))?;
    match sys::clone3(0, None).map_err(|errno| failure("start a helper", errno))? {
        Forked::Parent(_, pidfd) => await_end(&pidfd),
        Forked::Child => {
            if let Err(failure) = clone_init(&user, cgroup, keeper, child) {
                let _ = sandboxset_keeper::send(keeper, &Err::<(), Failure>(failure), &[]);
            }
            sys::exit(0)
        }
    }
    let _ = rustix::process::pidfd_send_signal(&holder, rustix::process::Signal::KILL);
    await_end(&holder);
    Ok(())
}

/// The second helper: makes the user namespace as the fork server's user, and holds it until it is killed.
fn hold_user_namespace(helper: &OwnedFd) {
    let made = init::become_inner_user()
        .and_then(|()| {
            sys::unshare_user_namespace().map_err(|errno| nested("make the user namespace", errno))
        })
        // So that the maps can be written; nobody inside can see this process.
        .and_then(|()| set_dumpable(true));
    let _ = sandboxset_keeper::send(helper, &made, &[]);
    let _ = sandboxset_keeper::receive::<()>(helper);
}

/// The third helper, which is in the parent's process id namespace: clones the init into the other namespaces.
fn clone_init(
    user: &OwnedFd,
    cgroup: Option<BorrowedFd<'_>>,
    keeper: &OwnedFd,
    child: impl FnOnce(),
) -> Result<(), Failure> {
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|errno| failure("enter the user namespace", errno))?;
    let namespaces = init::NAMESPACES & !(libc::CLONE_NEWUSER as u64);
    match sys::clone3(namespaces, cgroup).map_err(|errno| nested(CLONE_STEP, errno))? {
        Forked::Child => {
            child();
            sys::exit(0)
        }
        Forked::Parent(_, pidfd) => {
            let _ = sandboxset_keeper::send(keeper, &Ok::<(), Failure>(()), &[pidfd.as_fd()]);
            Ok(())
        }
    }
}

/// The kernel has one number for all that there can be too many of.
fn nested(step: &str, errno: Errno) -> Failure {
    match errno {
        Errno::NOSPC => failure(
            &format!("{step}: the kernel nests 32 levels of namespaces, and limits their number"),
            errno,
        ),
        errno => failure(step, errno),
    }
}

fn await_end(pidfd: &OwnedFd) {
    // It fails only if somebody else reaped the process, which is then gone as well.
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

fn broken(error: &FrameError) -> Failure {
    Failure { step: format!("hear the helper: {error}"), errno: 0 }
}
