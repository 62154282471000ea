//! The recipe and the configuration of a set, from the arguments of `SandboxSet`.

use std::ffi::OsString;

use pyo3::prelude::*;
use sandboxset::{Bind, Config, LayerPolicy, Limits, Reuse, RootFs, SandboxSpec, ScratchDirs};

use crate::arguments::{
    Optional, absolute, boolean, choice, environment, host_path, integer, integer_or, items, number,
    os_string, sandbox_path, seconds_or, wrong_type,
};
use crate::backend::clock;
use crate::errors::raise;
use crate::runtime;
use crate::set::SandboxSet;

/// What `SandboxSet` was given, but for the backend and the policy.
pub(crate) struct Arguments<'py> {
    pub(crate) root: Optional<'py>,
    pub(crate) code_dir: Optional<'py>,
    pub(crate) binds: Optional<'py>,
    pub(crate) env: Optional<'py>,
    pub(crate) limits: Optional<'py>,
    pub(crate) runtime: Optional<'py>,
    pub(crate) layers: Optional<'py>,
    pub(crate) max_size: Optional<'py>,
    pub(crate) min_idle: Optional<'py>,
    pub(crate) max_waiters: Optional<'py>,
    pub(crate) get_timeout: Optional<'py>,
    pub(crate) create_timeout: Optional<'py>,
    pub(crate) reuse: Optional<'py>,
    pub(crate) parent: Optional<'py>,
    pub(crate) max_forks: Optional<'py>,
    pub(crate) scratch_dirs: Optional<'py>,
    pub(crate) clock: Optional<'py>,
}

impl Arguments<'_> {
    pub(crate) fn spec(&self) -> PyResult<SandboxSpec> {
        let mut spec = SandboxSpec::default();
        if let Some(root) = &self.root {
            spec.root = root_fs(root)?;
        }
        spec.code_dir = self.code_dir.as_ref().map(|path| host_path("code_dir", path)).transpose()?;
        if let Some(binds) = &self.binds {
            let binds = items("binds", "a list or tuple of Bind", binds)?;
            spec.binds = binds.iter().map(|value| bind("binds", value)).collect::<PyResult<_>>()?;
        }
        spec.env = environment("env", &self.env)?;
        if let Some(value) = &self.limits {
            spec.limits = limits(value)?;
        }
        let own_root = self.root.is_some();
        spec.runtime = self.runtime.as_ref().map(|value| runtime::runtime(value, own_root)).transpose()?;
        spec.layers = layers(&self.layers)?;
        Ok(spec)
    }

    pub(crate) fn config(&self) -> PyResult<Config> {
        let mut config = Config::default();
        config.max_size = integer_or("max_size", &self.max_size, config.max_size)?;
        config.min_idle = integer_or("min_idle", &self.min_idle, config.min_idle)?;
        config.max_waiters = integer_or("max_waiters", &self.max_waiters, config.max_waiters)?;
        config.get_timeout = seconds_or("get_timeout", &self.get_timeout, config.get_timeout)?;
        config.create_timeout = seconds_or("create_timeout", &self.create_timeout, config.create_timeout)?;
        let choices = [("keep", Reuse::Keep), ("reset", Reuse::Reset), ("replace", Reuse::Replace)];
        config.reuse = choice("reuse", &self.reuse, config.reuse, &choices)?;
        config.parent = self.parent.as_ref().map(parent).transpose()?;
        config.max_forks = integer_or("max_forks", &self.max_forks, config.max_forks)?;
        if let Some(path) = &self.scratch_dirs {
            config.scratch_dirs = ScratchDirs::Disk(host_path("scratch_dirs", path)?);
        }
        config.clock = clock(&self.clock)?;
        Ok(config)
    }
}

/// The set whose sandboxes are forked to make those of another.
fn parent(value: &Bound<'_, PyAny>) -> PyResult<sandboxset::SandboxSet> {
    match value.cast::<SandboxSet>() {
        Ok(set) => Ok(set.get().core().clone()),
        Err(_) => Err(wrong_type("parent", "a SandboxSet", value)),
    }
}

/// A path, or `oci:DIR:TAG`; either may be relative to the working directory.
fn root_fs(value: &Bound<'_, PyAny>) -> PyResult<RootFs> {
    let py = value.py();
    let root = RootFs::parse(os_string("root", value)?).map_err(|error| raise(py, error))?;
    Ok(match root {
        RootFs::OciLayout { dir, tag } => RootFs::OciLayout { dir: absolute(py, "root", dir)?, tag },
        RootFs::Directory(path) => RootFs::Directory(absolute(py, "root", path)?),
        RootFs::Host => RootFs::Host,
    })
}

/// One bind of the list of this name.
pub(crate) fn bind(list: &str, value: &Bound<'_, PyAny>) -> PyResult<Bind> {
    check_class(list, "Bind", value)?;
    Ok(Bind {
        source: host_path(&format!("{list}.source"), &value.getattr("source")?)?,
        target: sandbox_path(&format!("{list}.target"), &value.getattr("target")?)?,
        writable: boolean(&format!("{list}.writable"), &value.getattr("writable")?)?,
    })
}

fn limits(value: &Bound<'_, PyAny>) -> PyResult<Limits> {
    check_class("limits", "Limits", value)?;
    let mut limits = Limits::default();
    limits.memory_bytes =
        integer_or("limits.memory_bytes", &field(value, "memory_bytes")?, limits.memory_bytes)?;
    limits.pids = integer_or("limits.pids", &field(value, "pids")?, limits.pids)?;
    limits.cpus = field(value, "cpus")?.map(|cpus| number("limits.cpus", &cpus)).transpose()?;
    limits.scratch_bytes =
        integer_or("limits.scratch_bytes", &field(value, "scratch_bytes")?, limits.scratch_bytes)?;
    limits.scratch_inodes =
        integer_or("limits.scratch_inodes", &field(value, "scratch_inodes")?, limits.scratch_inodes)?;
    limits.open_files = integer_or("limits.open_files", &field(value, "open_files")?, limits.open_files)?;
    limits.file_bytes =
        field(value, "file_bytes")?.map(|bytes| integer("limits.file_bytes", &bytes)).transpose()?;
    Ok(limits)
}

/// The policies of layers, by name.
fn layers(value: &Optional<'_>) -> PyResult<Vec<(String, LayerPolicy)>> {
    let parse = |(name, policy): (OsString, OsString)| {
        let name = name.to_string_lossy().into_owned();
        let policy = LayerPolicy::parse(&name, &policy.to_string_lossy());
        Ok((name, policy.map_err(|error| Python::attach(|py| crate::errors::raise(py, error)))?))
    };
    environment("layers", value)?.into_iter().map(parse).collect()
}

/// An attribute, `None` if it says so.
pub(crate) fn field<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Optional<'py>> {
    let field = value.getattr(name)?;
    Ok(if field.is_none() { None } else { Some(field) })
}

pub(crate) fn check_class(argument: &str, class: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let expected = value.py().import("sandboxset.config")?.getattr(class)?;
    if value.is_instance(&expected)? {
        return Ok(());
    }
    Err(wrong_type(argument, &format!("a {class}"), value))
}
