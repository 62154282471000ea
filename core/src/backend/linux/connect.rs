//! Streams to the runtime of a sandbox.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, sockopt};
use sandboxset_keeper::{FromInit, RUNTIME_SOCKET, ToInit};

use super::fault;
use super::init::Patience;
use super::sandbox::Inner;
use super::wait::poll_until;
use crate::{CancelToken, Connection, Error, ErrorCode, Phase, Result, Stream};

/// Has the init connect to the runtime's socket, so that the host never resolves a path of the sandbox.
pub(super) fn connect(
    sandbox: &Inner,
    timeout: Duration,
    cancel: Option<&CancelToken>,
) -> Result<Connection> {
    if let Some(cancel) = cancel {
        cancel.check(Phase::Connect)?;
    }
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let patience = Patience { deadline: Instant::now() + timeout.min(CENTURY), cancel };
    match sandbox.init.ask(Phase::Connect, &ToInit::Connect, &[], &patience)? {
        (FromInit::Opened, Some(socket)) => {
            // Anything but a stream socket would block, or raise a signal, in ways that are not expected of one.
            if !matches!(sockopt::socket_type(&socket), Ok(SocketType::STREAM)) {
                return Err(fault::hostile(Phase::Connect, sandbox.id, "it opened no stream socket"));
            }
            Ok(Connection::new(Box::new(SocketStream { socket: Arc::new(socket), timeout: None })))
        }
        // It listened before the sandbox was handed out, so it has ended, or might as well have.
        (FromInit::Failed(failure), _)
            if sandbox.has_runtime && fault::errno(&failure) == Errno::CONNREFUSED =>
        {
            Err(fault::dead(Phase::Connect, sandbox.id, "its runtime no longer listens"))
        }
        (FromInit::Failed(failure), _) => {
            let text = fault::describe(&failure);
            let code = match fault::errno(&failure) {
                Errno::NOENT | Errno::CONNREFUSED | Errno::NOTSOCK => ErrorCode::InvalidState,
                Errno::AGAIN => ErrorCode::NoCapacity,
                Errno::TIMEDOUT => ErrorCode::Timeout,
                Errno::ACCESS | Errno::PERM => ErrorCode::PermissionDenied,
                _ => ErrorCode::Internal,
            };
            let message = format!("no runtime answers on {RUNTIME_SOCKET}: {text}");
            Err(Error::new(code, Phase::Connect, message).with_sandbox(sandbox.id))
        }
        _ => Err(fault::hostile(Phase::Connect, sandbox.id, "an unexpected answer")),
    }
}

/// A connected socket whose flags the other side may change at any time, because it opened it. So every call says
/// itself that it must not block, and waits by poll.
struct SocketStream {
    socket: Arc<OwnedFd>,
    timeout: Option<Duration>,
}

impl SocketStream {
    fn retry<T>(&self, events: PollFlags, attempt: impl Fn() -> Result<T, Errno>) -> io::Result<T> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match attempt() {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if poll_until(&mut [PollFd::new(&*self.socket, events)], deadline)? == 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            "the runtime did not answer in time",
                        ));
                    }
                }
                other => return Ok(other?),
            }
        }
    }
}

impl Read for SocketStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let buffer = std::cell::RefCell::new(buffer);
        self.retry(PollFlags::IN, || {
            let received = rustix::net::recv(&*self.socket, &mut **buffer.borrow_mut(), RecvFlags::DONTWAIT);
            received.map(|(length, _)| length)
        })
    }
}

impl Write for SocketStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.retry(PollFlags::OUT, || rustix::net::send(&*self.socket, buffer, flags))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for SocketStream {
    fn try_clone(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(SocketStream { socket: Arc::clone(&self.socket), timeout: None }))
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout = timeout;
        Ok(())
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let socket = Arc::clone(&self.socket);
        Some(Box::new(move || {
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        }))
    }
}
