//! Taking rights away, in the order in which it can be done.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sandboxset_keeper::{Create, Failure, LayerReport, LayerStatus, Limits};

use super::{failure, landlock, layer};
use crate::sys;

/// Core dumps of at most this many bytes: with a pipe as core handler the kernel skips the handler only for 1,
/// not for 0.
const CORE_LIMIT: u64 = 1;

/// Bytes of message queues: one of the usual size, and a little. The kernel adds those of all sandboxes to what their
/// maker has, who has 819,200 where nobody raised that.
const QUEUE_BYTES: u64 = 102_400;

/// What must happen before the root file system is built: entering the v1 cgroups, the cgroup namespace, and the promise
/// to die with the keeper. The user is still the keeper's. There are to be so many entrances of v1 cgroups.
pub(super) fn enter(setup: &OwnedFd, (count, entrances): (usize, Vec<OwnedFd>)) -> Result<(), Failure> {
    let refused = |errno| failure("enter the v1 cgroups", errno);
    if entrances.len() != count {
        return Err(refused(Errno::MFILE));
    }
    for entrance in entrances {
        rustix::io::write(&entrance, b"0").map_err(refused)?;
    }
    // Best effort: in the sandbox's favour only, and refused where the file is not ours.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    sys::unshare_cgroup_namespace().map_err(|errno| failure("make the cgroup namespace", errno))?;
    die_with_keeper(setup)
}

/// Becomes the sandbox's own user, who has no rights on the host's files. The capabilities over our own namespaces
/// stay, because the kernel drops them only when a user 0 exists in the namespace.
pub(crate) fn become_inner_user() -> Result<(), Failure> {
    let id = sandboxset_keeper::INNER_ID;
    let gid = rustix::process::Gid::from_raw(id);
    let uid = rustix::process::Uid::from_raw(id);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|errno| failure("set the group id", errno))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|errno| failure("set the user id", errno))
}

/// What must happen after the root file system is built, for good. Answers what restricts a runtime that is forked.
pub(super) fn drop_privileges(
    create: &Create,
    memory_cgroup: bool,
    report: &mut Vec<LayerReport>,
) -> Result<Option<OwnedFd>, Failure> {
    // Changing the user cleared the death signal. The keeper's death would be noticed by the host's socket too,
    // but only by an init that still reads it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failure("tie the sandbox to the keeper", errno))?;
    let is_parent = create.runtime.as_ref().is_some_and(|runtime| runtime.forks);
    set_rlimits(&create.limits, memory_cgroup, is_parent)?;
    drop_capabilities()?;
    report.push(layer("capabilities", LayerStatus::Active, "none in any set"));
    rustix::thread::set_no_new_privs(true).map_err(|errno| failure("set no_new_privs", errno))?;
    report.push(layer("no_new_privs", LayerStatus::Active, "set"));
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| failure("make the init undumpable", errno))?;
    report.push(match filters_system_calls(create) {
        true => layer("seccomp", LayerStatus::Active, "allow-list on every command"),
        false => layer("seccomp", LayerStatus::Missing, "switched off"),
    });
    let (landlock, rules) = landlock::restrict(create);
    report.push(landlock);
    Ok(rules)
}

/// Whether commands get the system call filter.
pub(super) fn filters_system_calls(create: &Create) -> bool {
    !create.off.iter().any(|off| off == "seccomp")
}

/// Arms the death signal, then checks that the keeper did not die before it was armed.
fn die_with_keeper(setup: &OwnedFd) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failure("tie the sandbox to the keeper", errno))?;
    let mut fds = [PollFd::new(setup, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Ok(0) => Ok(()),
        _ => Err(Failure { step: "find the keeper alive".into(), errno: 0 }),
    }
}

fn set_rlimits(limits: &Limits, memory_cgroup: bool, is_parent: bool) -> Result<(), Failure> {
    let mut table = vec![
        (Resource::Core, CORE_LIMIT),
        (Resource::Nofile, limits.open_files),
        (Resource::Memlock, 64 << 10),
        (Resource::Msgqueue, QUEUE_BYTES),
        (Resource::Sigpending, 4096),
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
    ];
    if !is_parent {
        // The kernel counts per user and user namespace, so this is the sandbox's own number; but it counts all
        // namespaces below too, and with them the forks of a parent.
        table.push((Resource::Nproc, u64::from(limits.pids)));
    }
    if let Some(bytes) = limits.file_bytes {
        table.push((Resource::Fsize, bytes));
    }
    if !memory_cgroup {
        table.push((Resource::As, limits.memory_bytes));
    }
    for (resource, wanted) in table {
        // A hard limit can be lowered but not raised, so the tighter of ours and the inherited one holds.
        let inherited = rustix::process::getrlimit(resource).maximum;
        let value = Some(inherited.map_or(wanted, |inherited| inherited.min(wanted)));
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(|errno| failure(&format!("set {resource:?}"), errno))?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), Failure> {
    let refused = |errno| failure("drop capabilities", errno);
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(refused(errno)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(refused)?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(refused)
}

/// Limits that one command has beneath those of its sandbox; called in the command's own process.
pub(super) fn tighten(memory_bytes: Option<u64>, cpu_seconds: Option<u64>) -> Result<(), Failure> {
    for (resource, wanted) in [(Resource::As, memory_bytes), (Resource::Cpu, cpu_seconds)] {
        let Some(wanted) = wanted else { continue };
        let inherited = rustix::process::getrlimit(resource).maximum;
        let value = Some(inherited.map_or(wanted, |inherited| inherited.min(wanted)));
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(|errno| failure(&format!("set {resource:?}"), errno))?;
    }
    Ok(())
}
