//! One call that is under way for a task of an event loop.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sandboxset::{Error, ErrorCode, Phase, Result};

use super::mailbox::Mailbox;
use crate::errors::raise;
use crate::wait::panicked;

/// A call that is under way. Its task polls it whenever the mailbox says so; what it gives is handed over nowhere else,
/// so that a task that is cancelled at any time loses nothing. Dropping it takes the call back.
#[pyclass(frozen, module = "sandboxset._native.aio")]
pub(crate) struct Operation {
    /// Taken out while it is polled, because that releases the interpreter. Nothing when it is over.
    call: Mutex<Option<Box<dyn Call>>>,
}

/// A future of the core, and how its value becomes one of Python.
trait Call: Send {
    fn poll(&mut self, py: Python<'_>, waker: &Waker) -> Poll<PyResult<Py<PyAny>>>;
}

struct Converted<F, C> {
    phase: Phase,
    future: F,
    convert: Option<C>,
}

impl Operation {
    /// An operation that polls `future` without the interpreter, and makes a Python object of its value with it.
    pub(super) fn new<T, P, F, C>(phase: Phase, future: F, convert: C) -> Self
    where
        T: Send + 'static,
        P: for<'py> IntoPyObject<'py> + 'static,
        F: Future<Output = Result<T>> + Send + Unpin + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<P> + Send + 'static,
    {
        let convert = move |py: Python<'_>, value| convert(py, value)?.into_py_any(py);
        Operation { call: Mutex::new(Some(Box::new(Converted { phase, future, convert: Some(convert) }))) }
    }
}

impl<T, F, C> Call for Converted<F, C>
where
    T: Send,
    F: Future<Output = Result<T>> + Send + Unpin,
    C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send,
{
    fn poll(&mut self, py: Python<'_>, waker: &Waker) -> Poll<PyResult<Py<PyAny>>> {
        let (phase, future) = (self.phase, &mut self.future);
        let polled = py.detach(|| {
            let mut context = Context::from_waker(waker);
            catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(&mut context)))
                .unwrap_or_else(|payload| Poll::Ready(Err(panicked(phase, &*payload))))
        });
        polled.map(|result| match (result, self.convert.take()) {
            (Ok(value), Some(convert)) => convert(py, value),
            (Ok(_), None) => Err(raise(py, over(phase))),
            (Err(error), _) => Err(raise(py, error)),
        })
    }
}

#[pymethods]
impl Operation {
    /// What the call gave, in a tuple; `None` if it is under way. Then this number is posted to the mailbox as soon as it
    /// should be asked again.
    fn poll<'py>(
        &self,
        py: Python<'py>,
        mailbox: &Bound<'py, Mailbox>,
        number: u64,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(mut call) = self.call.lock().take() else { return Err(raise(py, over(Phase::Use))) };
        match call.poll(py, &mailbox.get().waker(number)) {
            Poll::Pending => {
                *self.call.lock() = Some(call);
                Ok(None)
            }
            Poll::Ready(result) => PyTuple::new(py, [result?]).map(Some),
        }
    }

    /// Takes the call back, unless it is over: it is cancelled if it can be, and what it still gives is given up.
    fn cancel(&self, py: Python<'_>) {
        let call = self.call.lock().take();
        if call.is_some() {
            py.detach(|| drop(call));
        }
    }
}

fn over(phase: Phase) -> Error {
    Error::new(ErrorCode::InvalidState, phase, "the operation is over")
}
