//! What the keeper and the inits say to fork servers, and hear from them. `docs/fork-protocol.md` describes it.
//!
//! Fork servers are written in any language and may be hostile: messages are plain numbers, what is received is
//! bounded, and descriptors are only ever sent to them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use sandboxset_keeper::{Failure, FrameError};

/// The version of the protocol.
const VERSION: u32 = 1;

/// Keeper to server: join the sandbox behind the descriptors, and be ready to fork into it.
pub(crate) const JOIN: u32 = 1;
/// Keeper to server: fork. `number` is 1 if nobody waits for the child yet.
pub(crate) const FORK: u32 = 2;
/// Server to keeper, or joining process to init: `number` is an error number, the bytes say what failed.
pub(crate) const FAILED: u32 = 4;
/// Joining process to init: it is in all namespaces and cgroups.
pub(crate) const JOINED: u32 = 16;
/// Init to joining process: the program of the system call filter, and the Landlock rules as a descriptor.
pub(crate) const HARDEN: u32 = 17;
/// Joining process to init: both are in force.
pub(crate) const HARDENED: u32 = 18;
/// Child to init: it was forked.
pub(crate) const FORKED: u32 = 19;
/// Init to child: its arguments, its environment and its standard streams.
pub(crate) const BEGIN: u32 = 20;

/// Version, kind, id, number and count.
const HEADER: usize = 24;
/// The most bytes after the header that we listen to.
const MAX_TEXT: usize = 200;
const MAX_FDS: usize = 8;

/// What is sent.
#[derive(Default)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u32,
    pub(crate) id: u64,
    pub(crate) number: u32,
    pub(crate) count: u32,
    pub(crate) body: &'a [u8],
}

/// What was received.
pub(crate) struct Received {
    pub(crate) kind: u32,
    pub(crate) id: u64,
    number: u32,
    text: Vec<u8>,
    /// Who sent it, as the kernel says, if the socket was asked to tell.
    pub(crate) pid: Option<i32>,
}

impl Received {
    /// What a `FAILED` tells. The text may be anything, so only harmless characters of it are kept.
    pub(crate) fn failure(&self) -> Failure {
        let text = String::from_utf8_lossy(&self.text);
        let text: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        Failure { step: format!("fork: {text}"), errno: i32::try_from(self.number).unwrap_or(0) }
    }
}

/// Sends a message with descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    message: &Message<'_>,
    fds: &[BorrowedFd<'_>],
) -> Result<(), FrameError> {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&VERSION.to_le_bytes());
    header[4..8].copy_from_slice(&message.kind.to_le_bytes());
    header[8..16].copy_from_slice(&message.id.to_le_bytes());
    header[16..20].copy_from_slice(&message.number.to_le_bytes());
    header[20..].copy_from_slice(&message.count.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(FrameError::Malformed("too many descriptors"));
    }
    let parts = [IoSlice::new(&header), IoSlice::new(message.body)];
    loop {
        match rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message. The kernel closes descriptors that come with it, because there is no room for any.
pub(crate) fn receive(socket: impl AsFd) -> Result<Received, FrameError> {
    let mut bytes = [0; HEADER + MAX_TEXT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let pid = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid.as_raw_nonzero().get()),
        _ => None,
    });
    if received.bytes == 0 {
        return Err(FrameError::Closed);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(FrameError::Malformed("message too long"));
    }
    let (Some(header), Some(text)) = (bytes.first_chunk::<HEADER>(), bytes.get(HEADER..received.bytes))
    else {
        return Err(FrameError::Malformed("message too short"));
    };
    let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if word(0) != VERSION {
        return Err(FrameError::Malformed("version"));
    }
    let id = u64::from(word(8)) | u64::from(word(12)) << 32;
    Ok(Received { kind: word(4), id, number: word(16), text: text.to_vec(), pid })
}
