//! The network namespace, with nothing in it but a loopback interface that is on.
//!
//! To make it takes the kernel longer than all other namespaces together. So an init makes its own while its keeper
//! makes the cgroups; and where somebody waits for the sandbox, a copy of the keeper makes it while the init builds the
//! root.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sandboxset_keeper::{Failure, NETWORK_STEP};

use super::failure;
use crate::sys;

/// Leaves the network namespace for a new one, whose loopback interface is to be switched on.
pub(super) fn make() -> Result<(), Failure> {
    sys::unshare_network_namespace().map_err(|errno| failure(NETWORK_STEP, errno))
}

pub(super) fn switch_on() -> Result<(), Failure> {
    sys::set_interface_up(c"lo").map_err(|errno| failure("switch the loopback interface on", errno))
}

/// Enters the network namespace that [`make_for`] sends.
pub(super) fn enter(setup: &OwnedFd) -> Result<(), Failure> {
    let broken = || Failure { step: "hear of the network namespace".into(), errno: 0 };
    let (result, mut fds) = sandboxset_keeper::receive::<Result<(), Failure>>(setup).map_err(|_| broken())?;
    result?;
    let network = fds.pop().ok_or_else(broken)?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| failure("enter the network namespace", errno))
}

/// Makes the network namespace of an init whose user namespace this is, and sends it. Called in a copy of the keeper;
/// never returns.
pub(crate) fn make_for(user: &OwnedFd, setup: &OwnedFd) -> ! {
    let network = make_in(user);
    let (answer, fds) = match &network {
        Ok(network) => (Ok(()), vec![network.as_fd()]),
        Err(failure) => (Err(failure), Vec::new()),
    };
    sys::exit(i32::from(sandboxset_keeper::send(setup, &answer, &fds).is_err()))
}

fn make_in(user: &OwnedFd) -> Result<OwnedFd, Failure> {
    // The namespace will belong to the user namespace in which it is made.
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|errno| failure("enter the user namespace", errno))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failure("tie the sandbox to the keeper", errno))?;
    make()?;
    switch_on()?;
    rustix::fs::openat(CWD, "/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failure("open the network namespace", errno))
}
