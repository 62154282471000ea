//! A command, from the arguments of `exec` and `spawn`.

use std::ffi::OsString;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use sandboxset::{Error, ErrorCode, OnOverflow, Phase, Stdin};

use crate::arguments::{
    Optional, bytes, choice, environment, integer, integer_or, invalid, os_strings, sandbox_path, seconds_or,
    wrong_type,
};
use crate::cancel::token;
use crate::errors::raise;

/// What `exec` and `spawn` were given; from tasks it comes as a dict of all of it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Arguments<'py> {
    pub(crate) args: Bound<'py, PyAny>,
    pub(crate) env: Optional<'py>,
    pub(crate) cwd: Optional<'py>,
    pub(crate) stdin: Optional<'py>,
    pub(crate) timeout: Optional<'py>,
    pub(crate) grace: Optional<'py>,
    pub(crate) output_bytes: Optional<'py>,
    pub(crate) on_overflow: Optional<'py>,
    pub(crate) memory_bytes: Optional<'py>,
    pub(crate) cpu_seconds: Optional<'py>,
    pub(crate) cancel: Optional<'py>,
}

impl Arguments<'_> {
    /// The command, checked by the policy and by the core. `streaming` is whether stdin may be a stream.
    pub(crate) fn read(&self, policy: Option<&Py<PyAny>>, streaming: bool) -> PyResult<sandboxset::Command> {
        let py = self.args.py();
        let overflow = [("truncate", OnOverflow::Truncate), ("kill", OnOverflow::Kill)];
        let mut command = sandboxset::Command::new(os_strings("args", &self.args)?);
        command.env = environment("env", &self.env)?;
        command.cwd = self.cwd.as_ref().map(|cwd| sandbox_path("cwd", cwd)).transpose()?;
        command.stdin = stdin(&self.stdin, streaming)?;
        command.timeout = seconds_or("timeout", &self.timeout, command.timeout)?;
        command.grace = seconds_or("grace", &self.grace, command.grace)?;
        command.output_bytes = integer_or("output_bytes", &self.output_bytes, command.output_bytes)?;
        command.on_overflow = choice("on_overflow", &self.on_overflow, command.on_overflow, &overflow)?;
        command.memory_bytes =
            self.memory_bytes.as_ref().map(|value| integer("memory_bytes", value)).transpose()?;
        command.cpu_seconds =
            self.cpu_seconds.as_ref().map(|value| integer("cpu_seconds", value)).transpose()?;
        command.cancel = token(&self.cancel)?;
        command.validate().map_err(|error| raise(py, error))?;
        if let Some(policy) = policy {
            apply(policy.bind(py), &mut command)?;
            command.validate().map_err(|error| raise(py, error))?;
        }
        Ok(command)
    }
}

fn stdin(value: &Optional<'_>, streaming: bool) -> PyResult<Stdin> {
    let Some(value) = value else { return Ok(Stdin::Null) };
    let Ok(word) = value.cast::<PyString>() else {
        return bytes("stdin", value).map(Stdin::Bytes);
    };
    if !streaming {
        return Err(wrong_type("stdin", "bytes (encode the text)", value));
    }
    match word.to_str() {
        Ok("stream") => Ok(Stdin::Stream),
        _ => Err(invalid(value.py(), "stdin", "is neither bytes nor \"stream\"")),
    }
}

/// Asks the policy. It refuses by raising, and rewrites the arguments by returning others. It is asked here and
/// not by the core, so that it runs on the thread that called `exec` or `spawn`, and no other.
fn apply(policy: &Bound<'_, PyAny>, command: &mut sandboxset::Command) -> PyResult<()> {
    let py = policy.py();
    let keywords = PyDict::new(py);
    let env = PyDict::new(py);
    for (key, value) in &command.env {
        env.set_item(key, value)?;
    }
    keywords.set_item("env", env)?;
    keywords.set_item("cwd", command.cwd.as_ref().map(|cwd| cwd.as_os_str().to_owned()))?;
    let args: Vec<OsString> = command.args.clone();
    match policy.call((args,), Some(&keywords)) {
        Ok(answer) if answer.is_none() => Ok(()),
        Ok(answer) => {
            command.args = os_strings("command_policy's answer", &answer)?;
            Ok(())
        }
        Err(refusal) => Err(refused(py, refusal)),
    }
}

/// A refusal as `PermissionDeniedError`, unless the policy raised an error of ours, or an interrupt.
fn refused(py: Python<'_>, refusal: PyErr) -> PyErr {
    let ours = py
        .import("sandboxset.errors")
        .and_then(|errors| errors.getattr("SandboxSetError"))
        .is_ok_and(|class| refusal.matches(py, class).unwrap_or(false));
    if ours || !refusal.is_instance_of::<PyException>(py) {
        return refusal;
    }
    let text = refusal.value(py).str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into());
    let message = format!("the command policy refused: {text}");
    let error = raise(py, Error::new(ErrorCode::PermissionDenied, Phase::Exec, message));
    error.set_cause(py, Some(refusal));
    error
}
