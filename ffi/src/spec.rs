//! `sandboxset_spec` and what it points to.

use std::ffi::{OsString, c_char};

use sandboxset::{Bind, LayerPolicy, Limits, Result, RootFs, SandboxSpec};

use crate::boundary::Caller;
use crate::options::{self, Plain};
use crate::runtime::{self, sandboxset_node_runtime, sandboxset_python_runtime, sandboxset_runtime};
use crate::text::{check_reserved, to_bool};

/// The recipe of the sandboxes of a set. Initialise it with sandboxset_spec_init. Everything it points to is
/// copied by sandboxset_new.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_spec {
    /// sizeof(sandboxset_spec).
    pub struct_size: usize,
    /// A path: the directory of the host that is the root file system, always read-only. Or "oci:DIR:TAG": an image
    /// in an OCI image layout on disk, which sandboxset_new unpacks the first time that it is used; without ":TAG"
    /// if there is only one image. NULL, the default: the host's own /usr, /bin, /lib* and a minimal /etc.
    pub root: *const c_char,
    /// A path: a directory of the host that appears read-only at /code. NULL, the default: none.
    pub code_dir: *const c_char,
    /// Further files and directories of the host, in mount order: an array of pointers. Default NULL.
    pub binds: *const *const sandboxset_bind,
    /// The number of pointers in `binds`; default 0.
    pub binds_length: usize,
    /// The environment of every command, beneath the command's own: "KEY=VALUE" strings and a final NULL.
    /// Nothing of the host's environment is inherited. Default NULL: PATH and HOME only.
    pub env: *const *const c_char,
    /// The limits of one sandbox; NULL, the default, for all the defaults of sandboxset_limits.
    pub limits: *const sandboxset_limits,
    /// A long-lived process that answers requests; NULL, the default, for none.
    pub runtime: *const sandboxset_runtime,
    /// How much each layer of isolation matters, by the names of the isolation report: "NAME=POLICY" strings, where
    /// the policy is "required" (a create without it fails with UNSUPPORTED), "best_effort" or "off", and a final
    /// NULL. Default NULL: best effort throughout.
    pub layers: *const *const c_char,
    /// As `runtime`, a Python process; NULL, the default, for none. At most one of the three may be set.
    pub python_runtime: *const sandboxset_python_runtime,
    /// As `runtime`, a Node process; NULL, the default, for none.
    pub node_runtime: *const sandboxset_node_runtime,
}

/// A file or directory of the host that is visible in every sandbox of a set. Initialise it with
/// sandboxset_bind_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_bind {
    /// sizeof(sandboxset_bind).
    pub struct_size: usize,
    /// An absolute path on the host. Required.
    pub source: *const c_char,
    /// An absolute path in the sandbox. Required.
    pub target: *const c_char,
    /// 1 if the sandbox may write to it, 0 (the default) if not. Two sandboxes that share a writable bind are not
    /// isolated from each other by it.
    pub writable: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Limits of one sandbox, all its processes together. Initialise it with sandboxset_limits_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_limits {
    /// sizeof(sandboxset_limits).
    pub struct_size: usize,
    /// Bytes of memory, swap and what the kernel needs for the sandbox included; default 256 MiB.
    pub memory_bytes: u64,
    /// CPU time per time, in cores: 0.5 is half a core. 0, the default, is unlimited.
    pub cpus: f64,
    /// Bytes of the scratch tmpfs; default 64 MiB. /tmp has a tmpfs of the same size.
    pub scratch_bytes: u64,
    /// Files and directories in the scratch tmpfs; default 4096.
    pub scratch_inodes: u64,
    /// Open files per process; default 1024.
    pub open_files: u64,
    /// Bytes of the largest file a process may write. 0, the default, leaves it to the tmpfs size.
    pub file_bytes: u64,
    /// Processes and threads; default 64.
    pub pids: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_spec {
    const FIRST_SIZE: usize = 88;

    fn defaults() -> Self {
        sandboxset_spec {
            struct_size: size_of::<Self>(),
            root: std::ptr::null(),
            code_dir: std::ptr::null(),
            binds: std::ptr::null(),
            binds_length: 0,
            env: std::ptr::null(),
            limits: std::ptr::null(),
            runtime: std::ptr::null(),
            layers: std::ptr::null(),
            python_runtime: std::ptr::null(),
            node_runtime: std::ptr::null(),
        }
    }
}

// SAFETY: repr(C), size first, integers and raw pointers, padding spelled out.
unsafe impl Plain for sandboxset_bind {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        let null = std::ptr::null();
        sandboxset_bind {
            struct_size: size_of::<Self>(),
            source: null,
            target: null,
            writable: 0,
            reserved: 0,
        }
    }
}

// SAFETY: repr(C), size first, integers and a float, padding spelled out.
unsafe impl Plain for sandboxset_limits {
    const FIRST_SIZE: usize = 64;

    fn defaults() -> Self {
        let limits = Limits::default();
        sandboxset_limits {
            struct_size: size_of::<Self>(),
            memory_bytes: limits.memory_bytes,
            cpus: limits.cpus.unwrap_or(0.0),
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
            open_files: limits.open_files,
            file_bytes: limits.file_bytes.unwrap_or(0),
            pids: limits.pids,
            reserved: 0,
        }
    }
}

/// Fills the spec with its defaults. `struct_size` is sizeof(sandboxset_spec).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_spec_init(spec: *mut sandboxset_spec, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(spec, struct_size) };
}

/// Fills the bind with its defaults. `struct_size` is sizeof(sandboxset_bind).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_bind_init(bind: *mut sandboxset_bind, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(bind, struct_size) };
}

/// Fills the limits with their defaults. `struct_size` is sizeof(sandboxset_limits).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_limits_init(limits: *mut sandboxset_limits, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(limits, struct_size) };
}

/// The recipe that C gave; the core checks its values.
pub(crate) fn read(caller: &Caller, spec: *const sandboxset_spec) -> Result<SandboxSpec> {
    let from = caller.options(spec, "spec")?;
    let mut spec = SandboxSpec::default();
    if let Some(root) = caller.optional_path(from.root, "root")? {
        spec.root = RootFs::parse(root)?;
    }
    spec.code_dir = caller.optional_path(from.code_dir, "code_dir")?;
    const BIND: [&str; 5] = ["binds", "binds.source", "binds.target", "binds.writable", "binds.reserved"];
    spec.binds = read_binds(caller, from.binds, from.binds_length, BIND)?;
    spec.env = caller.env(from.env, "env")?;
    spec.limits = read_limits(caller, from.limits)?;
    spec.runtime = runtime::read(caller, from.runtime, from.python_runtime, from.node_runtime)?;
    spec.layers = read_layers(caller, from.layers)?;
    Ok(spec)
}

/// The binds of a list; `names` are those of the list and of its fields.
pub(crate) fn read_binds(
    caller: &Caller,
    binds: *const *const sandboxset_bind,
    length: usize,
    names: [&'static str; 5],
) -> Result<Vec<Bind>> {
    let [list, source, target, writable, reserved] = names;
    let read = |bind: *const sandboxset_bind| {
        let bind = caller.required_options(bind, list)?;
        check_reserved(bind.reserved, reserved)?;
        Ok(Bind {
            source: caller.path(bind.source, source)?.to_owned(),
            target: caller.path(bind.target, target)?.to_owned(),
            writable: to_bool(bind.writable, writable)?,
        })
    };
    caller.pointers(binds, length, list)?.into_iter().map(read).collect()
}

fn read_layers(caller: &Caller, layers: *const *const c_char) -> Result<Vec<(String, LayerPolicy)>> {
    let pairs = caller.env(layers, "layers")?;
    let read = |(name, policy): (OsString, OsString)| {
        let name = name.to_string_lossy().into_owned();
        let policy = LayerPolicy::parse(&name, &policy.to_string_lossy())?;
        Ok((name, policy))
    };
    pairs.into_iter().map(read).collect()
}

fn read_limits(caller: &Caller, limits: *const sandboxset_limits) -> Result<Limits> {
    let from = caller.options(limits, "limits")?;
    check_reserved(from.reserved, "limits.reserved")?;
    let mut limits = Limits::default();
    limits.memory_bytes = from.memory_bytes;
    limits.pids = from.pids;
    limits.cpus = (from.cpus != 0.0).then_some(from.cpus);
    limits.scratch_bytes = from.scratch_bytes;
    limits.scratch_inodes = from.scratch_inodes;
    limits.open_files = from.open_files;
    limits.file_bytes = (from.file_bytes != 0).then_some(from.file_bytes);
    Ok(limits)
}
