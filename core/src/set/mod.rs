//! The set: all sandboxes of one function.

mod asynchronous;
mod bound;
mod call;
mod config;
mod entry;
mod events;
mod get;
mod get_async;
mod hold;
mod inner;
mod leased;
mod maintain;
mod parents;
mod sandbox_ref;
#[allow(clippy::module_inception, reason = "the set of the set: its public face")]
mod set;
mod slots;
mod stats;
mod waiters;

pub use config::{Acquire, Config, GetOptions, Reuse};
pub(crate) use events::{Ended, Hub};
pub use events::{Event, EventKind, EventStream};
pub use get_async::{FirstLook, GetFuture};
pub use sandbox_ref::{MAX_CALL_BYTES, SandboxRef, SandboxState};
pub use set::{CloseReport, SandboxSet};
pub use stats::{MissReason, Stats};
