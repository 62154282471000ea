//! Other processes and other users.

use std::fs;

use crate::sys::{address_mut, call, exit, fork, in_child, wait};
use crate::{Verdict, argument, number};

/// `ptrace [PID]`: attaching to the own child and to another process, and reading their memory.
pub(crate) fn ptrace(arguments: &[String]) -> Verdict {
    let child = match fork() {
        Ok(None) => loop {
            let _ = call(libc::SYS_ppoll, &[0, 0, 0, 0, 0]);
        },
        Ok(Some(child)) => child,
        Err(_) => return Verdict::NotApplicable,
    };
    let mut buffer = [0u8; 8];
    let local = [address_mut(&mut buffer), buffer.len()];
    let remote = [address_mut(&mut buffer), buffer.len()];
    let mut pids = vec![child as usize];
    pids.extend((!arguments.is_empty()).then(|| number(arguments, 0)));
    let verdicts = pids.into_iter().map(|pid| {
        let read = call(
            libc::SYS_process_vm_readv,
            &[pid, crate::sys::address(&local), 1, crate::sys::address(&remote), 1, 0],
        );
        let attached = call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, pid, 0, 0]);
        if attached.is_ok() {
            let _ = call(libc::SYS_ptrace, &[libc::PTRACE_DETACH as usize, pid, 0, 0]);
        }
        Verdict::worst([
            Verdict::refused(&format!("read memory of {pid}"), read),
            Verdict::refused(&format!("attach to {pid}"), attached),
        ])
    });
    // Tried while the child lives.
    let verdict = Verdict::worst(verdicts);
    let _ = call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]);
    wait(child);
    verdict
}

/// Pid 1 holds the descriptors through which the sandbox is controlled.
pub(crate) fn init(_: &[String]) -> Verdict {
    let links = ["exe", "root", "cwd", "ns/mnt"]
        .map(|name| Verdict::refused(&format!("follow {name}"), fs::read_link(format!("/proc/1/{name}"))));
    let files = ["mem", "environ", "maps", "auxv", "stack", "syscall"].map(|name| {
        Verdict::refused(
            &format!("read {name}"),
            fs::read(format!("/proc/1/{name}")).map(|bytes| bytes.len()),
        )
    });
    let dirs = ["fd", "fdinfo", "map_files"].map(|name| {
        Verdict::refused(&format!("list {name}"), fs::read_dir(format!("/proc/1/{name}")).map(drop))
    });
    let own = call(libc::SYS_getpid, &[]) == Ok(1);
    let pidfd = call(libc::SYS_pidfd_open, &[1, 0]).unwrap_or(-1);
    let taken = Verdict::refused("take a descriptor", call(libc::SYS_pidfd_getfd, &[pidfd as usize, 3, 0]));
    if own {
        println!("we are pid 1");
        return Verdict::NotApplicable;
    }
    Verdict::worst(links.into_iter().chain(files).chain(dirs).chain([taken]))
}

/// The kernel answers success, but an init that has not asked for a signal never gets it from inside. Whether it
/// lives, the next command in the same sandbox tells.
pub(crate) fn kill_init(_: &[String]) -> Verdict {
    for signal in 1..=64 {
        let _ = call(libc::SYS_kill, &[1, signal]);
    }
    let _ = call(libc::SYS_kill, &[usize::MAX, libc::SIGKILL as usize]);
    Verdict::Blocked
}

/// Becoming anybody else.
pub(crate) fn setuid(_: &[String]) -> Verdict {
    let attempts = [
        ("setuid 0", libc::SYS_setuid, [0, 0, 0]),
        ("setresuid 0", libc::SYS_setresuid, [0, 0, 0]),
        ("setresuid 65534", libc::SYS_setresuid, [65534, 65534, 65534]),
        ("setgid 0", libc::SYS_setgid, [0, 0, 0]),
        ("setresgid 65534", libc::SYS_setresgid, [65534, 65534, 65534]),
        ("setgroups none", libc::SYS_setgroups, [0, 0, 0]),
    ];
    Verdict::worst(
        attempts.map(|(name, number, args)| in_child(|| Verdict::refused(name, call(number, &args)))),
    )
}

/// The host's root is nobody's in here.
pub(crate) fn uid_map(_: &[String]) -> Verdict {
    Verdict::worst(["uid_map", "gid_map"].map(|name| {
        let text = fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let outside: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        Verdict::holds(&format!("{name} is {text:?}"), !outside.is_empty() && !outside.contains(&"0"))
    }))
}

/// No supplementary groups of the host.
pub(crate) fn groups(_: &[String]) -> Verdict {
    let count = call(libc::SYS_getgroups, &[0, 0]);
    Verdict::holds(&format!("supplementary groups: {count:?}"), count == Ok(0))
}

/// `signals-outside PID`: nothing is sent, only asked whether it could be.
pub(crate) fn signals_outside(arguments: &[String]) -> Verdict {
    let pid = number(arguments, 0);
    Verdict::worst([
        Verdict::refused("signal a process of the host", call(libc::SYS_kill, &[pid, 0])),
        Verdict::refused("signal a thread of the host", call(libc::SYS_tkill, &[pid, 0])),
        Verdict::refused("get hold of a process of the host", call(libc::SYS_pidfd_open, &[pid, 0])),
    ])
}

/// `host-processes MARK`: no process but ours has the mark in its arguments.
pub(crate) fn host_processes(arguments: &[String]) -> Verdict {
    let mark = argument(arguments, 0).as_bytes();
    let own = std::process::id();
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if pid != own && text.split(|&byte| byte == 0).any(|argument| argument == mark) {
            seen.push(pid);
        }
    }
    Verdict::holds(&format!("processes of the host: {seen:?}"), seen.is_empty())
}

/// `zombies COUNT`: what double forks leave is reaped by the init, soon.
pub(crate) fn zombies(arguments: &[String]) -> Verdict {
    for _ in 0..number(arguments, 0) {
        match fork() {
            Ok(None) => {
                if let Ok(None) = fork() {
                    exit(0);
                }
                exit(0)
            }
            Ok(Some(child)) => drop(wait(child)),
            Err(_) => {}
        }
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    loop {
        let left = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
            .count();
        if left <= 1 || std::time::Instant::now() > end {
            return Verdict::holds(&format!("{left} zombies are left"), left <= 1);
        }
        let _ = call(libc::SYS_sched_yield, &[]);
    }
}
