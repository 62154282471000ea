//! A runtime in memory: it answers framed requests over a stream that no descriptor is behind.

use std::collections::VecDeque;
use std::io::{Error as IoError, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::sandbox::Body;
use super::script::Shared;
use crate::{Phase, Stream};

/// One connection. What is written is cut into frames; the answer to each can be read afterwards.
pub(super) struct MockStream {
    shared: Arc<Shared>,
    body: Arc<Body>,
    timeout: Option<Duration>,
    interrupted: Arc<AtomicBool>,
    /// What was written of a frame that is not complete yet.
    request: Vec<u8>,
    answers: VecDeque<u8>,
}

const HEADER_BYTES: usize = 4;

impl MockStream {
    pub(super) fn new(shared: Arc<Shared>, body: Arc<Body>) -> Self {
        MockStream {
            shared,
            body,
            timeout: None,
            interrupted: Arc::default(),
            request: Vec::new(),
            answers: VecDeque::new(),
        }
    }

    fn check(&self) -> std::io::Result<()> {
        if self.interrupted.load(Ordering::Acquire) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.body.check(Phase::Connect).map_err(IoError::other)
    }

    /// Answers every complete frame.
    fn answer(&mut self) {
        while let Some((header, rest)) = self.request.split_first_chunk::<HEADER_BYTES>() {
            let length = u32::from_le_bytes(*header) as usize;
            let Some(request) = rest.get(..length) else { return };
            let answer = match self.shared.call_handler() {
                Some(handler) => handler(self.body.id, request),
                None => request.to_vec(),
            };
            self.answers.extend((answer.len() as u32).to_le_bytes());
            self.answers.extend(answer);
            self.request.drain(..HEADER_BYTES + length);
        }
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

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let (body, interrupted) = (Arc::clone(&self.body), Arc::clone(&self.interrupted));
        Some(Box::new(move || {
            interrupted.store(true, Ordering::Release);
            body.wake();
        }))
    }
}

impl Read for MockStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.check()?;
        if self.answers.is_empty() && !buffer.is_empty() {
            // Nobody but the reader could write the next request, so this waits for the deadline or the death.
            let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let interrupted = || Ok(self.interrupted.load(Ordering::Acquire));
            self.body.wait_until(deadline, None, Phase::Connect, interrupted).map_err(IoError::other)?;
            self.check()?;
            return Err(ErrorKind::TimedOut.into());
        }
        self.answers.read(buffer)
    }
}

impl Write for MockStream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.check()?;
        self.request.extend_from_slice(buffer);
        self.answer();
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
