//! The agent of Rust for the conformance suite, and the measure of all others: it translates the lines of
//! `tests/conformance/README.md` into calls of the core. With `--lie NAME` it answers wrongly in one way, so that the
//! driver can show that it would notice.
#![allow(clippy::unwrap_used, reason = "what cannot be understood must end the agent")]
#![allow(clippy::print_stderr, reason = "the driver shows what an agent complains of")]

mod answers;
mod arguments;
mod handles;
mod lies;
mod operations;

use std::io::{BufRead, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::handles::Handles;
use crate::lies::Lie;

/// Why an operation has no result.
pub(crate) enum Failure {
    /// The package says so.
    Error(sandboxset::Error),
    /// This language has no such call.
    Unsupported(&'static str),
}

impl From<sandboxset::Error> for Failure {
    fn from(error: sandboxset::Error) -> Self {
        Failure::Error(error)
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let lie = match (words.next().as_deref(), words.next()) {
        (None, None) => None,
        (Some("--lie"), Some(name)) => Some(Lie::new(name)),
        _ => complain("usage: conformance_agent [--lie NAME]"),
    };
    let handles = Arc::new(Handles::default());
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let honest = || answer(&handles, &request);
        let answer = lie.as_ref().map_or_else(honest, |lie| lie.answer(&request, honest));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").and_then(|()| out.flush()).unwrap();
    }
    std::process::exit(lie.map_or(0, |lie| lie.exit_code()));
}

/// Ends the agent, because the driver asked for something that it does not know.
pub(crate) fn complain(what: &str) -> ! {
    eprintln!("conformance_agent: {what}");
    std::process::exit(1);
}

fn answer(handles: &Arc<Handles>, request: &Value) -> Value {
    if request["op"] == "join" {
        let thread = handles.background.take(arguments::text(&request["name"]));
        return thread.join().unwrap();
    }
    let Some(name) = request["background"].as_str() else { return perform(handles, request) };
    let (theirs, operation) = (Arc::clone(handles), request.clone());
    handles.background.put(name, std::thread::spawn(move || perform(&theirs, &operation)));
    json!({"ok": null})
}

fn perform(handles: &Handles, request: &Value) -> Value {
    match operations::perform(handles, request) {
        Ok(value) => json!({"ok": value}),
        Err(Failure::Error(error)) => json!({"error": answers::error(&error)}),
        Err(Failure::Unsupported(why)) => json!({"unsupported": why}),
    }
}
