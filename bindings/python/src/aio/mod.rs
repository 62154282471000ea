//! What the asyncio side of the package needs: operations that its tasks poll, and the mailbox by which an event loop
//! hears that one can go on. No thread of ours ever touches Python, and no task of Python needs a thread of its own.

mod connection;
mod events;
mod mailbox;
mod operation;
mod pieces;
mod process;
mod sandbox_ref;
mod set;

use pyo3::prelude::*;

/// What the asyncio side is made of; private, its names may change.
#[pymodule(submodule, name = "aio")]
pub(crate) mod module {
    #[pymodule_export]
    use super::connection::AsyncConnection;
    #[pymodule_export]
    use super::events::begin_next;
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::operation::Operation;
    #[pymodule_export]
    use super::process::AsyncProcess;
    #[pymodule_export]
    use super::sandbox_ref::{
        begin_call, begin_command, begin_connect, begin_leave, begin_list_dir, begin_log, begin_put,
        begin_read_file, begin_remove, begin_usage, begin_write_file,
    };
    #[pymodule_export]
    use super::set::{
        begin_close, begin_drain, begin_get, begin_isolation_report, begin_prewarm, begin_shrink,
    };
}
