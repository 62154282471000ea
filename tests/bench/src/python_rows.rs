//! Forking a parent that runs Python, beside the same interpreter when it forks itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxset::{PythonRuntime, SandboxSpec};

use crate::density_rows::memory_of_each;
use crate::fork_rows::{Clones, Forks, compare};
use crate::linux_rows::{Pace, text};
use crate::measure::Failure;
use crate::report::Row;

/// The rows of [`stdlib`], without their variants.
pub(crate) const STDLIB: [&str; 2] = ["linux.fork_python", "linux.fork_python.unprepared"];
/// The rows of [`numpy`], without their variants.
pub(crate) const NUMPY: [&str; 2] = ["linux.fork_python.numpy", "linux.fork_python.unprepared.numpy"];
/// The row of [`density`].
pub(crate) const DENSITY: [&str; 1] = ["linux.density_forked_python"];

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

    fn spec(&self, python: PythonRuntime) -> Result<SandboxSpec, Failure> {
        let python =
            PythonRuntime { interpreter: Some(self.path.clone()), brings: self.brings.clone(), ..python };
        Ok(SandboxSpec { runtime: Some(python.runtime().map_err(text)?), ..SandboxSpec::default() })
    }

    /// A warm parent with these modules, and a set of its forks, which need nothing but to say that they are ready.
    fn forks(&self, modules: &[&str], shells: Option<usize>) -> Result<Forks, Failure> {
        let parent = self.spec(PythonRuntime::preloaded(modules.iter().copied()))?;
        Forks::of(shells, parent, self.spec(PythonRuntime::handling("operator:neg"))?)
    }

    fn floor(&self, modules: &[&str]) -> Result<Clones, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fork_floor.py");
        let mut command = Command::new(&self.path);
        // One thread, as in the sandbox.
        Clones::start(command.arg("-I").arg(script).args(modules).env("OPENBLAS_NUM_THREADS", "1"))
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
    if !Interpreter::find()?.has("numpy") {
        eprintln!("SKIPPED: {}: numpy is not installed", pace.row(NUMPY[0]));
        return Ok(Vec::new());
    }
    let modules: Vec<&str> = MODULES.into_iter().chain(["numpy"]).collect();
    fork(NUMPY, &modules, pace, quick)
}

fn fork(families: [&str; 2], modules: &[&str], pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let interpreter = Interpreter::find()?;
    let sets = (interpreter.forks(modules, None)?, interpreter.forks(modules, Some(0))?);
    compare(families, &sets, &interpreter.floor(modules)?, pace, quick)
}

/// Row `linux.density_forked_python`: how much more memory is in use for each paused, idle fork of
/// fifty; what they share with their parent is there once, and not counted.
pub(crate) fn density(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let interpreter = Interpreter::find()?;
    let new_sets = || Ok(interpreter.forks(&MODULES, Some(0))?.into_sets());
    memory_of_each(DENSITY[0], CHILDREN, if quick { 3 } else { 6 }, new_sets)
}
