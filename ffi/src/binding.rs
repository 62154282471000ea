//! `sandboxset_late_binding` and what it points to.

use std::ffi::c_char;

use sandboxset::{LateBinding, LateFile, LateLimits, Result, Secret};

use crate::boundary::Caller;
use crate::options::{self, Plain};
use crate::spec::{read_binds, sandboxset_bind};
use crate::text::check_reserved;

/// What one holder gets on top of the spec, from its get until its put. Initialise it with
/// sandboxset_late_binding_init.
///
/// At the put the variables are forgotten and the limits are the spec's again. The code in the sandbox may have copied
/// secrets, files and what is bound; so a sandbox that had any of them is used again only by a set with
/// SANDBOXSET_REUSE_RESET, after it was verified that nothing is left, and destroyed at its put by any other set.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_late_binding {
    /// sizeof(sandboxset_late_binding).
    pub struct_size: usize,
    /// Variables of every command of this holder, on top of the spec's and beneath the command's own: "KEY=VALUE"
    /// strings and a final NULL. Not for secrets. Default NULL: none.
    pub env: *const *const c_char,
    /// Files of mode 0400 below /run/secrets, in memory that is never swapped out: an array of pointers. Default NULL.
    pub secrets: *const *const sandboxset_secret,
    /// The number of pointers in `secrets`; default 0.
    pub secrets_length: usize,
    /// Files below the scratch dir: an array of pointers. Default NULL.
    pub files: *const *const sandboxset_late_file,
    /// The number of pointers in `files`; default 0.
    pub files_length: usize,
    /// Files and directories of the host, always read-only: an array of pointers. Default NULL.
    pub binds: *const *const sandboxset_bind,
    /// The number of pointers in `binds`; default 0.
    pub binds_length: usize,
    /// Limits that are tighter than the spec's; NULL, the default, for the spec's.
    pub limits: *const sandboxset_late_limits,
}

/// A secret: a file of mode 0400 below /run/secrets. Initialise it with sandboxset_secret_init. The library overwrites
/// its own copy when it has sent it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_secret {
    /// sizeof(sandboxset_secret).
    pub struct_size: usize,
    /// The name of the file. Required.
    pub name: *const c_char,
    /// What it holds; NULL, the default, only with length 0.
    pub bytes: *const u8,
    /// The number of bytes; default 0.
    pub length: usize,
}

/// A file that is written into the scratch dir before the sandbox is handed out. Initialise it with
/// sandboxset_late_file_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_late_file {
    /// sizeof(sandboxset_late_file).
    pub struct_size: usize,
    /// A path: relative to the scratch dir, or absolute and below it. Missing directories are made. Required.
    pub path: *const c_char,
    /// What it holds; NULL, the default, only with length 0.
    pub bytes: *const u8,
    /// The number of bytes; default 0.
    pub length: usize,
    /// Its permission bits, at most 0777; default 0644.
    pub mode: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Limits for one holder, tighter than the spec's or the same; a looser one is an error. Initialise it with
/// sandboxset_late_limits_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_late_limits {
    /// sizeof(sandboxset_late_limits).
    pub struct_size: usize,
    /// Bytes of memory, swap included; 0, the default, is the spec's.
    pub memory_bytes: u64,
    /// CPU time per time, in cores; 0, the default, is the spec's.
    pub cpus: f64,
    /// Processes and threads; 0, the default, is the spec's.
    pub pids: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_late_binding {
    const FIRST_SIZE: usize = 72;

    fn defaults() -> Self {
        sandboxset_late_binding {
            struct_size: size_of::<Self>(),
            env: std::ptr::null(),
            secrets: std::ptr::null(),
            secrets_length: 0,
            files: std::ptr::null(),
            files_length: 0,
            binds: std::ptr::null(),
            binds_length: 0,
            limits: std::ptr::null(),
        }
    }
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_secret {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        let (name, bytes) = (std::ptr::null(), std::ptr::null());
        sandboxset_secret { struct_size: size_of::<Self>(), name, bytes, length: 0 }
    }
}

// SAFETY: repr(C), size first, integers and raw pointers, padding spelled out.
unsafe impl Plain for sandboxset_late_file {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        let (path, bytes) = (std::ptr::null(), std::ptr::null());
        sandboxset_late_file {
            struct_size: size_of::<Self>(),
            path,
            bytes,
            length: 0,
            mode: 0o644,
            reserved: 0,
        }
    }
}

// SAFETY: repr(C), size first, integers and a float, padding spelled out.
unsafe impl Plain for sandboxset_late_limits {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        sandboxset_late_limits {
            struct_size: size_of::<Self>(),
            memory_bytes: 0,
            cpus: 0.0,
            pids: 0,
            reserved: 0,
        }
    }
}

/// Fills the late binding with its defaults. `struct_size` is sizeof(sandboxset_late_binding).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_late_binding_init(
    late_binding: *mut sandboxset_late_binding,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(late_binding, struct_size) };
}

/// Fills the secret with its defaults. `struct_size` is sizeof(sandboxset_secret).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_secret_init(secret: *mut sandboxset_secret, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(secret, struct_size) };
}

/// Fills the late file with its defaults. `struct_size` is sizeof(sandboxset_late_file).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_late_file_init(late_file: *mut sandboxset_late_file, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(late_file, struct_size) };
}

/// Fills the late limits with their defaults. `struct_size` is sizeof(sandboxset_late_limits).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_late_limits_init(
    late_limits: *mut sandboxset_late_limits,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(late_limits, struct_size) };
}

/// The binding that C gave; the core checks its values.
pub(crate) fn read(caller: &Caller, binding: *const sandboxset_late_binding) -> Result<LateBinding> {
    let from = caller.required_options(binding, "binding")?;
    let secrets = caller.pointers(from.secrets, from.secrets_length, "binding.secrets")?;
    let files = caller.pointers(from.files, from.files_length, "binding.files")?;
    const BIND: [&str; 5] = [
        "binding.binds",
        "binding.binds.source",
        "binding.binds.target",
        "binding.binds.writable",
        "binding.binds.reserved",
    ];
    Ok(LateBinding {
        env: caller.env(from.env, "binding.env")?,
        secrets: secrets.into_iter().map(|secret| read_secret(caller, secret)).collect::<Result<_>>()?,
        files: files.into_iter().map(|file| read_file(caller, file)).collect::<Result<_>>()?,
        binds: read_binds(caller, from.binds, from.binds_length, BIND)?,
        limits: read_limits(caller, from.limits)?,
    })
}

fn read_secret(caller: &Caller, secret: *const sandboxset_secret) -> Result<(std::ffi::OsString, Secret)> {
    const FIELD: &str = "binding.secrets";
    let from = caller.required_options(secret, FIELD)?;
    let name = caller.path(from.name, FIELD)?.as_os_str().to_owned();
    Ok((name, Secret::from(caller.bytes(from.bytes, from.length, FIELD)?)))
}

fn read_file(caller: &Caller, file: *const sandboxset_late_file) -> Result<LateFile> {
    let from = caller.required_options(file, "binding.files")?;
    check_reserved(from.reserved, "binding.files.reserved")?;
    Ok(LateFile {
        path: caller.path(from.path, "binding.files.path")?.to_owned(),
        bytes: caller.bytes(from.bytes, from.length, "binding.files")?.to_vec(),
        mode: from.mode,
    })
}

fn read_limits(caller: &Caller, limits: *const sandboxset_late_limits) -> Result<LateLimits> {
    let from = caller.options(limits, "binding.limits")?;
    check_reserved(from.reserved, "binding.limits.reserved")?;
    Ok(LateLimits {
        memory_bytes: (from.memory_bytes != 0).then_some(from.memory_bytes),
        pids: (from.pids != 0).then_some(from.pids),
        cpus: (from.cpus != 0.0).then_some(from.cpus),
    })
}
