//! A command that was spawned, as its holder sees it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::fault;
use super::running::{Running, Stop};
use super::wait::{CancelFd, poll_until};
use crate::threads::{self, Timer};
use crate::{
    BackendProcess, CancelRegistration, CancelToken, Error, ErrorCode, Output, OutputStream, Phase, Result,
};

/// A spawned command. Dropping it kills the command.
pub(super) struct LinuxProcess {
    running: Arc<Running>,
    stdin: Mutex<Stdin>,
    /// Ends the command at its timeout, whether or not anybody waits for it.
    _timer: Option<Arc<TimerSlot>>,
    _on_cancel: Option<CancelRegistration>,
}

/// Each firing of the timer may schedule the next one.
type TimerSlot = Mutex<Option<Timer>>;

enum Stdin {
    /// The command's standard input is not a stream.
    NotStreamed,
    Open(Arc<OwnedFd>),
    Closed,
}

impl LinuxProcess {
    pub(super) fn new(
        running: Arc<Running>,
        stdin: Option<OwnedFd>,
        timeout_at: Option<Instant>,
        on_cancel: Option<CancelRegistration>,
    ) -> Self {
        let timer = timeout_at.map(|at| {
            let slot = Arc::new(TimerSlot::default());
            arm(&slot, Arc::downgrade(&running), at);
            slot
        });
        let stdin = stdin.map_or(Stdin::NotStreamed, |fd| Stdin::Open(Arc::new(fd)));
        LinuxProcess { running, stdin: Mutex::new(stdin), _timer: timer, _on_cancel: on_cancel }
    }
}

/// Looks after the command when `at` has come, and again as often as it asks for.
fn arm(slot: &Arc<TimerSlot>, running: Weak<Running>, at: Instant) {
    let weak_slot = Arc::downgrade(slot);
    // Locked before it is scheduled, so that a firing at once finds its own timer in the slot and not an older one.
    let mut armed = slot.lock();
    *armed = Some(threads::schedule(
        at,
        Box::new(move || {
            let (Some(slot), Some(running)) = (weak_slot.upgrade(), running.upgrade()) else { return };
            if let Some(next) = running.tick_unattended() {
                arm(&slot, Arc::downgrade(&running), next);
            }
        }),
    ));
}

impl BackendProcess for LinuxProcess {
    fn write_stdin(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        let stdin = match &*self.stdin.lock() {
            Stdin::Open(stdin) => Arc::clone(stdin),
            Stdin::Closed => return Err(state_error("the standard input was closed")),
            Stdin::NotStreamed => return Err(state_error("the standard input is not a stream")),
        };
        let deadline = Instant::now().checked_add(timeout);
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(&*stdin, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&*stdin, PollFlags::OUT)];
                    let ready = poll_until(&mut fds, deadline)
                        .map_err(|errno| fault::os(Phase::Exec, "waiting for the command failed", errno))?;
                    if ready == 0 {
                        let written = bytes.len() - rest.len();
                        let message =
                            format!("the command took only {written} of {} bytes in time", bytes.len());
                        return Err(Error::new(ErrorCode::Timeout, Phase::Exec, message));
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(state_error("the command reads no more")),
                Err(errno) => {
                    return Err(fault::os(Phase::Exec, "the standard input cannot be written", errno));
                }
            }
        }
        Ok(())
    }

    fn close_stdin(&self) -> Result<()> {
        let mut stdin = self.stdin.lock();
        if let Stdin::Open(open) = &*stdin {
            // A writer on another thread may still hold it; the command sees the end at once all the same.
            let _ = rustix::net::shutdown(&**open, rustix::net::Shutdown::Write);
            *stdin = Stdin::Closed;
        }
        Ok(())
    }

    fn read(&self, stream: OutputStream, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.running.read(stream, buffer, far(timeout))
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.running.signal(signal);
        Ok(())
    }

    fn kill(&self) -> Result<()> {
        self.running.stop(Stop::Wish);
        Ok(())
    }

    fn wait(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Output> {
        let cancel = cancel.map(CancelFd::new).transpose();
        let cancel =
            cancel.map_err(|errno| fault::os(Phase::Exec, "no descriptor for the cancel token", errno))?;
        self.running.await_result(Some(far(timeout)), cancel.as_ref())
    }
}

/// A deadline; one beyond what the clock can say is a century away.
fn far(timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + timeout.min(CENTURY)
}

fn state_error(message: &str) -> Error {
    Error::new(ErrorCode::InvalidState, Phase::Exec, message)
}
