//! Real sandboxes on this host. Where the host cannot have any, every test says so loudly and counts as skipped.

#![cfg(feature = "linux")]

mod exec;
mod files;
mod lifecycle;
mod nobody;
mod process;
mod runtime;
mod support;
