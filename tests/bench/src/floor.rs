//! The raw kernel floor: what the same work costs by bare system calls, with nothing of ours around it.
//!
//! The only module of this crate with `unsafe`.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};

/// A cgroup of the v2 tree below the one this process is in, removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    dir: File,
    freeze: File,
    events: File,
}

/// Processes in a cgroup of their own, of which one answers each byte with a byte.
#[derive(Debug)]
pub(crate) struct Echo {
    to_child: OwnedFd,
    from_child: OwnedFd,
    // Held open, so that the silent processes stay blocked in their read.
    _silence: OwnedFd,
    children: Vec<Pid>,
    cgroup: Cgroup,
}

/// The namespaces of a Linux sandbox.
pub(crate) const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWNET) as u64;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

impl Cgroup {
    /// Makes one. An error says that this host does not let us.
    pub(crate) fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = own_v2_cgroup()?.join(format!("sandboxset-bench-{}-{number}", process::id()));
        fs::create_dir(&path)?;
        Cgroup::open(&path).inspect_err(|_| {
            let _ = fs::remove_dir(&path);
        })
    }

    fn open(path: &Path) -> io::Result<Self> {
        Ok(Cgroup {
            path: path.to_path_buf(),
            dir: File::open(path)?,
            freeze: OpenOptions::new().write(true).open(path.join("cgroup.freeze"))?,
            events: File::open(path.join("cgroup.events"))?,
        })
    }

    /// Freezes and reads the state again and again until it is frozen: the notification would take 10 ms.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        rustix::io::pwrite(&self.freeze, b"1", 0)?;
        let mut text = [0_u8; 64];
        loop {
            let length = rustix::io::pread(&self.events, &mut text, 0)?;
            if text[..length].windows(8).any(|window| window == b"frozen 1") {
                return Ok(());
            }
        }
    }

    /// Thaws; the processes go on at once.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        rustix::io::pwrite(&self.freeze, b"0", 0)?;
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever put processes in it has killed and reaped them; the kill is for what an error left.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&self.path);
    }
}

impl Echo {
    /// Starts `processes` processes in a new cgroup: the last one answers, the others block in a read.
    pub(crate) fn start(processes: usize) -> io::Result<Self> {
        let cgroup = Cgroup::new()?;
        let (child_input, to_child) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (from_child, child_output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (silent_input, silence) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut echo = Echo { to_child, from_child, _silence: silence, children: Vec::new(), cgroup };
        for index in 0..processes.max(1) {
            let input = if index + 1 == processes.max(1) { &child_input } else { &silent_input };
            let (input, output) = (input.as_raw_fd(), child_output.as_raw_fd());
            let child = clone_into(&echo.cgroup, 0, || echo_bytes(input, output))?;
            echo.children.push(child);
        }
        echo.round_trip()?;
        Ok(echo)
    }

    /// The cgroup of the processes.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Sends a byte and waits for the answer.
    pub(crate) fn round_trip(&self) -> io::Result<()> {
        round_trip(self.to_child.as_fd(), self.from_child.as_fd())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        for child in &self.children {
            // They are our own unreaped children, so that their numbers cannot be anyone else's.
            let _ = rustix::process::kill_process(*child, rustix::process::Signal::KILL);
        }
        for child in &self.children {
            let _ = waitpid(Some(*child), WaitOptions::empty());
        }
    }
}

/// Sends a byte and waits for the answer, but not for ever. The floor and the sandboxes are asked by the same code.
pub(crate) fn round_trip(to: BorrowedFd<'_>, from: BorrowedFd<'_>) -> io::Result<()> {
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut byte = [7_u8];
    rustix::io::write(to, &byte)?;
    if poll(&mut [PollFd::from_borrowed_fd(from, PollFlags::IN)], Some(&patience))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
    }
    match rustix::io::read(from, &mut byte)? {
        1 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the process that answers is gone")),
    }
}

/// Clones a child with the namespaces of a sandbox into the cgroup; the child exits at once; waits for it.
pub(crate) fn clone_and_wait(cgroup: &Cgroup, namespaces: u64) -> io::Result<()> {
    // SAFETY: `_exit` is async-signal-safe and does not return.
    let child = clone_into(cgroup, namespaces, || unsafe { libc::_exit(0) })?;
    wait_for_success(child)
}

/// A program and its arguments, ready to be spawned again and again.
#[derive(Debug)]
pub(crate) struct Program {
    // The pointers below point into these strings.
    _strings: Vec<CString>,
    pointers: Vec<*mut libc::c_char>,
}

impl Program {
    /// The first argument is the path of the program.
    pub(crate) fn new(args: &[&str]) -> io::Result<Self> {
        if args.is_empty() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let strings = args.iter().map(|arg| CString::new(*arg)).collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|arg| arg.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
        Ok(Program { _strings: strings, pointers })
    }

    /// `posix_spawn` and `waitpid`, with an empty environment; an error if it does not exit with 0.
    pub(crate) fn spawn_and_wait(&self) -> io::Result<()> {
        let mut pid = 0;
        let no_environment: [*mut libc::c_char; 1] = [ptr::null_mut()];
        // SAFETY: all pointers are valid for the call: the arguments are NUL-terminated strings owned by `self`,
        // both arrays end with NULL, and the attributes may be null.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.pointers[0],
                ptr::null(),
                ptr::null(),
                self.pointers.as_ptr(),
                no_environment.as_ptr(),
            )
        };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        wait_for_success(Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?)
    }
}

fn wait_for_success(child: Pid) -> io::Result<()> {
    let status = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    match status {
        Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
        status => Err(io::Error::other(format!("the child ended with {status:?}"))),
    }
}

/// `clone3` straight into a cgroup. `run` is all that the child does; it must only make system calls, because the
/// other threads of this process, and the locks they hold, do not exist in the child.
fn clone_into(cgroup: &Cgroup, namespaces: u64, run: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP | namespaces;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.dir.as_raw_fd() as u64;
    // SAFETY: `args` is valid for its size. Without CLONE_VM the child has its own copy of the memory and stack,
    // as after `fork`, and below it makes nothing but system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        run();
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(0) }
    }
    let pid = i32::try_from(pid).unwrap_or(-1);
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::Other))
}

/// The descriptor that a sandbox's runtime says it is ready on.
pub(crate) fn ready_descriptor() -> io::Result<File> {
    // SAFETY: the protocol of runtimes hands descriptor 3 to this process and to nobody else in it; whether it is
    // open is checked before it is used.
    let file = unsafe { File::from_raw_fd(3) };
    match rustix::io::fcntl_getfd(&file) {
        Ok(_) => Ok(file),
        Err(error) => {
            // It is not open, so that there is nothing to close either.
            std::mem::forget(file);
            Err(error.into())
        }
    }
}

/// What an echo process does until its input ends, or until the thread that made it ends.
fn echo_bytes(input: RawFd, output: RawFd) {
    let mut byte = 0_u8;
    // SAFETY: the calls are async-signal-safe, the descriptors are open in the child, and the buffer is one byte.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        while libc::read(input, (&raw mut byte).cast(), 1) == 1 {
            if libc::write(output, (&raw const byte).cast(), 1) != 1 {
                return;
            }
        }
    }
}

/// The directory of the v2 cgroup that this process is in.
pub(crate) fn own_v2_cgroup() -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 tree is mounted");
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(none)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let (root, point) = mounts.lines().find_map(v2_mount).ok_or_else(none)?;
    let below = Path::new(own).strip_prefix(root).map_err(|_| none())?;
    Ok(Path::new(point).join(below))
}

/// The directory of the cgroup that this process is in for a v1 controller, if there is one for it.
pub(crate) fn own_v1_cgroup(controller: &str) -> Option<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = cgroups.lines().find_map(|line| {
        let (controllers, own) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(own)
    })?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let is_it = |line: &&str| {
        let options = line.rsplit(' ').next().unwrap_or_default();
        line.contains(" - cgroup ") && options.split(',').any(|name| name == controller)
    };
    let (root, point) = mount(mounts.lines().find(is_it)?.split_once(" - ")?.0)?;
    Some(Path::new(point).join(Path::new(own).strip_prefix(root).ok()?))
}

/// Root and mount point, if the line of mountinfo is about a v2 tree.
fn v2_mount(line: &str) -> Option<(&str, &str)> {
    let (left, file_system) = line.split_once(" - ")?;
    if file_system.starts_with("cgroup2 ") { mount(left) } else { None }
}

/// Root and mount point of a line of mountinfo.
fn mount(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ');
    Some((fields.nth(3)?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_gives_root_and_point() {
        let v2 = "43 32 0:37 /a /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(v2_mount(v2), Some(("/a", "/sys/fs/cgroup/unified")));
        assert_eq!(v2_mount("43 32 0:37 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
    }

    #[test]
    fn a_program_that_fails_is_an_error() {
        Program::new(&["/bin/true"]).unwrap().spawn_and_wait().unwrap();
        Program::new(&["/bin/false"]).unwrap().spawn_and_wait().unwrap_err();
        Program::new(&["/no/such/program"]).unwrap().spawn_and_wait().unwrap_err();
    }

    #[test]
    fn frozen_processes_answer_again_once_thawed_and_leave_no_cgroup() {
        let echo = match Echo::start(2) {
            Ok(echo) => echo,
            Err(error) => {
                println!("SKIPPED: no writable cgroup: {error}");
                return;
            }
        };
        let path = echo.cgroup.path.clone();
        for _ in 0..10 {
            echo.cgroup().freeze().unwrap();
            let events = fs::read_to_string(path.join("cgroup.events")).unwrap();
            assert!(events.contains("frozen 1"), "{events}");
            echo.cgroup().thaw().unwrap();
            echo.round_trip().unwrap();
        }
        clone_and_wait(&echo.cgroup, NAMESPACES).unwrap();
        drop(echo);
        assert!(!path.exists());
    }
}
