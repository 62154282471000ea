//! The native module `sandboxset._native`: types, errors, waiting and cancellation translated for Python.
//!
//! No policy lives here. The typed facade around it is the Python package `sandboxset`.

mod aio;
mod arguments;
mod backend;
mod binding;
mod cancel;
mod command;
mod connection;
mod doctor;
mod errors;
mod events;
mod helper;
mod holder;
mod output;
mod process;
mod reports;
mod runtime;
mod sandbox_ref;
mod set;
mod spec;
mod wait;
mod zygote_tree;

use pyo3::prelude::*;

/// The compiled part of `sandboxset`; private, its names may change.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::aio::module;
    #[pymodule_export]
    use crate::backend::{LinuxBackend, ManualClock, MockBackend, MockFault};
    #[pymodule_export]
    use crate::cancel::CancelToken;
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::doctor::{Check, Diagnosis, doctor, self_test};
    #[pymodule_export]
    use crate::errors::error_table;
    #[pymodule_export]
    use crate::events::{Event, EventStream};
    #[pymodule_export]
    use crate::in_forked_child;
    #[pymodule_export]
    use crate::output::{Output, Usage};
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::reports::{CloseReport, DirEntry, IsolationReport, Layer, Stats};
    #[pymodule_export]
    use crate::sandbox_ref::SandboxRef;
    #[pymodule_export]
    use crate::set::{SandboxSet, close_all};
    #[pymodule_export]
    use crate::zygote_tree::{ZygoteNode, ZygoteTree, propose_tree};
}

/// Whether this process was forked from one that had made a set.
#[pyfunction]
fn in_forked_child() -> bool {
    sandboxset::in_forked_child()
}
