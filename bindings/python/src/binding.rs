//! What a get binds late, from the `LateBinding` of Python.

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyMapping;
use sandboxset::{LateBinding, LateFile, LateLimits, Secret};

use crate::arguments::{
    Optional, bytes, environment, integer, integer_or, items, number, os_string, sandbox_path, wrong_type,
};
use crate::spec::{bind, check_class, field};

/// Permissions of a late file that says nothing of them.
const MODE: u32 = 0o644;

/// The binding that a get was given, if it was.
pub(crate) fn binding(value: &Optional<'_>) -> PyResult<Option<LateBinding>> {
    let Some(value) = value else { return Ok(None) };
    check_class("binding", "LateBinding", value)?;
    let list = |name: &str, expected: &str| {
        let value = field(value, name)?;
        value.map_or(Ok(Vec::new()), |value| items(&format!("binding.{name}"), expected, &value))
    };
    let binds = list("binds", "a list or tuple of Bind")?;
    let files = list("files", "a list or tuple of LateFile")?;
    Ok(Some(LateBinding {
        env: environment("binding.env", &field(value, "env")?)?,
        secrets: secrets(&field(value, "secrets")?)?,
        files: files.iter().map(file).collect::<PyResult<_>>()?,
        binds: binds.iter().map(|value| bind("binding.binds", value)).collect::<PyResult<_>>()?,
        limits: field(value, "limits")?.map_or(Ok(LateLimits::default()), |value| limits(&value))?,
    }))
}

/// Names with bytes. Messages say nothing of either, lest somebody swapped them.
fn secrets(value: &Optional<'_>) -> PyResult<Vec<(OsString, Secret)>> {
    const FIELD: &str = "binding.secrets";
    let Some(value) = value else { return Ok(Vec::new()) };
    let Ok(mapping) = value.cast::<PyMapping>() else {
        return Err(wrong_type(FIELD, "a mapping of str to bytes", value));
    };
    let read = |item: Bound<'_, PyAny>| {
        let (name, secret): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        Ok((os_string(FIELD, &name)?, Secret::new(bytes(FIELD, &secret)?)))
    };
    mapping.items()?.iter().map(read).collect()
}

fn file(value: &Bound<'_, PyAny>) -> PyResult<LateFile> {
    check_class("binding.files", "LateFile", value)?;
    Ok(LateFile {
        path: sandbox_path("binding.files.path", &value.getattr("path")?)?,
        bytes: bytes("binding.files.data", &value.getattr("data")?)?,
        mode: integer_or("binding.files.mode", &field(value, "mode")?, MODE)?,
    })
}

fn limits(value: &Bound<'_, PyAny>) -> PyResult<LateLimits> {
    check_class("binding.limits", "LateLimits", value)?;
    let memory_bytes = field(value, "memory_bytes")?;
    let pids = field(value, "pids")?;
    let cpus = field(value, "cpus")?;
    Ok(LateLimits {
        memory_bytes: memory_bytes.map(|value| integer("binding.limits.memory_bytes", &value)).transpose()?,
        pids: pids.map(|value| integer("binding.limits.pids", &value)).transpose()?,
        cpus: cpus.map(|value| number("binding.limits.cpus", &value)).transpose()?,
    })
}
