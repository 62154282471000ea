//! Becoming a program: what a command's own process does between its birth and the first instruction of the program.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use sandboxset_keeper::{Failure, READY_FD};

use super::{confine, failure};
use crate::seccomp::Filter;
use crate::sys::{self, CStrings, ChildStack};

/// What a process is to run and with what.
pub(super) struct Program<'a> {
    pub(super) args: &'a [Vec<u8>],
    pub(super) env: &'a [Vec<u8>],
    pub(super) cwd: &'a [u8],
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// Become [`READY_FD`] and the numbers after it.
    pub(super) extra: Vec<BorrowedFd<'a>>,
    pub(super) filter: Option<&'a Filter>,
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<u64>,
}

/// What is executed, complete before the process that executes it exists.
struct Image {
    /// Where the program may be, in the order in which they are tried.
    candidates: Vec<CString>,
    args: CStrings,
    env: CStrings,
}

impl Program<'_> {
    /// Starts a process that becomes the program. Returns when it has, or with what kept it from it.
    pub(super) fn spawn(&self, stack: &mut ChildStack) -> Result<i32, Failure> {
        let image = Image::new(self)?;
        // The child writes to our memory what went wrong; if it executed its program, nothing did.
        let mut failed = None;
        let started = sys::clone_sharing_memory(self.cgroup, stack, || {
            failed = Some(self.become_it(&image));
        });
        match (started, failed) {
            (Ok(pid), None) => Ok(pid.as_raw_nonzero().get()),
            (Ok(_), Some(failure)) => Err(failure),
            (Err(errno), _) => Err(failure("start the command", errno)),
        }
    }

    /// The child's side: returns only what went wrong.
    fn become_it(&self, image: &Image) -> Failure {
        match self.prepare() {
            Ok(()) => image.execute(),
            Err(failure) => failure,
        }
    }

    fn prepare(&self) -> Result<(), Failure> {
        rustix::process::setsid().map_err(|errno| failure("make a session", errno))?;
        for (number, fd) in self.stdio.iter().enumerate() {
            sys::dup_to(fd, number as i32).map_err(|errno| failure("set up the standard streams", errno))?;
        }
        let mut first_private = READY_FD;
        for fd in &self.extra {
            sys::dup_to(fd, first_private).map_err(|errno| failure("set up the descriptors", errno))?;
            first_private += 1;
        }
        sys::close_on_exec_from(first_private).map_err(|errno| failure("close descriptors", errno))?;
        change_dir(self.cwd)?;
        confine::tighten(self.memory_bytes, self.cpu_seconds)?;
        sys::unblock_all_signals();
        let installed = self.filter.map_or(Ok(()), Filter::install);
        installed.map_err(|error| match error {
            seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => Failure {
                step: "install the system call filter".into(),
                errno: cause.raw_os_error().unwrap_or(0),
            },
            error => Failure { step: format!("install the system call filter: {error}"), errno: 0 },
        })
    }
}

impl Image {
    fn new(program: &Program<'_>) -> Result<Self, Failure> {
        let read = |errno| failure("read the arguments", errno);
        let args = CStrings::new(program.args).map_err(read)?;
        let env = CStrings::new(program.env).map_err(read)?;
        let name = args.strings().first().ok_or_else(|| read(Errno::INVAL))?;
        let candidates = if name.to_bytes().contains(&b'/') {
            vec![name.clone()]
        } else {
            let path = env.strings().iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
            path.unwrap_or_default()
                .split(|&byte| byte == b':')
                .filter(|dir| !dir.is_empty())
                .filter_map(|dir| CString::new([dir, b"/", name.to_bytes()].concat()).ok())
                .collect()
        };
        Ok(Image { candidates, args, env })
    }

    /// Returns only if no candidate could be executed.
    fn execute(&self) -> Failure {
        let mut result = Errno::NOENT;
        for candidate in &self.candidates {
            match sys::execve(candidate, &self.args, &self.env) {
                Errno::NOENT | Errno::NOTDIR if self.candidates.len() > 1 => {}
                // As a shell does: go on looking, but remember that something was there.
                Errno::ACCESS => result = Errno::ACCESS,
                errno => {
                    result = errno;
                    break;
                }
            }
        }
        let name = self.args.strings().first().map(|name| name.to_string_lossy()).unwrap_or_default();
        failure(&format!("execute {name}"), result)
    }
}

/// Enters the working directory, and makes sure that it lies in the sandbox's root.
fn change_dir(cwd: &[u8]) -> Result<(), Failure> {
    let path = CString::new(cwd).map_err(|_| failure("enter the working directory", Errno::INVAL))?;
    rustix::process::chdir(&*path).map_err(|errno| failure("enter the working directory", errno))?;
    let actual =
        rustix::process::getcwd(Vec::new()).map_err(|errno| failure("enter the working directory", errno))?;
    if !actual.to_bytes().starts_with(b"/") {
        return Err(failure("enter the working directory", Errno::XDEV));
    }
    Ok(())
}
