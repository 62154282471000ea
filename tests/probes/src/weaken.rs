//! What the harness needs of a process that is no sandbox, or hardly one.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use crate::sys::{address, call, ignore};

/// `weakened FLAGS NAME …`: takes namespaces of its own, of `mount`, `uts`, `net`, `ipc`, or becomes a subreaper
/// that reaps nobody, or moves its root away from its working directory, or into a directory (`root=DIR`).
pub(crate) fn weaken(arguments: &[String]) -> Result<&[String], String> {
    let (flags, rest) = arguments.split_first().ok_or("no flags")?;
    for flag in flags.split(',') {
        let done = match flag.split_once('=') {
            Some(("root", dir)) => chroot(dir).and_then(|()| chdir("/")),
            _ => match flag {
                "mount" => unshare(libc::CLONE_NEWNS).and_then(|()| private()),
                "uts" => unshare(libc::CLONE_NEWUTS),
                "net" => unshare(libc::CLONE_NEWNET),
                "ipc" => unshare(libc::CLONE_NEWIPC),
                "subreaper" => call(libc::SYS_prctl, &[libc::PR_SET_CHILD_SUBREAPER as usize, 1]).map(drop),
                "outside" => chdir("/").and_then(|()| chroot("/usr")),
                _ => return Err(format!("what is {flag}?")),
            },
        };
        done.map_err(|errno| format!("{flag}: errno {errno}"))?;
    }
    Ok(rest)
}

fn unshare(flag: i32) -> Result<(), i32> {
    call(libc::SYS_unshare, &[flag as usize]).map(drop)
}

/// Nothing that is mounted from now on reaches the machine.
fn private() -> Result<(), i32> {
    let flags = (libc::MS_REC | libc::MS_PRIVATE) as usize;
    call(libc::SYS_mount, &[0, address(c"/".to_bytes_with_nul()), 0, flags, 0]).map(drop)
}

fn chroot(dir: &str) -> Result<(), i32> {
    let dir = CString::new(dir).map_err(|_| libc::EINVAL)?;
    call(libc::SYS_chroot, &[address(dir.as_bytes_with_nul())]).map(drop)
}

fn chdir(dir: &str) -> Result<(), i32> {
    std::env::set_current_dir(dir).map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// `odd-start PROGRAM [ARGUMENT…]`: a host with everything that must not be handed on: 200 descriptors of all kinds,
/// all signals ignored and blocked, SIGCHLD among them, a umask, a timer slack.
pub(crate) fn odd_start(arguments: &[String]) -> u8 {
    for number in 0..50 {
        let name = format!("odd-{number}\0");
        let path = |path: &str| [path.as_bytes(), b"\0"].concat();
        let (dir, file) = (path("/etc"), path("/etc/passwd"));
        let current = libc::AT_FDCWD as usize;
        for result in [
            call(libc::SYS_openat, &[current, address(&*dir), libc::O_DIRECTORY as usize]),
            call(libc::SYS_openat, &[current, address(&*file), 0]),
            call(libc::SYS_socket, &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0]),
            call(libc::SYS_memfd_create, &[address(name.as_bytes()), 0]),
        ] {
            if let Err(errno) = result {
                println!("cannot open: {errno}");
                return 2;
            }
        }
    }
    for signal in (1..=64).filter(|signal| ![32, 33].contains(signal)) {
        ignore(signal);
    }
    let all = u64::MAX;
    let steps = [
        call(libc::SYS_rt_sigprocmask, &[libc::SIG_SETMASK as usize, address(&all), 0, 8]),
        call(libc::SYS_umask, &[0o077]),
        call(libc::SYS_prctl, &[libc::PR_SET_TIMERSLACK as usize, 123_456]),
    ];
    println!("odd: {steps:?}");
    let strings = |list: Vec<Vec<u8>>| -> Vec<CString> {
        list.into_iter().filter_map(|bytes| CString::new(bytes).ok()).collect()
    };
    let args = strings(arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect());
    let env = strings(
        std::env::vars_os()
            .map(|(key, value)| [key.into_vec(), b"=".to_vec(), value.into_vec()].concat())
            .collect(),
    );
    let pointers = |list: &[CString]| -> Vec<usize> {
        list.iter().map(|string| address(string.as_bytes_with_nul())).chain([0]).collect()
    };
    let (args_at, env_at) = (pointers(&args), pointers(&env));
    let result = call(libc::SYS_execve, &[args_at[0], address(&*args_at), address(&*env_at)]);
    println!("cannot execute {arguments:?}: {result:?}");
    2
}
