//! Attempts to break out of a sandbox: `sandboxset-probes NAME [ARGUMENT…]`.
//!
//! Exit code: 0 the attempt was refused, 1 it ESCAPED, 2 it cannot be tried on this kernel; what happened is printed.
//! Run inside a sandbox every one must answer 0. As the negative control the same program runs outside, where it
//! must answer 1: as it is, or after `weakened FLAGS NAME …`, which takes only namespaces of its own, so that
//! nothing of the attempt reaches the machine.
#![allow(clippy::print_stdout, reason = "a probe says what happened")]
// The standard library's own start would ignore SIGPIPE, which is one of the things to look for.
#![no_main]

mod bait;
mod exhaust;
mod files;
mod handover;
mod kernel;
mod outside;
mod process;
mod sys;
mod weaken;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Blocked,
    Escaped,
    NotApplicable,
}

/// A probe, given its arguments.
type Probe = fn(&[String]) -> Verdict;

const PROBES: &[(&str, Probe)] = &[
    ("true", |_| Verdict::Blocked),
    ("fds", handover::fds),
    ("cwd", handover::cwd),
    ("selfexe", handover::selfexe),
    ("race-join", handover::race_join),
    ("env", handover::env),
    ("attrs", handover::attrs),
    ("caps", handover::caps),
    ("file-caps", handover::file_caps),
    ("nnp", handover::nnp),
    ("setuid-program", handover::setuid_program),
    ("seccomp", handover::seccomp),
    ("tiocsti", handover::tiocsti),
    ("core", handover::core),
    ("chroot-break", files::chroot_break),
    ("host-files", files::host_files),
    ("write-root", files::write_root),
    ("mknod", files::mknod),
    ("devices", files::devices),
    ("proc-write", files::proc_write),
    ("proc-leaks", files::proc_leaks),
    ("proc-masks", files::proc_masks),
    ("sysfs", files::sysfs),
    ("cgroupfs", files::cgroupfs),
    ("cgroup-names", files::cgroup_names),
    ("umount", files::umount),
    ("overlay-attributes", files::overlay_attributes),
    ("locks", files::locks),
    ("inotify", files::inotify),
    ("shm", files::shm),
    ("userns-unshare", kernel::userns_unshare),
    ("userns-clone", kernel::userns_clone),
    ("userns-clone3", kernel::userns_clone3),
    ("userns-sysctl", kernel::userns_sysctl),
    ("setns", kernel::setns),
    ("mounts", kernel::mounts),
    ("syscall-sweep", kernel::syscall_sweep),
    ("x32", kernel::x32),
    ("call", kernel::call),
    ("keyring", kernel::keyring),
    ("bpf", kernel::bpf),
    ("perf", kernel::perf),
    ("io-uring", kernel::io_uring),
    ("userfaultfd", kernel::userfaultfd),
    ("sockets", kernel::sockets),
    ("int80", kernel::int80),
    ("hostname", kernel::hostname),
    ("ptrace", process::ptrace),
    ("init", process::init),
    ("kill-init", process::kill_init),
    ("setuid", process::setuid),
    ("uid-map", process::uid_map),
    ("groups", process::groups),
    ("signals-outside", process::signals_outside),
    ("host-processes", process::host_processes),
    ("zombies", process::zombies),
    ("tcp4", outside::tcp4),
    ("tcp6", outside::tcp6),
    ("abstract-socket", outside::abstract_socket),
    ("path-socket", outside::path_socket),
    ("metadata", outside::metadata),
    ("netlink", outside::netlink),
    ("netlink-change", outside::netlink_change),
    ("sysv", outside::sysv),
    ("mqueue", outside::mqueue),
    ("host-name", outside::host_name),
    ("fork-bomb", exhaust::fork_bomb),
    ("memory", exhaust::memory),
    ("descriptors", exhaust::descriptors),
    ("ptys", exhaust::ptys),
    ("inotify-instances", exhaust::inotify_instances),
    ("inotify-watches", exhaust::inotify_watches),
    ("queues", exhaust::queues),
    ("tmpfs-bytes", exhaust::tmpfs_bytes),
    ("tmpfs-inodes", exhaust::tmpfs_inodes),
];

#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    sys::flushed(run(&arguments))
}

/// Runs one probe, or one of the helpers of the harness.
fn run(arguments: &[String]) -> u8 {
    let Some((name, rest)) = arguments.split_first() else {
        for (name, _) in PROBES {
            println!("{name}");
        }
        return 0;
    };
    match name.as_str() {
        "bait" => return bait::lay(rest),
        "odd-start" => return weaken::odd_start(rest),
        "weakened" => {
            return match weaken::weaken(rest) {
                Ok(rest) => run(rest),
                Err(reason) => {
                    println!("cannot be weakened: {reason}");
                    2
                }
            };
        }
        _ => {}
    }
    match PROBES.iter().find(|(probe, _)| probe == name) {
        Some((_, probe)) => probe(rest).code(),
        None => {
            println!("there is no probe {name}");
            64
        }
    }
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Verdict::Blocked => 0,
            Verdict::Escaped => 1,
            Verdict::NotApplicable => 2,
        }
    }

    fn of_code(code: i32) -> Self {
        match code {
            0 => Verdict::Blocked,
            1 => Verdict::Escaped,
            _ => Verdict::NotApplicable,
        }
    }

    /// An attempt that must fail, however.
    fn refused<T, E: std::fmt::Debug>(what: &str, result: Result<T, E>) -> Self {
        match result {
            Ok(_) => {
                println!("ESCAPED: {what}");
                Verdict::Escaped
            }
            Err(error) => {
                println!("refused: {what}: {error:?}");
                Verdict::Blocked
            }
        }
    }

    /// Something that must be so.
    fn holds(what: &str, holds: bool) -> Self {
        println!("{}: {what}", if holds { "holds" } else { "ESCAPED" });
        if holds { Verdict::Blocked } else { Verdict::Escaped }
    }

    /// One escape is an escape; what cannot be tried counts only if nothing could be.
    fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut worst = Verdict::NotApplicable;
        for verdict in verdicts {
            match verdict {
                Verdict::Escaped => worst = Verdict::Escaped,
                Verdict::Blocked if worst == Verdict::NotApplicable => worst = Verdict::Blocked,
                _ => {}
            }
        }
        worst
    }
}

/// An argument, or nothing.
fn argument(arguments: &[String], index: usize) -> &str {
    arguments.get(index).map_or("", String::as_str)
}

/// An argument that is a number, or 0.
fn number(arguments: &[String], index: usize) -> usize {
    argument(arguments, index).parse().unwrap_or(0)
}
