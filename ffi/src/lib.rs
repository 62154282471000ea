//! The C ABI of SandboxSet.
//!
//! The contract for C readers is `include/sandboxset.h`, which a test renders from the doc comments here. One file
//! per C type; `boundary` holds what every exported function goes through.
//!
//! Build this crate with `panic = "unwind"`: with `abort` a defect ends the host instead of being `INTERNAL`.

#![allow(non_camel_case_types, reason = "the types have the names that C sees")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the docs are for C readers; the header's preamble has the rules"
)]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "see boundary.rs, which argues for all of them")]
#![allow(
    clippy::field_reassign_with_default,
    reason = "the core's structs gain fields; assignments go on to fit"
)]

#[macro_use]
pub(crate) mod boundary;
mod handle;
mod options;
mod text;

#[cfg(test)]
mod layout;

pub mod backend;
pub mod binding;
pub mod bytes;
pub mod cancel;
pub mod clock;
pub mod code;
pub mod command;
pub mod completion;
pub mod config;
pub mod connection;
pub mod dir;
pub mod error;
pub mod event;
pub mod get_options;
pub mod mock;
pub mod output;
pub mod process;
pub mod ref_calls;
pub mod ref_files;
pub mod report;
pub mod runtime;
pub mod sandbox_ref;
pub mod set;
pub mod spec;
pub mod stats;
pub mod tally;
pub mod usage;
pub mod version;
pub mod zygote_tree;
