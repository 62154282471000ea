//! Asking a sandbox's init for something, and not trusting the answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use sandboxset_keeper::{FrameError, FromInit, ToInit};

use super::fault;
use super::wait::{CancelFd, poll_until};
use crate::{CancelToken, Error, ErrorCode, Phase, Result, SandboxId};

/// How long an init may take to answer what does not depend on the code in the sandbox.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long a request may wait for room in the init's socket.
const SEND: Duration = Duration::from_secs(5);

/// The socket of one init.
pub(super) struct Init {
    id: SandboxId,
    socket: OwnedFd,
}

/// When to give up waiting for an answer.
pub(super) struct Patience<'a> {
    pub(super) deadline: Instant,
    pub(super) cancel: Option<&'a CancelToken>,
}

impl Init {
    pub(super) fn new(id: SandboxId, socket: OwnedFd) -> Result<Self, Errno> {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND))?;
        Ok(Init { id, socket })
    }

    /// Sends a request with the descriptors that follow the reply socket. Returns the host's end of that socket,
    /// which does not block.
    pub(super) fn start(&self, phase: Phase, request: &ToInit, fds: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
        let (reply, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|errno| fault::os(phase, "no socket for the answer", errno))?;
        // Only ours: the flag belongs to one end.
        rustix::io::ioctl_fionbio(&reply, true)
            .map_err(|errno| fault::os(phase, "no socket for the answer", errno))?;
        let mut all = Vec::with_capacity(fds.len() + 1);
        all.push(theirs.as_fd());
        all.extend_from_slice(fds);
        match sandboxset_keeper::send(&self.socket, request, &all) {
            Ok(()) => Ok(reply),
            Err(FrameError::Closed) => Err(fault::dead(phase, self.id, "its init is gone")),
            Err(FrameError::WouldBlock) => Err(fault::hostile(phase, self.id, "it takes no requests")),
            Err(FrameError::Os(errno)) => Err(fault::os(phase, "the request could not be sent", errno)),
            Err(error) => {
                Err(Error::new(ErrorCode::Internal, phase, "the request could not be sent")
                    .with_source(error))
            }
        }
    }

    /// Asks and waits for the one answer, with at most one descriptor.
    pub(super) fn ask(
        &self,
        phase: Phase,
        request: &ToInit,
        fds: &[BorrowedFd<'_>],
        patience: &Patience<'_>,
    ) -> Result<(FromInit, Option<OwnedFd>)> {
        let cancel = patience.cancel.map(CancelFd::new).transpose();
        let cancel = cancel.map_err(|errno| fault::os(phase, "no descriptor for the cancel token", errno))?;
        let reply = self.start(phase, request, fds)?;
        let mut waiting = vec![PollFd::new(&reply, PollFlags::IN)];
        waiting.extend(cancel.as_ref().map(|cancel| PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)));
        let ready = poll_until(&mut waiting, Some(patience.deadline))
            .map_err(|errno| fault::os(phase, "waiting for the answer failed", errno))?;
        if ready == 0 {
            return Err(Error::new(ErrorCode::Timeout, phase, "the sandbox did not answer in time")
                .with_sandbox(self.id));
        }
        if waiting[0].revents().is_empty() {
            return Err(Error::new(ErrorCode::Cancelled, phase, "the caller cancelled").with_sandbox(self.id));
        }
        match sandboxset_keeper::receive_untrusted(&reply, 1) {
            Ok((answer, mut fds)) => Ok((answer, fds.pop())),
            Err(FrameError::Closed) => Err(fault::dead(phase, self.id, "its init ended")),
            Err(FrameError::Os(errno)) => Err(fault::os(phase, "the answer could not be received", errno)),
            Err(error) => Err(fault::hostile(phase, self.id, &error.to_string())),
        }
    }
}
