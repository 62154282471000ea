//! The kinds of runtimes that a spec can have.

use std::ffi::{OsString, c_char};
use std::path::PathBuf;
use std::time::Duration;

use sandboxset::{Error, NodeRuntime, PythonRuntime, Result, Runtime};

use crate::boundary::Caller;
use crate::options::{self, Plain};
use crate::text::{check_reserved, to_bool};

/// A command that is started with the sandbox and lives as long as it. Initialise it with sandboxset_runtime_init.
///
/// It listens on the stream socket that its environment variable SANDBOXSET_SOCKET names, then writes "READY\n" to
/// file descriptor 3; only then is the sandbox handed out. See sandboxset_ref_connect and sandboxset_ref_call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_runtime {
    /// sizeof(sandboxset_runtime).
    pub struct_size: usize,
    /// The program and its arguments, never a shell, and a final NULL. Required.
    pub args: *const *const c_char,
    /// "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
    pub env: *const *const c_char,
    /// Milliseconds that it may take to become ready; default 30000.
    pub ready_timeout_ms: u64,
    /// 1 if it is a fork server, so that its sandboxes can be parents; default 0. sandboxset_zygote.h has one. In a set
    /// with a parent the arguments are what each fork is told, not a program that is started.
    pub forks: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Paths: files and directories of the host that it needs beside the root file system, and a final NULL. Sandboxes
    /// see them read-only at the same places. Default NULL: none.
    pub brings: *const *const c_char,
}

/// A Python process that answers calls with a function, or that is forked to make such processes. Initialise it with
/// sandboxset_python_runtime_init.
///
/// Without a handler it is a fork server: a set with it can be the parent of others, whose sandboxes start with
/// everything in `preload` imported. With a handler its sandboxes answer sandboxset_ref_call, forked or not. It needs
/// CPython 3.9 or newer, and brings its own files.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_python_runtime {
    /// sizeof(sandboxset_python_runtime).
    pub struct_size: usize,
    /// Modules that are imported before the sandbox is ready, in this order, and a final NULL. Of a fork server none
    /// may start a thread. Default NULL: none.
    pub preload: *const *const c_char,
    /// The function that answers, as "module:function"; modules are searched in /code first. It takes and returns
    /// bytes; an exception in it is HANDLER_FAILED for the caller, and the runtime lives on. NULL, the default: it is a
    /// fork server.
    pub handler: *const c_char,
    /// A path: the interpreter as the sandbox sees it. NULL, the default: `python3`, searched for in PATH.
    pub interpreter: *const c_char,
    /// Paths: what of the host the interpreter needs, if it is none of the root file system, and a final NULL.
    /// Sandboxes see them read-only at the same places. Default NULL: nothing.
    pub brings: *const *const c_char,
    /// Paths: directories of the host with more modules, and a final NULL. Sandboxes see them read-only at the same
    /// places. Default NULL: none.
    pub paths: *const *const c_char,
    /// "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
    pub env: *const *const c_char,
    /// Milliseconds that it may take to become ready; default 30000.
    pub ready_timeout_ms: u64,
    /// 1 if the handler takes what was sent as JSON and returns what can be sent as such; default 0.
    pub json: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// A Node process that answers calls with a function. It cannot be forked, so a set with it is no parent. Initialise it
/// with sandboxset_node_runtime_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_node_runtime {
    /// sizeof(sandboxset_node_runtime).
    pub struct_size: usize,
    /// The function that answers, as "module:function": a file of /code, with or without its ending, or a module that
    /// Node finds by itself. It takes a Buffer and returns bytes or a string, or a promise of them; an exception in it
    /// is HANDLER_FAILED for the caller, and the runtime lives on. Required.
    pub handler: *const c_char,
    /// A path: the interpreter as the sandbox sees it. NULL, the default: `node`, searched for in PATH.
    pub interpreter: *const c_char,
    /// Paths: what of the host the interpreter needs, if it is none of the root file system, and a final NULL.
    /// Sandboxes see them read-only at the same places. Default NULL: nothing.
    pub brings: *const *const c_char,
    /// "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
    pub env: *const *const c_char,
    /// Milliseconds that it may take to become ready; default 30000.
    pub ready_timeout_ms: u64,
    /// 1 if the handler takes what was sent as JSON and returns what can be sent as such; default 0.
    pub json: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_runtime {
    const FIRST_SIZE: usize = 48;

    fn defaults() -> Self {
        sandboxset_runtime {
            struct_size: size_of::<Self>(),
            args: std::ptr::null(),
            env: std::ptr::null(),
            ready_timeout_ms: default_ready_timeout_ms(),
            forks: 0,
            reserved: 0,
            brings: std::ptr::null(),
        }
    }
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_python_runtime {
    const FIRST_SIZE: usize = 72;

    fn defaults() -> Self {
        sandboxset_python_runtime {
            struct_size: size_of::<Self>(),
            preload: std::ptr::null(),
            handler: std::ptr::null(),
            interpreter: std::ptr::null(),
            brings: std::ptr::null(),
            paths: std::ptr::null(),
            env: std::ptr::null(),
            ready_timeout_ms: default_ready_timeout_ms(),
            json: 0,
            reserved: 0,
        }
    }
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_node_runtime {
    const FIRST_SIZE: usize = 56;

    fn defaults() -> Self {
        sandboxset_node_runtime {
            struct_size: size_of::<Self>(),
            handler: std::ptr::null(),
            interpreter: std::ptr::null(),
            brings: std::ptr::null(),
            env: std::ptr::null(),
            ready_timeout_ms: default_ready_timeout_ms(),
            json: 0,
            reserved: 0,
        }
    }
}

/// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_runtime).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_runtime_init(runtime: *mut sandboxset_runtime, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(runtime, struct_size) };
}

/// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_python_runtime).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_python_runtime_init(
    runtime: *mut sandboxset_python_runtime,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(runtime, struct_size) };
}

/// Fills the runtime with its defaults. `struct_size` is sizeof(sandboxset_node_runtime).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_node_runtime_init(
    runtime: *mut sandboxset_node_runtime,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(runtime, struct_size) };
}

/// The runtime that C gave, if it gave one; the core checks its values.
pub(crate) fn read(
    caller: &Caller,
    any: *const sandboxset_runtime,
    python: *const sandboxset_python_runtime,
    node: *const sandboxset_node_runtime,
) -> Result<Option<Runtime>> {
    match (any.is_null(), python.is_null(), node.is_null()) {
        (true, true, true) => Ok(None),
        (false, true, true) => read_any(caller, any).map(Some),
        (true, false, true) => read_python(caller, python).map(Some),
        (true, true, false) => read_node(caller, node).map(Some),
        _ => {
            Err(Error::invalid("runtime", "only one of runtime, python_runtime and node_runtime may be set"))
        }
    }
}

fn read_any(caller: &Caller, runtime: *const sandboxset_runtime) -> Result<Runtime> {
    let from = caller.required_options(runtime, "runtime")?;
    let mut runtime = Runtime::new(caller.list(from.args, "runtime.args")?);
    runtime.env = caller.env(from.env, "runtime.env")?;
    runtime.ready_timeout = Duration::from_millis(from.ready_timeout_ms);
    runtime.forks = to_bool(from.forks, "runtime.forks")?;
    check_reserved(from.reserved, "runtime.reserved")?;
    runtime.brings = paths(caller, from.brings, "runtime.brings")?;
    Ok(runtime)
}

fn read_python(caller: &Caller, runtime: *const sandboxset_python_runtime) -> Result<Runtime> {
    let from = caller.required_options(runtime, "python_runtime")?;
    check_reserved(from.reserved, "python_runtime.reserved")?;
    let preload = caller.list(from.preload, "python_runtime.preload")?;
    let python = PythonRuntime {
        preload: preload.into_iter().map(module).collect::<Result<_>>()?,
        handler: handler(caller, from.handler, "python_runtime.handler")?,
        json: to_bool(from.json, "python_runtime.json")?,
        interpreter: caller.optional_path(from.interpreter, "python_runtime.interpreter")?,
        brings: paths(caller, from.brings, "python_runtime.brings")?,
        paths: paths(caller, from.paths, "python_runtime.paths")?,
    };
    let env = caller.env(from.env, "python_runtime.env")?;
    Ok(with_rest(python.runtime()?, env, from.ready_timeout_ms))
}

fn read_node(caller: &Caller, runtime: *const sandboxset_node_runtime) -> Result<Runtime> {
    let from = caller.required_options(runtime, "node_runtime")?;
    check_reserved(from.reserved, "node_runtime.reserved")?;
    let node = NodeRuntime {
        handler: handler(caller, from.handler, "node_runtime.handler")?.unwrap_or_default(),
        json: to_bool(from.json, "node_runtime.json")?,
        interpreter: caller.optional_path(from.interpreter, "node_runtime.interpreter")?,
        brings: paths(caller, from.brings, "node_runtime.brings")?,
    };
    let env = caller.env(from.env, "node_runtime.env")?;
    Ok(with_rest(node.runtime()?, env, from.ready_timeout_ms))
}

/// What every kind has: variables, of which the caller's come before its own, and its time.
fn with_rest(mut runtime: Runtime, env: Vec<(OsString, OsString)>, ready_timeout_ms: u64) -> Runtime {
    runtime.env.retain(|(name, _)| env.iter().all(|(other, _)| other != name));
    runtime.env.extend(env);
    runtime.ready_timeout = Duration::from_millis(ready_timeout_ms);
    runtime
}

fn module(name: OsString) -> Result<String> {
    name.into_string().map_err(|_| Error::invalid("python_runtime.preload", "is not UTF-8"))
}

fn handler(caller: &Caller, text: *const c_char, parameter: &'static str) -> Result<Option<String>> {
    if text.is_null() { Ok(None) } else { caller.text(text, parameter).map(|text| Some(text.to_owned())) }
}

fn paths(caller: &Caller, list: *const *const c_char, parameter: &'static str) -> Result<Vec<PathBuf>> {
    Ok(caller.list(list, parameter)?.into_iter().map(PathBuf::from).collect())
}

fn default_ready_timeout_ms() -> u64 {
    Runtime::new(["x"]).ready_timeout.as_millis() as u64
}
