//! The system calls that no safe crate offers. All unsafe code of the keeper is here.

use std::ffi::{CStr, CString, c_int, c_long};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

/// The crate's constant is too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork the caller is on.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The caller, with the new process's id and pidfd.
    Parent(Pid, OwnedFd),
}

/// How a child ended.
pub(crate) struct Ended {
    /// The child.
    pub(crate) pid: i32,
    /// The exit code, if it exited.
    pub(crate) exit_code: Option<i32>,
    /// The signal, if one ended it.
    pub(crate) signal: Option<i32>,
    /// CPU time of it and of its waited-for children, in microseconds.
    pub(crate) cpu_us: u64,
    /// The largest resident size among them, in bytes.
    pub(crate) peak_memory_bytes: u64,
}

/// Clones this process with the given namespace flags, straight into a cgroup if one is given.
///
/// Sound because the keeper and the inits have one thread: the child has a full copy of a consistent process.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain old data, for which all zeroes is valid and means "default" throughout.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the call acts as fork does; args and pidfd live across it, and the process has one
    // thread, so that no lock can be held by a thread which the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => {
            let pid = Pid::from_raw(pid as i32).ok_or(Errno::CHILD)?;
            // SAFETY: on success the kernel stored a new descriptor, which nothing else owns.
            Ok(Forked::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
        _ => Err(last_errno()),
    }
}

/// Runs `child` in a new process that shares our memory, and suspends us until that process lets go of that, to execute
/// a program or to end. There is nothing to copy, so this takes a third of the time of a fork.
///
/// We may go on a moment before it has the program's memory for ours.
///
/// `child` must not leave anything allocated when it executes: it would stay allocated here. When it returns, its
/// process ends.
#[cfg(target_arch = "x86_64")]
pub(crate) fn clone_sharing_memory<F: FnOnce()>(
    cgroup: Option<BorrowedFd<'_>>,
    stack: &mut ChildStack,
    child: F,
) -> Result<Pid, Errno> {
    extern "C" fn run<F: FnOnce()>(child: *mut Option<F>) -> ! {
        // SAFETY: the pointer is to the caller's local variable, and the caller is suspended.
        if let Some(child) = unsafe { &mut *child }.take() {
            child();
        }
        exit(127)
    }
    let mut child = Some(child);
    // SAFETY: clone_args is plain old data, for which all zeroes is valid and means "default" throughout.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = stack.0.as_mut_ptr() as u64;
    args.stack_size = size_of_val(&*stack.0) as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let result: i64;
    // SAFETY: the parent takes the jump and sees an ordinary system call. The child starts after the instruction with
    // the top of its own stack, which is aligned as a call needs it, and leaves this block only by `run`, which never
    // returns; so no frame of ours is used by two processes. Being suspended we touch nothing while it runs.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw mut args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") &raw mut child,
            in("r13") run::<F> as extern "C" fn(*mut Option<F>) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match result {
        pid if pid > 0 => Pid::from_raw(pid as i32).ok_or(Errno::CHILD),
        error => Err(Errno::from_raw_os_error(-error as i32)),
    }
}

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the keeper starts commands with a few instructions that are written for x86-64 only");

/// A stack for children that share our memory; one is enough, because only one of them runs before it executes.
pub(crate) struct ChildStack(Box<[u128]>);

impl ChildStack {
    /// 256 KiB, touched only as far as it is used: of a plain number the allocator knows that fresh pages hold zeroes,
    /// of an array of them it does not.
    pub(crate) fn new() -> Self {
        const BYTES: usize = 256 << 10;
        ChildStack(vec![0; BYTES / size_of::<u128>()].into_boxed_slice())
    }
}

/// NUL-terminated strings, and the array that the kernel wants of them.
pub(crate) struct CStrings {
    strings: Vec<CString>,
    /// Into `strings`, with a NULL at the end.
    pointers: Vec<*const libc::c_char>,
}

impl CStrings {
    /// Fails on a NUL inside a string.
    pub(crate) fn new(strings: &[Vec<u8>]) -> Result<Self, Errno> {
        let strings: Result<Vec<CString>, _> =
            strings.iter().map(|bytes| CString::new(bytes.as_slice())).collect();
        let strings = strings.map_err(|_| Errno::INVAL)?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(CStrings { strings, pointers })
    }

    pub(crate) fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces this process. Returns only on failure.
pub(crate) fn execve(program: &CStr, args: &CStrings, env: &CStrings) -> Errno {
    // SAFETY: program is NUL-terminated, and both arrays end with NULL and point to strings that they come with.
    unsafe { libc::execve(program.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    last_errno()
}

/// Ends this process without running destructors, which belong to the process that this one is a copy of.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: _exit takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by the program in a file. Returns only on failure.
pub(crate) fn execute_file(program: impl AsFd) -> Errno {
    let none: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: the path is a NUL-terminated empty string, and both arrays end with NULL.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            none.as_ptr(),
            none.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

/// Gives the kernel the pages of the heap that nothing is on any more, where the C library can.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing that is allocated.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Blocks every signal that can be blocked.
pub(crate) fn block_all_signals() {
    // SAFETY: the set is initialised by sigfillset before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Gives every signal its default disposition, which children inherit.
pub(crate) fn reset_dispositions() {
    // What the kernel calls a sigaction, handler first; all zeroes is the default disposition without flags.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // By system call, because the C library refuses the two signals that it uses itself and that a host may
        // have left ignored. The kernel refuses the two that nobody can change, which is fine.
        // SAFETY: the structure is as large as the kernel's largest, and the old one is not asked for.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
}

/// Unblocks every signal.
pub(crate) fn unblock_all_signals() {
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// A descriptor that is readable when a child ended.
pub(crate) fn child_signalfd() -> Result<OwnedFd, Errno> {
    // SAFETY: the set is initialised before it is used; a returned descriptor is new and owned by nobody else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))
    }
}

/// Reaps one ended child, if there is one.
pub(crate) fn reap() -> Option<Ended> {
    reap_with(libc::WNOHANG)
}

fn reap_with(options: c_int) -> Option<Ended> {
    let mut status: c_int = 0;
    let (pid, usage) = loop {
        // SAFETY: rusage is plain old data, and both pointers are valid for the call.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(-1, &raw mut status, options, &raw mut usage), usage)
        };
        if pid > 0 {
            break (pid, usage);
        }
        if pid == 0 || last_errno() != Errno::INTR {
            return None;
        }
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    Some(Ended {
        pid,
        exit_code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        peak_memory_bytes: usage.ru_maxrss as u64 * 1024,
    })
}

/// Waits for any child to end and reaps it; `None` if there is no child.
pub(crate) fn reap_next() -> Option<Ended> {
    reap_with(0)
}

/// Removes every System V IPC object of this process's namespace. Returns how many are left.
pub(crate) fn remove_sysv_ipc() -> Result<usize, Errno> {
    /// A kind of object: its control call, what asks for all of them and for the one at an index, and which number
    /// of the answer to the former says how many there are.
    const KINDS: [(c_long, c_int, c_int, usize); 3] =
        [(libc::SYS_shmctl, 14, 15, 0), (libc::SYS_semctl, 19, 20, 7), (libc::SYS_msgctl, 12, 13, 0)];
    let mut left = 0;
    for (call, info, stat_any, used) in KINDS {
        // Larger than any structure that these calls fill.
        let mut answer = [0i32; 128];
        let mut control = |id: c_int, command: c_int| {
            // SAFETY: the kernel writes at most the structure of the command, which the array is larger than; a
            // removal ignores the pointer.
            let result = unsafe {
                match call {
                    libc::SYS_semctl => libc::syscall(call, id, 0, command, answer.as_mut_ptr()),
                    _ => libc::syscall(call, id, command, answer.as_mut_ptr()),
                }
            };
            if result < 0 { Err(last_errno()) } else { Ok((result as c_int, answer)) }
        };
        let (last, _) = control(0, info)?;
        for index in 0..=last {
            // Nothing has this index.
            let Ok((id, _)) = control(index, stat_any) else { continue };
            match control(id, libc::IPC_RMID) {
                Ok(_) | Err(Errno::INVAL | Errno::IDRM) => {}
                Err(errno) => return Err(errno),
            }
        }
        left += usize::try_from(control(0, info)?.1[used]).unwrap_or(0);
    }
    Ok(left)
}

/// `kill(2)` with all its meanings of a pid: a process, minus a process group, or -1 for everybody.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes any numbers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Sets attributes of a mount and of all mounts below it.
pub(crate) fn mount_setattr(mount: impl AsFd, set: u64) -> Result<(), Errno> {
    change_mount(mount.as_fd(), set, 0, libc::AT_RECURSIVE)
}

/// Sets attributes of one mount only.
pub(crate) fn mount_setattr_one(mount: impl AsFd, set: u64) -> Result<(), Errno> {
    change_mount(mount.as_fd(), set, 0, 0)
}

/// Takes attributes from one mount.
pub(crate) fn clear_mount_attributes(mount: impl AsFd, clear: u64) -> Result<(), Errno> {
    change_mount(mount.as_fd(), 0, clear, 0)
}

fn change_mount(mount: BorrowedFd<'_>, set: u64, clear: u64, flags: c_int) -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a NUL-terminated empty string and attr is valid for the size given.
    let result: c_long = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as c_int)
}

/// Makes `to` a copy of `from` that survives exec.
pub(crate) fn dup_to(from: impl AsFd, to: RawFd) -> Result<(), Errno> {
    let from = from.as_fd().as_raw_fd();
    if from == to {
        // dup2 onto itself would leave the close-on-exec flag on.
        // SAFETY: the descriptor is open, and F_SETFD takes an integer.
        return check(unsafe { libc::fcntl(from, libc::F_SETFD, 0) });
    }
    // SAFETY: from is open; what `to` was before is closed, which callers intend.
    check(unsafe { libc::dup2(from, to) })
}

/// Moves a descriptor to a number at or above `least`, so that low numbers can be given out.
pub(crate) fn dup_above(fd: impl AsFd, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor is open; the result is new and owned by nobody else.
    unsafe { owned(libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, least)) }
}

/// Closes every descriptor from `first` on. The caller must not use a descriptor in that range afterwards; in
/// a process about to exec or a fresh copy of the keeper nobody does.
pub(crate) fn close_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: closing descriptors is memory-safe; owners of them in this copied process never run again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, 0u32) };
    check(result as c_int)
}

/// Marks every descriptor from `first` on as close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: with this flag nothing is closed now.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result as c_int)
}

/// Takes ownership of a descriptor that this process was started with.
pub(crate) fn inherit(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per descriptor, by the process that it was prepared for.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Leaves the cgroup namespace for a new one, rooted at the cgroups this process is in.
pub(crate) fn unshare_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: the process has one thread, so no other code relies on what stops being shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// Leaves the user namespace for a new one below it, in which this process has every capability.
pub(crate) fn unshare_user_namespace() -> Result<(), Errno> {
    // SAFETY: the process has one thread, so no other code relies on what stops being shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
}

/// Leaves the network namespace for a new one that belongs to the user namespace of this process.
pub(crate) fn unshare_network_namespace() -> Result<(), Errno> {
    // SAFETY: the process has one thread, so no other code relies on what stops being shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

/// Leaves the mount namespace for a copy of it.
pub(crate) fn unshare_mount_namespace() -> Result<(), Errno> {
    // SAFETY: the process has one thread, so no other code relies on what stops being shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// The user namespace that another namespace belongs to.
pub(crate) fn owning_user_namespace(namespace: impl AsFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the call takes no argument; the descriptor that it returns is new and owned by nobody else.
    unsafe { owned(libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS)) }
}

/// Switches a network interface on.
pub(crate) fn set_interface_up(name: &CStr) -> Result<(), Errno> {
    // SAFETY: ifreq is plain old data that is zeroed first; the name fits, being checked against the field's size;
    // the descriptor is new and closed by OwnedFd.
    unsafe {
        let socket = owned(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (slot, byte) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
            *slot = *byte as libc::c_char;
        }
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as i16;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))
    }
}

fn check(result: c_int) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Takes ownership of a returned descriptor.
///
/// # Safety
/// `fd` is negative or a descriptor that nobody else owns.
unsafe fn owned(fd: c_int) -> Result<OwnedFd, Errno> {
    check(fd)?;
    // SAFETY: not negative, and by contract owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
