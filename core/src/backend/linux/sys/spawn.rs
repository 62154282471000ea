//! Starting the keeper without forking the host.
//!
//! The host may be huge and full of threads, locks and signal handlers, so nothing of it is copied: two short
//! children share its memory while the calling thread stands still (as with vfork), and the second becomes the
//! keeper. The first one ends at once and was cloned with no exit signal, so the host gets no SIGCHLD and its own
//! `waitpid(-1)` never sees a stranger; the keeper itself is then nobody's child but the system's, because
//! execve would have given it SIGCHLD as its exit signal again.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use super::signals;

/// Both children run on parts of one allocation; they only make system calls.
const STACK_BYTES: usize = 64 << 10;
/// The lowest number at which descriptors are parked while 0 to 4 are filled.
const PARKED: RawFd = 16;

/// What the children need and what they leave, in memory that they share with the caller.
struct Plan {
    program: RawFd,
    socket: RawFd,
    null: RawFd,
    argv: [*const libc::c_char; 2],
    envp: [*const libc::c_char; 1],
    second_stack: *mut c_void,
    pidfd: RawFd,
    errno: c_int,
}

/// Runs the program in `program` with `socket` as descriptor 3, `/dev/null` as 0 to 2, nothing else open, no
/// environment, default signal dispositions and a session of its own. Returns its pidfd.
pub(in super::super) fn spawn_detached(
    program: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> Result<OwnedFd, Errno> {
    let mut stacks = vec![0u128; 2 * STACK_BYTES / size_of::<u128>()];
    let base = stacks.as_mut_ptr().cast::<u8>();
    // SAFETY: both offsets are within, or one past the end of, the allocation; stacks grow down.
    let (second_stack, first_stack) =
        unsafe { (base.add(STACK_BYTES).cast::<c_void>(), base.add(2 * STACK_BYTES).cast::<c_void>()) };
    let mut plan = Plan {
        program: program.as_raw_fd(),
        socket: socket.as_raw_fd(),
        null: null.as_raw_fd(),
        argv: [c"sandboxset-keeper".as_ptr(), ptr::null()],
        envp: [ptr::null()],
        second_stack,
        pidfd: -1,
        errno: 0,
    };
    let plan_pointer = &raw mut plan;
    signals::with_all_blocked(|| {
        // CLONE_FILES so that the second child's pidfd arrives in the host's descriptor table.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
        // SAFETY: the stack is large enough and lives until the child is gone, because CLONE_VFORK suspends this
        // thread until then; `first_child` only makes system calls, with all signals blocked.
        let pid = unsafe { libc::clone(first_child, first_stack, flags, plan_pointer.cast::<c_void>()) };
        if pid < 0 {
            return Err(last_errno());
        }
        // __WALL, because a child without an exit signal is invisible to a plain wait.
        // SAFETY: waits for our own child; the status is not asked for.
        while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } < 0 && last_errno() == Errno::INTR
        {
        }
        Ok(())
    })?;
    // SAFETY: the children are gone, or have memory of their own; their stores happened before the wait returned.
    let (pidfd, errno) =
        unsafe { ((&raw const plan.pidfd).read_volatile(), (&raw const plan.errno).read_volatile()) };
    drop(stacks);
    // SAFETY: on success the kernel stored a new descriptor of this process, which nothing else owns.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    if errno != 0 {
        return Err(Errno::from_raw_os_error(errno));
    }
    pidfd.ok_or(Errno::CHILD)
}

/// Shares memory and descriptors with the host. Starts the second child and ends.
extern "C" fn first_child(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // No CLONE_FILES: the second child closes descriptors, which must be its own.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: `plan` is valid while the host's thread is suspended; the second stack is not in use.
    unsafe {
        let pidfd = &raw mut (*plan).pidfd;
        if libc::clone(second_child, (*plan).second_stack, flags, plan.cast::<c_void>(), pidfd) < 0 {
            (*plan).errno = *libc::__errno_location();
        }
    }
    0
}

/// Shares memory with the host until it becomes the keeper. Only system calls from here on.
extern "C" fn second_child(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `plan` is valid while the host's thread is suspended; descriptors are this process's own copies;
    // the dispositions too, because there is no CLONE_SIGHAND.
    unsafe {
        let Plan { program, socket, null, .. } = *plan;
        let program = libc::fcntl(program, libc::F_DUPFD_CLOEXEC, PARKED);
        let socket = libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, PARKED);
        let null = libc::fcntl(null, libc::F_DUPFD_CLOEXEC, PARKED);
        let placed = program >= 0
            && socket >= 0
            && null >= 0
            && (0..3).all(|fd| libc::dup2(null, fd) >= 0)
            && libc::dup2(socket, 3) >= 0
            && libc::dup3(program, 4, libc::O_CLOEXEC) >= 0
            && libc::syscall(libc::SYS_close_range, 5, u32::MAX, 0) == 0;
        if placed {
            // Its own session: an interrupt from the terminal is for the host, which then ends the keeper.
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            default_signals();
            libc::syscall(
                libc::SYS_execveat,
                4,
                c"".as_ptr(),
                (*plan).argv.as_ptr(),
                (*plan).envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        (*plan).errno = *libc::__errno_location();
        libc::_exit(1)
    }
}

/// Default dispositions for all signals, none of them blocked.
///
/// # Safety
///
/// Must run in a child that does not share its signal handlers.
unsafe fn default_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags; the set is initialised before it is used. The
    // kernel refuses the signals that cannot be changed, which is fine.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
