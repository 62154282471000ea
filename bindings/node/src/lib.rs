//! The native module of the npm package `sandboxset`: types, errors, waiting and cancellation translated for Node.
//!
//! No policy lives here, and no checking of types: the facade in `lib/` is the only caller, and checks what it was given.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "nothing here is public: what users see is documented in the facade"
)]
#![cfg_attr(test, allow(dead_code, reason = "without Node nothing is exported, and so nothing is used"))]

mod backend;
mod bridge;
mod cancel;
mod command;
mod connection;
mod doctor;
mod elsewhere;
mod errors;
mod events;
mod lease;
mod output;
mod process;
mod reports;
mod runtime;
mod set;
mod spec;
mod values;
mod zygote_tree;

use napi::Env;
use napi_derive::napi;

use crate::bridge::{Bridge, Turn};
use crate::errors::MakeError;

/// Tells the module how to make errors, and what to call to get a turn of the event loop, which calls `drain`.
#[napi(catch_unwind)]
pub fn connect(env: Env, make_error: MakeError, turn: Turn) -> napi::Result<()> {
    Bridge::install(&env, make_error, turn)
}

/// Goes on with every call that can.
#[napi(catch_unwind)]
pub fn drain(env: Env) -> napi::Result<()> {
    Bridge::of(&env)?.drain(&env)
}

/// The version of this module, which must be the facade's.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
