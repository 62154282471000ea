//! Waiting for descriptors until a deadline, and for a cancel token as a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::{CancelRegistration, CancelToken};

/// Waits until one of the descriptors is ready or the deadline has passed. Returns how many are ready.
pub(super) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<usize, Errno> {
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match rustix::event::poll(fds, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Waits until one descriptor is readable or at its end. Returns whether it is.
pub(super) fn readable(fd: impl AsFd, deadline: Option<Instant>) -> Result<bool, Errno> {
    Ok(poll_until(&mut [PollFd::new(&fd, PollFlags::IN)], deadline)? > 0)
}

/// Whether a descriptor is readable now.
pub(super) fn readable_now(fd: impl AsFd) -> bool {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&zero)), Ok(ready) if ready > 0)
}

/// A descriptor that becomes readable when a token is cancelled.
pub(super) struct CancelFd {
    eventfd: Arc<OwnedFd>,
    _registration: CancelRegistration,
}

impl CancelFd {
    pub(super) fn new(token: &CancelToken) -> Result<Self, Errno> {
        let eventfd = Arc::new(new_eventfd()?);
        let raised = Arc::clone(&eventfd);
        let registration = token.on_cancel(move || raise(&*raised));
        Ok(CancelFd { eventfd, _registration: registration })
    }
}

impl AsFd for CancelFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

pub(super) fn new_eventfd() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Makes an eventfd readable. It can only fail when it is readable already.
pub(super) fn raise(eventfd: impl AsFd) {
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}
