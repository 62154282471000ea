//! What the kernel has, and what it lets this process do with it.

use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::PidfdFlags;

use super::super::{program, sys};
use super::{Check, host, namespaces};
use crate::{IsolationReport, LayerStatus};

/// The oldest kernel with everything that is needed, and the oldest with everything that is wanted.
const NEEDED: (u32, u32) = (5, 12);
const WANTED: (u32, u32) = (5, 14);
const NEWER_KERNEL: &str = "run Linux 5.14 or newer";

pub(super) fn version() -> Check {
    const NAME: &str = "kernel";
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let machine = name.machine().to_string_lossy().into_owned();
    let detail = format!("Linux {release} on {machine}");
    match parse_release(&release) {
        Some(version) if version >= WANTED => Check::works(NAME, detail),
        Some(version) if version >= NEEDED => {
            Check::degraded(NAME, format!("{detail}: no cgroup.kill, which came with 5.14"), NEWER_KERNEL)
        }
        _ => Check::missing(NAME, format!("{detail} is older than 5.12"), NEWER_KERNEL),
    }
}

pub(super) fn checks() -> Vec<Check> {
    vec![mount_calls(), clone3(), pidfd(), seccomp(), landlock(), program_from_memory()]
}

/// Whether the trial's root was an overlay.
pub(super) fn overlay(report: &IsolationReport) -> Check {
    const NAME: &str = "root.overlay";
    let fix = "run Linux 5.12 or newer with overlayfs (as root: `modprobe overlay`), with no other file system \
               mounted inside the directories that are named; or give sandboxes a root directory of their own, \
               on a file system that is not an overlay of overlays";
    match report.layer(NAME) {
        Some(layer) if layer.status == LayerStatus::Active => Check::works(NAME, layer.detail.clone()),
        Some(layer) => Check::degraded(NAME, layer.detail.clone(), fix),
        None => Check::missing(NAME, "the backend does not report it", "this is a defect of ours"),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn mount_calls() -> Check {
    const NAME: &str = "mount_api";
    // Only looks: without the flag that makes a copy it is an open of the root directory.
    let open_tree = rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).map(drop);
    match open_tree.and_then(|()| sys::mount_setattr()) {
        Ok(()) => Check::works(NAME, "open_tree, fsopen, mount_setattr"),
        Err(errno) => refused(NAME, errno),
    }
}

fn clone3() -> Check {
    const NAME: &str = "clone3";
    match sys::clone3_into_cgroup() {
        Ok(()) => Check::works(NAME, "with CLONE_INTO_CGROUP"),
        Err(Errno::TOOBIG) => Check::missing(
            NAME,
            "the kernel does not know CLONE_INTO_CGROUP, which came with 5.7",
            NEWER_KERNEL,
        ),
        Err(errno) => refused(NAME, errno),
    }
}

fn pidfd() -> Check {
    const NAME: &str = "pidfd";
    let open = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map(drop);
    match open.and_then(|()| sys::wait_by_pidfd()) {
        Ok(()) => Check::works(NAME, "opened and waited for"),
        Err(errno) => refused(NAME, errno),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    let filtered = if host::is_filtered() { "; this process has a filter already" } else { "" };
    match host::sysctl("kernel/seccomp/actions_avail") {
        Some(actions) if actions.split(' ').any(|action| action == "kill_process") => {
            Check::works(NAME, format!("filters can kill and refuse{filtered}"))
        }
        _ if !Path::new("/proc/sys/kernel").exists() => {
            Check::degraded(NAME, "unknown: /proc/sys is not there", "mount /proc")
        }
        _ => Check::missing(
            NAME,
            "the kernel has no system call filters",
            "run a kernel with CONFIG_SECCOMP_FILTER=y",
        ),
    }
}

fn landlock() -> Check {
    const NAME: &str = "landlock";
    match sys::landlock_abi() {
        Ok(abi) => Check::works(NAME, format!("version {abi}")),
        Err(Errno::OPNOTSUPP) => Check::degraded(
            NAME,
            "the kernel has it, but it is switched off",
            "add landlock to the list of the boot option lsm=, for example lsm=landlock,lockdown,yama,apparmor,bpf",
        ),
        Err(Errno::NOSYS) if !host::is_filtered() => Check::degraded(
            NAME,
            "the kernel lacks it: the second layer around files is not there",
            "run Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK=y",
        ),
        Err(errno) => Check::degraded(
            NAME,
            format!("refused ({errno}): the second layer around files is not there"),
            "allow the landlock system calls in the filter that this process was started with",
        ),
    }
}

/// Whether the keeper can be started from memory; else from a file.
fn program_from_memory() -> Check {
    const NAME: &str = "memfd_exec";
    let errno = match program::try_memory() {
        Ok(()) => return Check::works(NAME, "a program in memory can be executed"),
        Err(errno) => errno,
    };
    let sysctl = host::sysctl("vm/memfd_noexec").filter(|value| value == "2");
    let (why, fix) = match sysctl {
        Some(_) => ("vm.memfd_noexec is 2".to_owned(), namespaces::set_sysctl("vm.memfd_noexec", "1")),
        None => (
            errno.to_string(),
            "allow memfd_create and execveat in the filter or security module that this process runs under"
                .into(),
        ),
    };
    match program::try_directory() {
        Ok(()) => Check::degraded(
            NAME,
            format!("a program in memory may not be executed ({why}); the keeper starts from a file instead"),
            fix,
        ),
        Err(refusals) => Check::missing(
            NAME,
            format!(
                "the keeper can be started neither from memory ({why}) nor from a directory ({refusals})"
            ),
            format!("{fix}; or set XDG_RUNTIME_DIR or TMPDIR to a directory that is not mounted noexec"),
        ),
    }
}

fn refused(name: &'static str, errno: Errno) -> Check {
    let namespaces::Cause { detail, fix } = namespaces::forbidden(errno);
    Check::missing(name, detail, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(parse_release("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(parse_release("5.14.0-427.el9.x86_64"), Some((5, 14)));
        assert_eq!(parse_release("6.1-rc3"), Some((6, 1)));
        assert_eq!(parse_release("unknown"), None);
        assert!((5, 9) < NEEDED && (6, 1) > WANTED);
    }
}
