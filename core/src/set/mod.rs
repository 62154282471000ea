//! The set: all sandboxes of one function.

mod config;
mod events;
mod sandbox_ref;
mod set;
mod stats;

pub use config::{Acquire, Config, GetOptions, Reuse};
pub use events::{Event, EventKind, EventStream};
pub use sandbox_ref::{MAX_CALL_BYTES, SandboxRef, SandboxState};
pub use set::{CloseReport, SandboxSet};
pub use stats::{MissReason, Stats};
