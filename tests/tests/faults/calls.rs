//! Which system calls fail, and how.

use std::collections::BTreeMap;

use sandboxset_tests::strace::{Injection, Stage, Target};

/// How calls may fail, each of the second in each way of the first. Others fail with EIO.
const ERRORS: &[(&[&str], &[&str])] = &[
    (&["EACCES"], &["chdir", "fchdir"]),
    (&["EAGAIN"], &["clone", "clone3", "setresgid", "setresuid", "setreuid", "setuid"]),
    (&["EAGAIN", "EINTR"], &["connect"]),
    (&["EBUSY"], &["rmdir", "umount2", "unlink", "unlinkat"]),
    (&["EINTR"], &["getrandom", "wait4", "waitid"]),
    (&["EIO"], &["faccessat", "faccessat2", "fstatfs", "getdents64", "lseek", "pread64", "statfs"]),
    (&["EIO", "EINTR"], &["read"]),
    (
        &["EMFILE"],
        &[
            "accept4",
            "dup",
            "dup2",
            "dup3",
            "epoll_create1",
            "eventfd2",
            "fcntl",
            "fsmount",
            "fsopen",
            "landlock_create_ruleset",
            "open",
            "open_tree",
            "openat2",
            "pidfd_open",
            "pipe2",
            "signalfd4",
            "socket",
            "socketpair",
        ],
    ),
    (&["EMFILE", "EINTR"], &["openat"]),
    (&["ENOBUFS", "EINTR"], &["sendmsg", "sendto"]),
    (
        &["ENOMEM"],
        &[
            "close_range",
            "execve",
            "execveat",
            "fsconfig",
            "fstat",
            "getcwd",
            "landlock_add_rule",
            "memfd_create",
            "mount",
            "newfstatat",
            "readlink",
            "readlinkat",
            "seccomp",
            "setsockopt",
            "stat",
            "statx",
        ],
    ),
    (&["ENOMEM", "EINTR"], &["poll", "ppoll", "recvfrom", "recvmsg"]),
    (
        &["ENOSPC"],
        &["ftruncate", "mkdir", "mkdirat", "renameat", "sendfile", "symlinkat", "unshare", "writev"],
    ),
    (&["ENOSPC", "EINTR"], &["write"]),
    (&["ENOTCONN"], &["shutdown"]),
    (
        &["EPERM"],
        &[
            "capset",
            "chown",
            "fchmod",
            "fchmodat",
            "fchown",
            "fchownat",
            "ioctl",
            "kill",
            "landlock_restrict_self",
            "lchown",
            "linkat",
            "mknodat",
            "mount_setattr",
            "move_mount",
            "pidfd_send_signal",
            "pivot_root",
            "prctl",
            "prlimit64",
            "setdomainname",
            "setgid",
            "setgroups",
            "sethostname",
            "setpriority",
            "setregid",
            "setrlimit",
            "setsid",
        ],
    ),
];

/// Calls that cannot fail, or whose failure strace cannot imitate: a `close` that fails has closed, and the one that
/// strace makes fail has not. When memory is refused Rust's own library aborts as it starts a thread, which nobody can
/// prevent who starts threads with it.
const SPARED: &[&str] = &[
    "arch_prctl",
    "brk",
    "capget",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "exit",
    "exit_group",
    "futex",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "umask",
];

/// Calls that take longer than their caller may.
const DELAYED: &[&str] = &[
    "clone",
    "clone3",
    "execve",
    "execveat",
    "mkdir",
    "mkdirat",
    "mount_setattr",
    "openat",
    "pidfd_send_signal",
    "ppoll",
    "recvmsg",
    "rmdir",
    "sendmsg",
    "wait4",
    "write",
];
/// Longer than any call of a life waits.
const DELAY: &str = "delay_enter=4s";

/// What a plain life shows there is to fail: every call in every way that there is, and kills and delays at the first
/// and the last of each kind.
pub(crate) fn plan(stage: &Stage) -> Vec<Injection> {
    let mut injections = Vec::new();
    for target in [Target::Host, Target::Keeper, Target::Init] {
        let run = stage.run(target, None);
        assert!(run.faults.is_empty(), "{target:?}: {run:?}");
        // Each thread counts its own calls, so what matters is the one that makes the most.
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for (call, &count) in &run.calls {
            let name = call.split_once(' ').map_or(&**call, |(_, name)| name);
            let entry = most.entry(name).or_default();
            *entry = count.max(*entry);
        }
        assert!(most.len() > 20, "{target:?} makes hardly any call: {most:?}");
        for (call, count) in most {
            let mut add = |effect: String, when| {
                injections.push(Injection { target, call: call.to_owned(), effect, when });
            };
            if !SPARED.contains(&call) {
                let ways = ERRORS
                    .iter()
                    .find(|(_, calls)| calls.contains(&call))
                    .map_or(&["EIO"][..], |(ways, _)| ways);
                for way in ways {
                    (1..=count).for_each(|when| add(format!("error={way}"), when));
                }
            }
            for when in if count == 1 { vec![1] } else { vec![1, count] } {
                add("signal=KILL".into(), when);
                if DELAYED.contains(&call) {
                    add(DELAY.into(), when);
                }
            }
        }
    }
    injections
}
