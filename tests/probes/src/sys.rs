//! The system calls of the probes, raw: a wrapper that thinks for itself would hide what the sandbox answers.

use std::io::Write;

use crate::Verdict;

/// Makes any system call. An error is its errno.
///
/// Arguments are plain numbers, or addresses of what the caller keeps until the call returns.
pub(crate) fn call(number: libc::c_long, args: &[usize]) -> Result<i64, i32> {
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    // SAFETY: breaking rules is what a probe is for; the addresses it passes belong to living values, and a kernel
    // that wrote elsewhere would only hurt this process.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Forks; `None` in the child. There is one thread only, so the child may do whatever the parent may.
pub(crate) fn fork() -> Result<Option<i32>, i32> {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(errno()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Ends this process at once.
pub(crate) fn exit(code: u8) -> ! {
    flushed(code);
    // SAFETY: takes no pointers.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Prints what is still buffered.
pub(crate) fn flushed(code: u8) -> i32 {
    // Nobody may listen any more.
    let _ = std::io::stdout().flush();
    i32::from(code)
}

/// Waits for a child; its status as the kernel gives it.
pub(crate) fn wait(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status is ours.
    while unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } < 0 && errno() == libc::EINTR {}
    status
}

/// Tries something that would change the caller in a process of its own. Being killed for it is a refusal.
pub(crate) fn in_child(attempt: impl FnOnce() -> Verdict) -> Verdict {
    let _ = std::io::stdout().flush();
    match fork() {
        Ok(None) => exit(attempt().code()),
        Ok(Some(child)) => {
            let status = wait(child);
            if libc::WIFEXITED(status) {
                return Verdict::of_code(libc::WEXITSTATUS(status));
            }
            println!("refused: killed by signal {}", libc::WTERMSIG(status));
            Verdict::Blocked
        }
        Err(errno) => {
            println!("cannot fork: {errno}");
            Verdict::NotApplicable
        }
    }
}

/// The address of a value, for a system call.
pub(crate) fn address<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// The address of a value that the kernel fills in.
pub(crate) fn address_mut<T: ?Sized>(value: &mut T) -> usize {
    std::ptr::from_mut(value).cast::<u8>() as usize
}

/// `int 0x80` with the number of the 32-bit getpid.
#[cfg(target_arch = "x86_64")]
pub(crate) fn getpid_by_int80() -> i64 {
    let mut result: i64 = 20;
    // SAFETY: the call takes no arguments and writes no memory.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    result
}

/// Runs `child` in a new process by clone(2) with these flags, as fork does.
pub(crate) fn clone(flags: usize) -> Result<Option<i32>, i32> {
    match call(libc::SYS_clone, &[flags | libc::SIGCHLD as usize]) {
        Ok(0) => Ok(None),
        Ok(child) => Ok(Some(child as i32)),
        Err(errno) => Err(errno),
    }
}

/// Sets what a signal does to "ignored".
pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Touches every page of so many new bytes; the address, if there was memory.
pub(crate) fn map_and_touch(bytes: usize) -> Result<usize, i32> {
    let start = call(
        libc::SYS_mmap,
        &[
            0,
            bytes,
            (libc::PROT_READ | libc::PROT_WRITE) as usize,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize,
            usize::MAX,
            0,
        ],
    )? as usize;
    for at in (start..start + bytes).step_by(4096) {
        // SAFETY: the kernel has just mapped these bytes for us.
        unsafe { (at as *mut u8).write_volatile(1) };
    }
    Ok(start)
}
