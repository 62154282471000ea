//! Forking a parent that runs Python, beside the same interpreter when it forks itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxset::{PythonRuntime, SandboxSpec};

use crate::density_rows::{memory_of_each, more};
use crate::fork_rows::{Clones, Forks, compare, tempdir};
use crate::linux_rows::{PATIENCE, Pace, text};
use crate::measure::{Failure, Samples};
use crate::report::Row;

/// The rows of [`stdlib`], without their variants.
pub(crate) const STDLIB: [&str; 2] = ["linux.fork_python", "linux.fork_python.unprepared"];
/// The rows of [`numpy`], without their variants.
pub(crate) const NUMPY: [&str; 2] = ["linux.fork_python.numpy", "linux.fork_python.unprepared.numpy"];
/// The rows of [`first_call`], without their variants.
pub(crate) const FIRST_CALL: [&str; 2] = ["linux.fork_python_call", "linux.fork_python_call_own"];
/// The rows of [`first_call_numpy`], without their variants.
pub(crate) const FIRST_CALL_NUMPY: [&str; 2] =
    ["linux.fork_python_call.numpy", "linux.fork_python_call_own.numpy"];
/// The rows of [`density`].
pub(crate) const DENSITY: [&str; 2] = ["linux.density_forked_python", "linux.density_forked_python_own"];

/// What a function of some size imports from the standard library.
const MODULES: [&str; 20] = [
    "argparse",
    "asyncio",
    "collections",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "email",
    "hashlib",
    "http.client",
    "json",
    "logging",
    "random",
    "re",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib.request",
    "uuid",
];

/// How many forked sandboxes there are at once in the row of memory.
const CHILDREN: usize = 50;

/// An interpreter, and what of the host it needs.
struct Interpreter {
    path: PathBuf,
    brings: Vec<PathBuf>,
}

impl Interpreter {
    /// That of the virtual environment of the benchmarks, else the host's own.
    fn find() -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(text)?;
        let environment =
            program.ancestors().nth(2).map(|target| target.join("bench/venv")).unwrap_or_default();
        let path = environment.join("bin/python");
        if path.exists() {
            return Ok(Interpreter { path, brings: vec![environment] });
        }
        Ok(Interpreter { path: "/usr/bin/python3".into(), brings: Vec::new() })
    }

    fn has(&self, module: &str) -> bool {
        let script = format!("import {module}");
        let status = Command::new(&self.path).args(["-c", &script]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn spec(&self, python: PythonRuntime, code: Option<&Code>) -> Result<SandboxSpec, Failure> {
        let python =
            PythonRuntime { interpreter: Some(self.path.clone()), brings: self.brings.clone(), ..python };
        Ok(SandboxSpec {
            runtime: Some(python.runtime().map_err(text)?),
            code_dir: code.map(|code| code.0.clone()),
            ..SandboxSpec::default()
        })
    }

    /// A warm parent with these modules, and a set of its forks. Their handler is in what the parent has imported, or in
    /// code of their own, which each of them imports.
    fn forks(&self, modules: &[&str], code: Option<&Code>, shells: Option<usize>) -> Result<Forks, Failure> {
        let parent = self.spec(PythonRuntime::preloaded(modules.iter().copied()), None)?;
        let handler = PythonRuntime::handling(if code.is_some() { "app:echo" } else { "builtins:bytes" });
        Forks::of(shells, parent, self.spec(handler, code)?)
    }

    /// What forks itself for each byte, and whose children `end` or `stay`.
    fn floor(&self, kind: &str, modules: &[&str]) -> Result<Clones, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fork_floor.py");
        let mut command = Command::new(&self.path);
        // One thread, as in the sandbox.
        Clones::start(command.arg("-I").arg(script).arg(kind).args(modules).env("OPENBLAS_NUM_THREADS", "1"))
    }
}

/// A directory with a handler, removed when dropped.
struct Code(PathBuf);

impl Code {
    fn new() -> Result<Self, Failure> {
        let code = Code(tempdir());
        std::fs::create_dir(&code.0).map_err(text)?;
        std::fs::write(code.0.join("app.py"), "def echo(request):\n    return request\n").map_err(text)?;
        Ok(code)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Row `linux.fork_python`: from the get on a set without a sandbox until its fork of a warm parent, which has much of
/// the standard library loaded, listens for calls. In the tight variant it begins when a fork waits for it, in the
/// spaced one when it comes. Row `linux.fork_python.unprepared`: the same with nothing prepared. The floor is the same interpreter with the same modules and a plain `os.fork`, until the
/// child's first byte is there.
pub(crate) fn stdlib(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    fork(STDLIB, &MODULES, pace, quick)
}

/// Rows `linux.fork_python.numpy` and `linux.fork_python.unprepared.numpy`: the same with numpy.
pub(crate) fn numpy(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    with_numpy(NUMPY, pace, |modules| fork(NUMPY, modules, pace, quick))
}

fn fork(families: [&str; 2], modules: &[&str], pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let interpreter = Interpreter::find()?;
    let sets = [interpreter.forks(modules, None, None)?, interpreter.forks(modules, None, Some(0))?];
    compare(families, &sets, Forks::get, &interpreter.floor("end", modules)?, pace, quick)
}

/// Row `linux.fork_python_call`: as `linux.fork_python`, but until the first call is answered, because a fork that has
/// its handler from its parent does only then what a fork of Python does. Row `linux.fork_python_call_own`: the same with
/// a handler that is code of its own, which it imports before it is handed out.
pub(crate) fn first_call(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    call(FIRST_CALL, &MODULES, pace, quick)
}

/// Rows `linux.fork_python_call.numpy` and `linux.fork_python_call_own.numpy`: the same with numpy.
pub(crate) fn first_call_numpy(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    with_numpy(FIRST_CALL_NUMPY, pace, |modules| call(FIRST_CALL_NUMPY, modules, pace, quick))
}

fn call(families: [&str; 2], modules: &[&str], pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let interpreter = Interpreter::find()?;
    let code = Code::new()?;
    let sets = [interpreter.forks(modules, None, None)?, interpreter.forks(modules, Some(&code), None)?];
    let called = |forks: &Forks| {
        let sandbox = forks.get()?;
        sandbox.call(b"a request", PATIENCE, None).map_err(text)?;
        Ok(sandbox)
    };
    compare(families, &sets, called, &interpreter.floor("end", modules)?, pace, quick)
}

fn with_numpy(
    families: [&str; 2],
    pace: Pace,
    measure: impl FnOnce(&[&str]) -> Result<Vec<Row>, Failure>,
) -> Result<Vec<Row>, Failure> {
    if !Interpreter::find()?.has("numpy") {
        eprintln!("SKIPPED: {}: numpy is not installed", pace.row(families[0]));
        return Ok(Vec::new());
    }
    let modules: Vec<&str> = MODULES.into_iter().chain(["numpy"]).collect();
    measure(&modules)
}

/// Row `linux.density_forked_python`: how much more memory is in use for each paused, idle fork of
/// fifty; what they share with their parent is there once, and not counted. Row `linux.density_forked_python_own`: the
/// same of forks with a handler that is code of their own. The floor is a plain `os.fork` of the same interpreter, whose
/// child only waits.
pub(crate) fn density(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let interpreter = Interpreter::find()?;
    let code = Code::new()?;
    let rounds = if quick { 3 } else { 6 };
    let mut floor = Samples::new();
    for _ in 1..rounds {
        let clones = interpreter.floor("stay", &MODULES)?;
        floor.record(more(CHILDREN, || (0..CHILDREN).try_for_each(|_| clones.one()))?, 1);
    }
    let mut rows = Vec::new();
    for (name, code) in DENSITY.into_iter().zip([None, Some(&code)]) {
        let new_sets = || Ok(interpreter.forks(&MODULES, code, Some(0))?.into_sets());
        rows.extend(memory_of_each(name, CHILDREN, rounds, new_sets)?);
    }
    rows.iter_mut().for_each(|row| row.set_floor(Ok::<_, &Failure>(&floor)));
    Ok(rows)
}
