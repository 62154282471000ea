//! Runtimes that come with this crate: programs for a sandbox that answer calls.

mod python;

pub use python::PythonRuntime;
