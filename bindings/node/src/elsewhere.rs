//! Dropping on a worker what may take its time to go, because the thread of JavaScript must not wait.

use std::ops::Deref;

use sandboxset::{Phase, Task};

/// A value that is dropped on another thread.
pub(crate) struct DropElsewhere<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> DropElsewhere<T> {
    pub(crate) fn new(value: T) -> Self {
        DropElsewhere(Some(value))
    }
}

impl<T: Send + 'static> Deref for DropElsewhere<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("only drop takes the value"),
        }
    }
}

impl<T: Send + 'static> Drop for DropElsewhere<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let call = move |_: &_| {
            drop(value);
            Ok(())
        };
        // Where no thread can be had the value is dropped here after all.
        drop(Task::run(Phase::Destroy, None, call));
    }
}
