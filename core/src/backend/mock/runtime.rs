//! A runtime in memory: it answers framed requests over a stream that no descriptor is behind.

use std::collections::VecDeque;
use std::io::{Error as IoError, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::sandbox::Body;
use super::script::Shared;
use crate::{Phase, Stream};

/// A handle of one connection. What is written is cut into frames; the answer to each can be read afterwards.
pub(super) struct MockStream {
    wire: Arc<Wire>,
    timeout: Option<Duration>,
}

/// What the handles of one connection share.
struct Wire {
    shared: Arc<Shared>,
    body: Arc<Body>,
    interrupted: AtomicBool,
    buffers: Mutex<Buffers>,
}

#[derive(Default)]
struct Buffers {
    /// What was written of a frame that is not complete yet.
    request: Vec<u8>,
    answers: VecDeque<u8>,
}

const HEADER_BYTES: usize = 4;

impl MockStream {
    pub(super) fn new(shared: Arc<Shared>, body: Arc<Body>) -> Self {
        let wire = Wire { shared, body, interrupted: AtomicBool::new(false), buffers: Mutex::default() };
        MockStream { wire: Arc::new(wire), timeout: None }
    }
}

impl Wire {
    fn check(&self) -> std::io::Result<()> {
        if self.is_interrupted() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.body.check(Phase::Connect).map_err(IoError::other)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    fn has_answer(&self) -> bool {
        !self.buffers.lock().answers.is_empty()
    }

    /// Takes every complete frame of what was written.
    fn requests(&self, written: &[u8]) -> Vec<Vec<u8>> {
        let mut buffers = self.buffers.lock();
        buffers.request.extend_from_slice(written);
        let mut requests = Vec::new();
        while let Some((header, rest)) = buffers.request.split_first_chunk::<HEADER_BYTES>() {
            let length = u32::from_le_bytes(*header) as usize;
            let Some(request) = rest.get(..length) else { break };
            requests.push(request.to_vec());
            buffers.request.drain(..HEADER_BYTES + length);
        }
        requests
    }

    /// Answers a frame. The handler is the caller's code, so nothing is locked while it runs.
    fn answer(&self, request: Vec<u8>) {
        let answer = match self.shared.call_handler() {
            Some(handler) => handler(self.body.id, &request),
            None => request,
        };
        let mut buffers = self.buffers.lock();
        buffers.answers.extend((answer.len() as u32).to_le_bytes());
        buffers.answers.extend(answer);
    }
}

impl Stream for MockStream {
    fn set_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(IoError::new(ErrorKind::InvalidInput, "a timeout of zero"));
        }
        self.timeout = timeout;
        Ok(())
    }

    fn try_clone(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(Box::new(MockStream { wire: Arc::clone(&self.wire), timeout: None }))
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let wire = Arc::clone(&self.wire);
        Some(Box::new(move || {
            wire.interrupted.store(true, Ordering::Release);
            wire.body.wake();
        }))
    }
}

impl Read for MockStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wire = &self.wire;
        wire.check()?;
        if !buffer.is_empty() && !wire.has_answer() {
            let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let ended = || Ok(wire.is_interrupted() || wire.has_answer());
            let ended =
                wire.body.wait_until(deadline, None, Phase::Connect, ended).map_err(IoError::other)?;
            wire.check()?;
            if !ended {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        wire.buffers.lock().answers.read(buffer)
    }
}

impl Write for MockStream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.wire.check()?;
        let requests = self.wire.requests(buffer);
        if !requests.is_empty() {
            requests.into_iter().for_each(|request| self.wire.answer(request));
            self.wire.body.wake();
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
