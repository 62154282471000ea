//! A runtime in Python: what it is told, and the files that it is made of.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Error, Result, Runtime};

/// Where a sandbox has the files of the runtime.
const DIR: &str = "/run/sandboxset";
/// What they are: pure Python of any version from 3.9 on, and one library without dependencies.
const FILES: [(&str, &[u8]); 6] = [
    ("sandboxset_runtime/__main__.py", include_bytes!("python/__main__.py")),
    ("sandboxset_runtime/calls.py", include_bytes!("python/calls.py")),
    ("sandboxset_runtime/randomness.py", include_bytes!("python/randomness.py")),
    ("sandboxset_runtime/threads.py", include_bytes!("python/threads.py")),
    ("sandboxset_runtime/zygote.py", include_bytes!("python/zygote.py")),
    ("zygote.so", include_bytes!(concat!(env!("OUT_DIR"), "/zygote.so"))),
];

/// Libraries that compute on all processors start their threads when they are imported, and a process with threads
/// cannot be forked.
const ONE_THREAD: [&str; 5] = [
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
];

/// A Python process that answers calls with a function, or that is forked to make such processes.
///
/// Without a handler it is a fork server: a set with it can be the parent of others, whose sandboxes start with
/// everything in [`PythonRuntime::preload`] imported. With a handler its sandboxes answer [`crate::SandboxRef::call`],
/// forked or not.
///
/// It needs nothing but an interpreter, CPython 3.9 or newer, and brings its own files, which nobody in the sandbox
/// can change. Modules are searched in `/code`, then in [`PythonRuntime::paths`], then where the interpreter does.
/// The variables `PYTHON*` are ignored.
///
/// A fork renews the random state of `random`, `numpy.random`, `ssl`, `uuid`, `tempfile` and `multiprocessing`.
/// Generators that a preloaded module made for itself are its own to renew, by
/// `os.register_at_fork(after_in_child=...)`; and forks of one parent share the seed of their hashes.
///
/// A fork whose handler is in a module that its parent has imported runs no Python, these functions included, before its
/// first call, so that it needs little memory until then.
#[derive(Clone, Debug, Default)]
pub struct PythonRuntime {
    /// Modules that are imported before the sandbox is ready, in this order. Of a fork server none may start a
    /// thread; libraries that would compute with several are told to use one.
    pub preload: Vec<String>,
    /// The function that answers, as `module:function`. It takes and returns bytes; an exception in it is a
    /// `HANDLER_FAILED` for the caller, and the runtime lives on.
    pub handler: Option<String>,
    /// Whether the handler takes what was sent as JSON and returns what can be sent as such.
    pub json: bool,
    /// The interpreter as the sandbox sees it; default `python3`, searched for in `PATH`.
    pub interpreter: Option<PathBuf>,
    /// What of the host the interpreter needs, if it is none of the root file system: see [`Runtime::brings`].
    pub brings: Vec<PathBuf>,
    /// Directories of the host with more modules, which sandboxes see read-only at the same paths.
    pub paths: Vec<PathBuf>,
}

impl PythonRuntime {
    /// A fork server that has these modules imported.
    pub fn preloaded<S: Into<String>>(modules: impl IntoIterator<Item = S>) -> Self {
        PythonRuntime { preload: modules.into_iter().map(Into::into).collect(), ..PythonRuntime::default() }
    }

    /// A runtime that answers with the function `module:function`.
    pub fn handling(handler: impl Into<String>) -> Self {
        PythonRuntime { handler: Some(handler.into()), ..PythonRuntime::default() }
    }

    /// The runtime for a [`crate::SandboxSpec`]. Its variables and its time to become ready may be changed.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` that names `preload` or `handler`, if one is no name of Python's, or `paths`.
    pub fn runtime(&self) -> Result<Runtime> {
        for name in &self.preload {
            check_name("preload", name)?;
        }
        let interpreter = self.interpreter.clone().unwrap_or_else(|| "python3".into());
        // Isolated from the environment, and not trying to write beside the modules.
        let mut args = vec![interpreter.into_os_string(), "-I".into(), "-B".into()];
        args.push(format!("{DIR}/{}", FILES[0].0).into());
        for path in &self.paths {
            crate::sandbox::check_host_path("paths", path)?;
            let mut argument = OsString::from("path=");
            argument.push(path);
            args.push(argument);
        }
        args.extend(self.preload.iter().map(|name| format!("preload={name}").into()));
        if let Some(handler) = &self.handler {
            let (module, function) = handler.split_once(':').ok_or_else(|| {
                Error::invalid("handler", format_args!("{handler:?} is not module:function"))
            })?;
            check_name("handler", module)?;
            check_name("handler", function)?;
            args.push(format!("handler={handler}").into());
        }
        if self.json {
            args.push("json=1".into());
        }
        let mut runtime = Runtime::new(args);
        runtime.forks = self.handler.is_none();
        if runtime.forks {
            runtime.env = ONE_THREAD.map(|name| (name.into(), "1".into())).into();
        }
        runtime.brings = self.brings.iter().chain(&self.paths).cloned().collect();
        runtime.files = files();
        Ok(runtime)
    }
}

/// The runtime's files, by their paths in a sandbox.
fn files() -> Vec<(PathBuf, Arc<[u8]>)> {
    FILES.map(|(name, bytes)| (format!("{DIR}/{name}").into(), bytes.into())).into()
}

/// One or more identifiers with dots between them, as far as that can be said without Python's tables.
fn check_name(field: &str, name: &str) -> Result<()> {
    let is_identifier = |part: &str| {
        part.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    if name.split('.').all(|part| !part.is_empty() && is_identifier(part)) {
        return Ok(());
    }
    Err(Error::invalid(field, format_args!("{name:?} is no name of Python's")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_told_what_it_is_to_be() {
        let python = PythonRuntime {
            json: true,
            paths: vec!["/usr/share".into()],
            brings: vec!["/usr/lib".into()],
            interpreter: Some("/opt/python/bin/python".into()),
            preload: vec!["os.path".into()],
            ..PythonRuntime::handling("app:Class.method")
        };
        let runtime = python.runtime().unwrap();
        assert_eq!(runtime.args[0], "/opt/python/bin/python");
        let rest = ["path=/usr/share", "preload=os.path", "handler=app:Class.method", "json=1"];
        assert_eq!(runtime.args[4..], rest);
        assert_eq!(runtime.brings, [PathBuf::from("/usr/lib"), "/usr/share".into()]);
        assert!(!runtime.forks && runtime.validate().is_ok());
        // What has a handler is not forked, so it may use as many threads as it likes.
        assert!(runtime.env.is_empty());
        let server = PythonRuntime::preloaded(["json"]).runtime().unwrap();
        assert!(server.forks && server.env.iter().any(|(name, _)| name == "OMP_NUM_THREADS"));
        assert_eq!(server.args[0], "python3");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ".", "a.", "a b", "1a", "-c", "a/b", "../a", "a=b", "a\0"] {
            let error = PythonRuntime::preloaded([name]).runtime().unwrap_err();
            assert_eq!(error.field(), Some("preload"), "{name:?}");
        }
        for handler in ["app", "app:", ":f", "app:f:g", "app:f()", "app/x:f"] {
            let error = PythonRuntime::handling(handler).runtime().unwrap_err();
            assert_eq!(error.field(), Some("handler"), "{handler:?}");
        }
        let relative = PythonRuntime { paths: vec!["modules".into()], ..PythonRuntime::default() };
        assert_eq!(relative.runtime().unwrap_err().field(), Some("paths"));
    }

    #[test]
    fn the_library_is_one_without_dependencies() {
        let (_, library) = FILES[5];
        assert!(library.starts_with(b"\x7fELF"));
        assert!(library.len() < 64 << 10, "{} bytes", library.len());
        let has = |text: &[u8]| library.windows(text.len()).any(|window| window == text);
        assert!(has(b"sandboxset_python_serve\0"));
        assert!(!has(b"libc.so") && !has(b"GLIBC_"));
    }
}
