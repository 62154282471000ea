//! The runtime inside the measured sandboxes: this program again, answering each byte with the same byte.
//!
//! One thread, so that a pause has as little to stop as in the raw floor.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, poll};

use crate::floor::ready_descriptor;

/// Listens, says that it is ready, and answers until it is killed.
pub(crate) fn run() -> io::Result<()> {
    let path = std::env::var_os("SANDBOXSET_SOCKET")
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "SANDBOXSET_SOCKET is not set"))?;
    let listener = UnixListener::bind(path)?;
    ready_descriptor()?.write_all(b"READY\n")?;
    let mut streams: Vec<UnixStream> = Vec::new();
    loop {
        let ready = wait(&listener, &streams)?;
        let mut index = 0;
        streams.retain_mut(|stream| {
            index += 1;
            !ready[index] || echo(stream).is_ok()
        });
        if ready[0] {
            streams.push(listener.accept()?.0);
        }
    }
}

/// Which of the listener and the streams have something to read.
fn wait(listener: &UnixListener, streams: &[UnixStream]) -> io::Result<Vec<bool>> {
    let mut polled = vec![PollFd::new(listener, PollFlags::IN)];
    polled.extend(streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)));
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn echo(stream: &mut UnixStream) -> io::Result<()> {
    let mut bytes = [0_u8; 4096];
    let length = stream.read(&mut bytes)?;
    if length == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    stream.write_all(&bytes[..length])
}
