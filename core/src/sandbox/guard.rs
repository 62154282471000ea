//! One contract around every sandbox of every backend.

/// Wraps a backend's sandbox.
pub(crate) struct Guard {}
