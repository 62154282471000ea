//! What a command is handed: descriptors, working directory, environment, attributes, rights.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::sys::{address, address_mut, call, in_child};
use crate::{Verdict, argument, number};

/// A line of the caller's own status.
fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or("missing").trim().to_owned()
}

/// A mask of the caller's own status; a missing one is the worst.
fn mask(key: &str) -> u64 {
    u64::from_str_radix(&status(key), 16).unwrap_or(u64::MAX)
}

/// Only the standard streams are open.
pub(crate) fn fds(_: &[String]) -> Verdict {
    let open: Vec<usize> =
        (0..4096).filter(|&fd| call(libc::SYS_fcntl, &[fd, libc::F_GETFD as usize]).is_ok()).collect();
    for fd in &open {
        println!("{fd}: {:?}", fs::read_link(format!("/proc/self/fd/{fd}")));
    }
    Verdict::holds("only descriptors 0 to 2 are open", open.iter().all(|&fd| fd <= 2))
}

/// The working directory is inside, and no number of `..` leads out.
pub(crate) fn cwd(_: &[String]) -> Verdict {
    let mut buffer = [0u8; 4096];
    let length = call(libc::SYS_getcwd, &[address_mut(&mut buffer), buffer.len()]).unwrap_or(0) as usize;
    let path = String::from_utf8_lossy(&buffer[..length.saturating_sub(1)]).into_owned();
    let reached =
        Verdict::holds(&format!("the working directory {path:?} is reachable"), path.starts_with('/'));
    let root = fs::metadata("/").map(|root| (root.dev(), root.ino()));
    let above = fs::metadata("../".repeat(64)).map(|above| (above.dev(), above.ino()));
    let same = matches!((&root, &above), (Ok(root), Ok(above)) if root == above);
    Verdict::worst([reached, Verdict::holds(&format!("64 times .. is the root: {root:?} {above:?}"), same)])
}

/// The program of the init and of our parent cannot be had: neither read nor, worse, written.
pub(crate) fn selfexe(_: &[String]) -> Verdict {
    let parent = call(libc::SYS_getppid, &[]).unwrap_or(1);
    let mut verdicts = Vec::new();
    for pid in [1, parent] {
        let path = format!("/proc/{pid}/exe");
        verdicts.push(Verdict::refused(&format!("read the link {path}"), fs::read_link(&path)));
        verdicts.push(Verdict::refused(&format!("open {path}"), fs::File::open(&path)));
        let written = fs::OpenOptions::new().write(true).open(&path);
        verdicts.push(Verdict::refused(&format!("open {path} for writing"), written));
    }
    Verdict::worst(verdicts)
}

/// While commands are started beside us for `MILLISECONDS`: whoever joins is never seen before it is one of us.
pub(crate) fn race_join(arguments: &[String]) -> Verdict {
    let end = std::time::Instant::now() + std::time::Duration::from_millis(number(arguments, 0) as u64);
    let (own, own_exe) = (std::process::id(), fs::read_link("/proc/self/exe").unwrap_or_default());
    let (mut looked, mut seen) = (0u64, std::collections::BTreeSet::new());
    while std::time::Instant::now() < end {
        for pid in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = pid.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if pid == own {
                continue;
            }
            looked += 1;
            seen.insert(pid);
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            if let Ok(exe) = &exe
                && *exe != own_exe
            {
                return Verdict::refused(&format!("see {exe:?} of {pid}"), Ok::<_, i32>(()));
            }
            for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let number = fd.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(0u32);
                // A look at a command of ours that is there after its start.
                if number > 2 && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != own_exe) {
                    return Verdict::refused(&format!("see descriptor {number} of {pid}"), Ok::<_, i32>(()));
                }
            }
            // Unlike PTRACE_ATTACH it stops nobody, so that outside nothing is left behind.
            let seized = call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, pid as usize]);
            if seized.is_ok() {
                return Verdict::refused(&format!("attach to {pid}"), seized);
            }
        }
    }
    println!("looked {looked} times at {} processes", seen.len());
    Verdict::Blocked
}

/// `env PREFIX`: no variable but what a command is given.
pub(crate) fn env(arguments: &[String]) -> Verdict {
    const GIVEN: [&str; 3] = ["PATH", "HOME", "LANG"];
    let names: Vec<String> =
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    println!("{names:?}");
    let own = Verdict::holds("own environment", names.iter().all(|name| GIVEN.contains(&name.as_str())));
    let init = fs::read_to_string("/proc/1/environ").unwrap_or_default();
    Verdict::worst([own, Verdict::holds("pid 1's environment", !init.contains(argument(arguments, 0)))])
}

/// Signal mask and dispositions, umask, limits and what prctl keeps are those of the table.
pub(crate) fn attrs(_: &[String]) -> Verdict {
    let limit = |resource: u32| {
        let mut value = [0u64; 2];
        let args = [0, resource as usize, 0, address_mut(&mut value)];
        call(libc::SYS_prlimit64, &args).map(|_| value)
    };
    let control = |option: i32| call(libc::SYS_prctl, &[option as usize, 0, 0, 0, 0]);
    let timer_slack = control(libc::PR_GET_TIMERSLACK);
    let terminal = fs::File::open("/dev/tty");
    let umask = status("Umask");
    let checks = [
        ("no signal is blocked", mask("SigBlk") == 0),
        ("no signal is ignored", mask("SigIgn") == 0),
        ("umask 0022", umask == "0022"),
        ("core dumps of at most 1 byte", limit(libc::RLIMIT_CORE).is_ok_and(|value| value == [1, 1])),
        ("at most 1024 descriptors", limit(libc::RLIMIT_NOFILE).is_ok_and(|value| value[1] <= 1024)),
        ("at most 64 processes", limit(libc::RLIMIT_NPROC).is_ok_and(|value| value[1] <= 64)),
        ("at most 64 KiB locked", limit(libc::RLIMIT_MEMLOCK).is_ok_and(|value| value[1] <= 64 << 10)),
        ("no realtime priority", limit(libc::RLIMIT_RTPRIO).is_ok_and(|value| value[1] == 0)),
        ("the usual timer slack", timer_slack == Ok(50_000)),
        ("no secure bits", control(libc::PR_GET_SECUREBITS) == Ok(0)),
        ("no subreaper", {
            let mut value = 1i32;
            let args = [libc::PR_GET_CHILD_SUBREAPER as usize, address_mut(&mut value)];
            call(libc::SYS_prctl, &args).is_ok() && value == 0
        }),
        ("the usual execution domain", call(libc::SYS_personality, &[0xffff_ffff]) == Ok(0)),
        ("the usual scheduler", call(libc::SYS_sched_getscheduler, &[0]) == Ok(0)),
        ("a session of its own", call(libc::SYS_getsid, &[0]) == Ok(i64::from(std::process::id()))),
        ("no controlling terminal", terminal.is_err()),
    ];
    println!("umask {umask}, timer slack {timer_slack:?}, ignored {:x}", mask("SigIgn"));
    Verdict::worst(checks.map(|(what, holds)| Verdict::holds(what, holds)))
}

/// No capability in any set.
pub(crate) fn caps(_: &[String]) -> Verdict {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    Verdict::worst(sets.map(|set| Verdict::holds(&format!("{set} {:x} is empty", mask(set)), mask(set) == 0)))
}

/// `file-caps PROGRAM`: this program again, from a file with capabilities, has none. Not in the bounding set, which
/// outside is full.
pub(crate) fn file_caps(arguments: &[String]) -> Verdict {
    if number(arguments, 1) == 1 {
        return Verdict::holds(&format!("CapEff {:x} is empty", mask("CapEff")), mask("CapEff") == 0);
    }
    execute(&[argument(arguments, 0), "file-caps", "-", "1"])
}

/// `setuid-program PROGRAM`: this program again, from a file that is setuid root, is not root.
pub(crate) fn setuid_program(arguments: &[String]) -> Verdict {
    if number(arguments, 1) == 1 {
        let uid = call(libc::SYS_geteuid, &[]);
        return Verdict::holds(&format!("the effective user is {uid:?}"), uid != Ok(0));
    }
    execute(&[argument(arguments, 0), "setuid-program", "-", "1"])
}

fn execute(arguments: &[&str]) -> Verdict {
    in_child(|| {
        let strings: Vec<CString> =
            arguments.iter().filter_map(|argument| CString::new(*argument).ok()).collect();
        let mut pointers: Vec<usize> =
            strings.iter().map(|string| address(string.as_bytes_with_nul())).collect();
        pointers.push(0);
        let result = call(libc::SYS_execve, &[pointers[0], address(&*pointers), 0]);
        println!("cannot execute {arguments:?}: {result:?}");
        Verdict::NotApplicable
    })
}

/// The flag that makes setuid programs harmless is set.
pub(crate) fn nnp(_: &[String]) -> Verdict {
    let flag = call(libc::SYS_prctl, &[libc::PR_GET_NO_NEW_PRIVS as usize, 0, 0, 0, 0]);
    Verdict::holds(&format!("no_new_privs is {flag:?}"), flag == Ok(1))
}

/// A filter is installed.
pub(crate) fn seccomp(_: &[String]) -> Verdict {
    let mode = status("Seccomp");
    Verdict::holds(&format!("the seccomp mode is {mode}"), mode == "2")
}

/// Typing into the controlling terminal, with and without a bit that the kernel ignores.
pub(crate) fn tiocsti(_: &[String]) -> Verdict {
    in_child(|| {
        let terminal = own_terminal();
        println!("own terminal: {terminal:?}");
        let fd = terminal.as_ref().map_or(0, |(_, slave)| slave.as_raw_fd() as usize);
        let verdict = Verdict::worst([0, 1 << 32].map(|high| {
            let result = call(libc::SYS_ioctl, &[fd, libc::TIOCSTI as usize | high, address(b"x")]);
            // Without a terminal only the filter's own answer says that it is refused.
            match result {
                Err(errno) if errno != libc::EPERM && errno != libc::EIO => {
                    Verdict::holds(&format!("TIOCSTI {high:x} is filtered: {errno}"), false)
                }
                result => Verdict::refused(&format!("TIOCSTI {high:x}"), result),
            }
        }));
        // Its end would be a signal for whoever it is the terminal of.
        std::mem::forget(terminal);
        verdict
    })
}

fn own_terminal() -> std::io::Result<(fs::File, fs::File)> {
    let kernel = std::io::Error::from_raw_os_error;
    call(libc::SYS_setsid, &[]).map_err(kernel)?;
    let master = fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx")?;
    let (unlocked, mut number) = (0i32, 0u32);
    let fd = master.as_raw_fd() as usize;
    call(libc::SYS_ioctl, &[fd, libc::TIOCSPTLCK as usize, address(&unlocked)]).map_err(kernel)?;
    call(libc::SYS_ioctl, &[fd, libc::TIOCGPTN as usize, address_mut(&mut number)]).map_err(kernel)?;
    // Opened by the leader of a session without a terminal, it becomes that.
    let slave = fs::OpenOptions::new().read(true).write(true).open(format!("/dev/pts/{number}"))?;
    Ok((master, slave))
}

/// Twenty crashes leave no core dump, whatever the limit is raised to.
pub(crate) fn core(_: &[String]) -> Verdict {
    let mut limit = [0u64; 2];
    let get = call(libc::SYS_prlimit64, &[0, libc::RLIMIT_CORE as usize, 0, address_mut(&mut limit)]);
    limit[0] = limit[1];
    let set = call(libc::SYS_prlimit64, &[0, libc::RLIMIT_CORE as usize, address(&limit), 0]);
    println!("limit {limit:?} {get:?} {set:?}");
    let dumped = (0..20).any(|_| match crate::sys::fork() {
        Ok(None) => {
            let own = std::process::id() as usize;
            let _ = call(libc::SYS_kill, &[own, libc::SIGQUIT as usize]);
            crate::sys::exit(0)
        }
        Ok(Some(child)) => libc::WCOREDUMP(crate::sys::wait(child)),
        Err(_) => false,
    });
    Verdict::holds("nothing is dumped", !dumped)
}
