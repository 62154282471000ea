//! The runtime inside the measured sandboxes: this program again, answering each byte with the same byte.
//!
//! It answers on the runtime's socket or, if it is given a directory, on the two named pipes in it: a connection ends
//! with the hold it was made in, while the pipes stay open over many holds, so that what is measured is the get and
//! the answer, over the same transport and in the same loop as the raw floor.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::floor::{ready_descriptor, round_trip};

/// The two named pipes, from either side.
#[derive(Debug)]
pub(crate) struct Channel {
    read: File,
    write: File,
}

impl Channel {
    /// Makes the pipes in a directory and opens the host's side.
    pub(crate) fn make(dir: &Path) -> io::Result<Self> {
        for name in ["request", "answer"] {
            let pipe = dir.join(name);
            mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            // Whoever the sandbox's user is on the host must be able to open them, whatever the umask.
            rustix::fs::chmod(&pipe, Mode::from_raw_mode(0o666))?;
        }
        Channel::open(dir, "answer", "request")
    }

    /// Opens the sandbox's side.
    fn open_inside(dir: &Path) -> io::Result<Self> {
        Channel::open(dir, "request", "answer")
    }

    /// Opening both for reading and writing never blocks on the other side.
    fn open(dir: &Path, read: &str, write: &str) -> io::Result<Self> {
        let open = |name| OpenOptions::new().read(true).write(true).open(dir.join(name));
        Ok(Channel { read: open(read)?, write: open(write)? })
    }

    /// Sends a byte and waits for the answer, but not for ever.
    pub(crate) fn round_trip(&self) -> io::Result<()> {
        round_trip(self.write.as_fd(), self.read.as_fd())
    }
}

/// Says that it is ready and answers until it is killed: on the pipes in a directory, or else on the socket.
pub(crate) fn run(dir: Option<&Path>) -> io::Result<()> {
    let path = std::env::var_os("SANDBOXSET_SOCKET")
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "SANDBOXSET_SOCKET is not set"))?;
    let listener = UnixListener::bind(path)?;
    match dir {
        Some(dir) => {
            let Channel { mut read, mut write } = Channel::open_inside(dir)?;
            ready_descriptor()?.write_all(b"READY\n")?;
            loop {
                echo(&mut read, &mut write)?;
            }
        }
        None => {
            ready_descriptor()?.write_all(b"READY\n")?;
            serve(&listener)
        }
    }
}

fn serve(listener: &UnixListener) -> io::Result<()> {
    let mut streams: Vec<UnixStream> = Vec::new();
    loop {
        let mut sources: Vec<BorrowedFd<'_>> = vec![listener.as_fd()];
        sources.extend(streams.iter().map(|stream| stream.as_fd()));
        let ready = wait(&sources)?;
        let mut index = 0;
        streams.retain(|stream| {
            index += 1;
            let (mut from, mut to) = (stream, stream);
            !ready[index] || echo(&mut from, &mut to).is_ok()
        });
        if ready[0] {
            streams.push(listener.accept()?.0);
        }
    }
}

/// Which of these have something to read.
fn wait(sources: &[BorrowedFd<'_>]) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        sources.iter().map(|source| PollFd::from_borrowed_fd(*source, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn echo(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = [0_u8; 4096];
    let length = from.read(&mut bytes)?;
    if length == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    to.write_all(&bytes[..length])
}
