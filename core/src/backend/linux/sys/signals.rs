//! Keeping the host's signals away from processes that are ours.

use std::mem::MaybeUninit;
use std::ptr;

/// Runs `body` with every signal of the calling thread blocked, so that a process started by it inherits
/// that mask. The thread's own mask is restored afterwards.
pub(super) fn with_all_blocked<T>(body: impl FnOnce() -> T) -> T {
    /// Restores the mask, also when the body panics.
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was filled in by pthread_sigmask; the old mask is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
        }
    }
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all` before it is used; pthread_sigmask cannot fail with a valid `how` and
    // initialises `old`.
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        Restore(old.assume_init())
    };
    body()
}
