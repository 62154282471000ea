//! How an event loop hears of what other threads have done: a queue, and a descriptor that the loop watches.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Wake, Waker};

use parking_lot::Mutex;
use pyo3::prelude::*;
use rustix::event::EventfdFlags;

/// The mailbox of one event loop. Its descriptor is readable when some of the loop's operations can go on.
#[pyclass(frozen, module = "sandboxset._native.aio")]
pub(crate) struct Mailbox {
    shared: Arc<Shared>,
}

/// Closed with the last waker, so that who comes late never writes to a descriptor of somebody else.
struct Shared {
    event: File,
    /// The numbers of the operations that can go on, in the order in which that became so.
    ready: Mutex<Vec<u64>>,
}

struct Ticket {
    shared: Arc<Shared>,
    number: u64,
}

impl Mailbox {
    /// A waker that posts this number.
    pub(super) fn waker(&self, number: u64) -> Waker {
        Waker::from(Arc::new(Ticket { shared: Arc::clone(&self.shared), number }))
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)?;
        Ok(Mailbox { shared: Arc::new(Shared { event: event.into(), ready: Mutex::default() }) })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.shared.event.as_raw_fd()
    }

    /// The numbers of the operations that can go on, each perhaps more than once.
    fn take(&self) -> PyResult<Vec<u64>> {
        match (&self.shared.event).read(&mut [0; size_of::<u64>()]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
        Ok(std::mem::take(&mut *self.shared.ready.lock()))
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.shared.ready.lock();
        ready.push(self.number);
        let is_first = ready.len() == 1;
        drop(ready);
        if is_first {
            // It can fail only when it is readable already.
            let _ = (&self.shared.event).write(&1u64.to_ne_bytes());
        }
    }
}
