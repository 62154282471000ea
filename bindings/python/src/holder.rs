//! What the calls of a holder were given, read in the same way for threads and for tasks.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use sandboxset::CancelToken;

use crate::arguments::{Optional, bytes, integer_or, sandbox_path, seconds_or};
use crate::cancel::token;

/// How long a call to the runtime, or connecting to it, may take by default.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest file read by default; the size of a default scratch dir.
const READ_BYTES: u64 = 64 << 20;
/// The most entries listed by default; as many as a default scratch dir can hold.
const LIST_ENTRIES: usize = 4096;
/// How much of a runtime's log is read by default.
const LOG_BYTES: usize = 64 << 10;
/// The permission bits of a written file.
const FILE_MODE: u32 = 0o644;

/// How long a call of the runtime may take, and what ends it early.
pub(crate) struct Patience {
    pub(crate) timeout: Duration,
    pub(crate) cancel: Option<CancelToken>,
}

/// A file to be read.
pub(crate) struct Reading {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
}

/// A file to be written.
pub(crate) struct Writing {
    pub(crate) path: PathBuf,
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

/// A directory to be listed.
pub(crate) struct Listing {
    pub(crate) path: PathBuf,
    pub(crate) max_entries: usize,
}

impl Patience {
    pub(crate) fn read(timeout: &Optional<'_>, cancel: &Optional<'_>) -> PyResult<Self> {
        Ok(Patience { timeout: seconds_or("timeout", timeout, CALL_TIMEOUT)?, cancel: token(cancel)? })
    }
}

impl Reading {
    pub(crate) fn read(path: &Bound<'_, PyAny>, max_bytes: &Optional<'_>) -> PyResult<Self> {
        let path = sandbox_path("path", path)?;
        Ok(Reading { path, max_bytes: integer_or("max_bytes", max_bytes, READ_BYTES)? })
    }
}

impl Writing {
    pub(crate) fn read(
        path: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        mode: &Optional<'_>,
    ) -> PyResult<Self> {
        let (path, data) = (sandbox_path("path", path)?, bytes("data", data)?);
        Ok(Writing { path, data, mode: integer_or("mode", mode, FILE_MODE)? })
    }
}

impl Listing {
    pub(crate) fn read(path: &Optional<'_>, max_entries: &Optional<'_>) -> PyResult<Self> {
        let path = path.as_ref().map_or(Ok(".".into()), |path| sandbox_path("path", path))?;
        Ok(Listing { path, max_entries: integer_or("max_entries", max_entries, LIST_ENTRIES)? })
    }
}

/// How much of a log is wanted.
pub(crate) fn log_bytes(max_bytes: &Optional<'_>) -> PyResult<usize> {
    integer_or("max_bytes", max_bytes, LOG_BYTES)
}
