//! The runtime of a set, from its argument.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sandboxset::{NodeRuntime, PythonRuntime, Runtime};

use crate::arguments::{boolean, environment, host_path, items, os_strings, sandbox_path, seconds_or, text};
use crate::errors::raise;
use crate::spec::{check_class, field};

/// A `Runtime` or one of those that come with the package. `own_root` is whether the sandboxes have another root than
/// the host's.
pub(crate) fn runtime(value: &Bound<'_, PyAny>, own_root: bool) -> PyResult<Runtime> {
    let runtimes = value.py().import("sandboxset.runtimes")?;
    if value.is_instance(&runtimes.getattr("PythonRuntime")?)? {
        return python(value, own_root);
    }
    if value.is_instance(&runtimes.getattr("NodeRuntime")?)? {
        return node(value, own_root);
    }
    check_class("runtime", "Runtime", value)?;
    let mut runtime = Runtime::new(os_strings("runtime.args", &value.getattr("args")?)?);
    runtime.forks = boolean("runtime.forks", &value.getattr("forks")?)?;
    runtime.brings = each("runtime.brings", &value.getattr("brings")?, host_path)?;
    with_rest(runtime, value)
}

fn python(value: &Bound<'_, PyAny>, own_root: bool) -> PyResult<Runtime> {
    let py = value.py();
    let mut python = PythonRuntime {
        preload: each("runtime.preload", &value.getattr("preload")?, text)?,
        handler: field(value, "handler")?.map(|handler| text("runtime.handler", &handler)).transpose()?,
        json: boolean("runtime.json", &value.getattr("json")?)?,
        paths: each("runtime.paths", &value.getattr("paths")?, host_path)?,
        ..PythonRuntime::default()
    };
    match field(value, "interpreter")? {
        Some(path) => python.interpreter = Some(sandbox_path("runtime.interpreter", &path)?),
        // That of the root is found by its name.
        None if own_root => {}
        None => {
            let own = py.import("sandboxset._interpreter")?;
            python.interpreter = Some(own.call_method0("executable")?.extract()?);
            let brought = own.call_method0("brought")?;
            python.brings = brought
                .cast::<PyTuple>()?
                .iter()
                .map(|path| path.extract())
                .collect::<PyResult<Vec<PathBuf>>>()?;
        }
    }
    with_rest(python.runtime().map_err(|error| raise(py, error))?, value)
}

fn node(value: &Bound<'_, PyAny>, own_root: bool) -> PyResult<Runtime> {
    let py = value.py();
    let mut node = NodeRuntime {
        handler: text("runtime.handler", &value.getattr("handler")?)?,
        json: boolean("runtime.json", &value.getattr("json")?)?,
        ..NodeRuntime::default()
    };
    match field(value, "interpreter")? {
        Some(path) => node.interpreter = Some(sandbox_path("runtime.interpreter", &path)?),
        None if own_root => {}
        None => {
            let found = py.import("sandboxset._interpreter")?.call_method0("node")?;
            let (path, brings): (PathBuf, Vec<PathBuf>) = found.extract()?;
            (node.interpreter, node.brings) = (Some(path), brings);
        }
    }
    with_rest(node.runtime().map_err(|error| raise(py, error))?, value)
}

/// What every kind has: its variables and its time.
fn with_rest(mut runtime: Runtime, value: &Bound<'_, PyAny>) -> PyResult<Runtime> {
    for (key, value) in environment("runtime.env", &field(value, "env")?)? {
        runtime.env.retain(|(other, _)| *other != key);
        runtime.env.push((key, value));
    }
    let default: Duration = runtime.ready_timeout;
    runtime.ready_timeout = seconds_or("runtime.ready_timeout", &field(value, "ready_timeout")?, default)?;
    Ok(runtime)
}

/// The items of a list or tuple.
fn each<T>(
    name: &str,
    value: &Bound<'_, PyAny>,
    read: impl Fn(&str, &Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    items(name, "a list or tuple", value)?.iter().map(|item| read(name, item)).collect()
}
