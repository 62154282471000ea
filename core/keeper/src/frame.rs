//! Frames: one message with its descriptors per datagram.

use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest message that travels in the datagram itself. A larger one travels in a sealed memfd.
pub const MAX_INLINE: usize = 32 << 10;
/// The largest message at all; arguments and environment are bounded by 1 MiB before they get here.
const MAX_MESSAGE: usize = 4 << 20;
/// The most descriptors a message carries.
const MAX_FDS: usize = 8;

const INLINE: u8 = 0;
const IN_MEMFD: u8 = 1;

/// Why a frame could not be sent or received.
#[derive(Debug)]
pub enum FrameError {
    /// The other end is closed.
    Closed,
    /// The socket does not block, and nothing is there or there is no room.
    WouldBlock,
    /// The other end broke the protocol.
    Malformed(&'static str),
    /// The kernel refused.
    Os(Errno),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Closed => f.write_str("the other end is closed"),
            FrameError::WouldBlock => f.write_str("the socket is not ready"),
            FrameError::Malformed(what) => write!(f, "malformed frame: {what}"),
            FrameError::Os(errno) => write!(f, "{errno}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<Errno> for FrameError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED => FrameError::Closed,
            Errno::AGAIN => FrameError::WouldBlock,
            errno => FrameError::Os(errno),
        }
    }
}

/// Sends one message with descriptors. Never raises SIGPIPE.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
    if fds.len() >= MAX_FDS {
        return Err(FrameError::Malformed("too many descriptors"));
    }
    let mut bytes = vec![INLINE];
    bytes = postcard::to_extend(message, bytes)
        .map_err(|_| FrameError::Malformed("message cannot be encoded"))?;
    if bytes.len() <= MAX_INLINE {
        return send_datagram(socket.as_fd(), &bytes, fds);
    }
    if bytes.len() > MAX_MESSAGE {
        return Err(FrameError::Malformed("message too long"));
    }
    let memfd = sealed_memfd(&bytes[1..])?;
    let mut with_memfd = fds.to_vec();
    with_memfd.push(memfd.as_fd());
    send_datagram(socket.as_fd(), &[IN_MEMFD], &with_memfd)
}

/// Receives one message with its descriptors, which are close-on-exec. There are fewer of them than were sent if this
/// process may not have so many; the message itself arrives all the same.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<(T, Vec<OwnedFd>), FrameError> {
    let Datagram { bytes, mut fds, starved } = receive_datagram(socket.as_fd())?;
    match bytes.split_first() {
        Some((&INLINE, body)) => Ok((decode(body)?, fds)),
        Some((&IN_MEMFD, [])) if starved => Err(FrameError::Os(Errno::MFILE)),
        Some((&IN_MEMFD, [])) => {
            let memfd = fds.pop().ok_or(FrameError::Malformed("memfd missing"))?;
            Ok((decode(&read_memfd(memfd)?)?, fds))
        }
        _ => Err(FrameError::Malformed("unknown kind")),
    }
}

/// Receives one message from an end that may be hostile: inline only, and with at most `max_fds` descriptors.
/// Any descriptor beyond those is closed. `EMFILE` if this process may not have so many.
pub fn receive_untrusted<T: DeserializeOwned>(
    socket: impl AsFd,
    max_fds: usize,
) -> Result<(T, Vec<OwnedFd>), FrameError> {
    let Datagram { bytes, fds, starved } = receive_datagram(socket.as_fd())?;
    if starved {
        return Err(FrameError::Os(Errno::MFILE));
    }
    if fds.len() > max_fds {
        return Err(FrameError::Malformed("unexpected descriptors"));
    }
    match bytes.split_first() {
        Some((&INLINE, body)) => Ok((decode(body)?, fds)),
        _ => Err(FrameError::Malformed("unknown kind")),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let (message, rest) =
        postcard::take_from_bytes(body).map_err(|_| FrameError::Malformed("message cannot be decoded"))?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Malformed("trailing bytes")) }
}

fn send_datagram(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(FrameError::Malformed("too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

struct Datagram {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Whether descriptors were lost because this process may not have more.
    starved: bool,
}

fn receive_datagram(socket: BorrowedFd<'_>) -> Result<Datagram, FrameError> {
    let mut bytes = vec![0; MAX_INLINE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = loop {
        match rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            // The other end closed without reading our last message. The kernel says so once, before it hands out what
            // that end sent before it closed.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if result.bytes == 0 {
        return Err(FrameError::Closed);
    }
    // With room left for more descriptors it was this process's own limit that cut them off.
    let starved = result.flags.contains(ReturnFlags::CTRUNC) && fds.len() < MAX_FDS;
    if !starved && result.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(FrameError::Malformed("truncated"));
    }
    bytes.truncate(result.bytes);
    Ok(Datagram { bytes, fds, starved })
}

/// A memfd that holds `bytes` and can never change, positioned at its start.
pub fn sealed_memfd(bytes: &[u8]) -> Result<OwnedFd, FrameError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(rustix::fs::memfd_create(c"sandboxset", flags)?);
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(|error| os_error(&error))?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

fn read_memfd(memfd: OwnedFd) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(memfd).take(MAX_MESSAGE as u64);
    file.read_to_end(&mut bytes).map_err(|error| os_error(&error))?;
    Ok(bytes)
}

fn os_error(error: &std::io::Error) -> FrameError {
    FrameError::Os(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromInit, ToInit};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn small_and_large_messages_round_trip_with_descriptors() {
        let (a, b) = pair();
        for length in [0, 100, MAX_INLINE, 1 << 20] {
            let path = vec![b'x'; length];
            send(
                &a,
                &ToInit::Write { path: path.clone(), mode: 0o644, parents: false },
                &[a.as_fd(), b.as_fd()],
            )
            .unwrap();
            let (message, fds) = receive::<ToInit>(&b).unwrap();
            assert!(matches!(message, ToInit::Write { path: p, mode: 0o644, .. } if p == path));
            assert_eq!(fds.len(), 2);
        }
    }

    #[test]
    fn an_untrusted_end_can_send_neither_memfds_nor_more_descriptors_than_expected() {
        let (a, b) = pair();
        send(&a, &FromInit::Done, &[a.as_fd()]).unwrap();
        assert!(matches!(receive_untrusted::<FromInit>(&b, 0), Err(FrameError::Malformed(_))));
        send(&a, &ToInit::Remove { path: vec![0; MAX_INLINE] }, &[]).unwrap();
        assert!(matches!(receive_untrusted::<ToInit>(&b, 1), Err(FrameError::Malformed(_))));
        send_datagram(a.as_fd(), &[INLINE, 0xff, 0xff, 0xff], &[]).unwrap();
        assert!(matches!(receive_untrusted::<FromInit>(&b, 0), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn what_an_end_said_before_it_closed_is_heard_although_it_did_not_listen() {
        let (a, b) = pair();
        send(&a, &FromInit::Done, &[]).unwrap();
        send(&b, &FromInit::Opened, &[]).unwrap();
        drop(b);
        assert_eq!(receive::<FromInit>(&a).unwrap().0, FromInit::Opened);
        assert!(matches!(receive::<FromInit>(&a), Err(FrameError::Closed)));
    }

    #[test]
    fn a_closed_end_is_told_from_an_empty_one() {
        let (a, b) = pair();
        drop(a);
        assert!(matches!(receive::<FromInit>(&b), Err(FrameError::Closed)));
        assert!(matches!(send(&b, &FromInit::Done, &[]), Err(FrameError::Closed)));
    }
}
