//! Runtimes that come with this crate: programs for a sandbox that answer calls.

mod node;
mod python;

pub use node::NodeRuntime;
pub use python::PythonRuntime;
