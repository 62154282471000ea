//! The next event of a set, for tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::prelude::*;
use sandboxset::{Phase, Result};

use super::operation::Operation;
use crate::arguments::{Optional, seconds};
use crate::events::{Event, EventStream};

struct NextEvent(Arc<sandboxset::EventStream>);

impl Future for NextEvent {
    type Output = Result<Option<sandboxset::Event>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_next(context).map(Ok)
    }
}

/// The next event; `None` if the set is closed and all were read. `timeout` is only checked here.
#[pyfunction]
#[pyo3(signature = (stream, timeout))]
pub(crate) fn begin_next(stream: &Bound<'_, EventStream>, timeout: Optional<'_>) -> PyResult<Operation> {
    timeout.map(|timeout| seconds("timeout", &timeout)).transpose()?;
    let next = NextEvent(stream.get().core());
    Ok(Operation::new(Phase::Use, next, |_, event| Ok(event.map(Event::new))))
}
