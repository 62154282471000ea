//! Forking from a parent: the example fork server in C, beside a bare clone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Acquire, Backend, Config, Runtime, SandboxSet, SandboxSpec};

use crate::floor::{Cgroup, clone_and_wait};
use crate::linux_rows::{Pace, close, get, text};
use crate::measure::{Arrivals, Failure, Samples};
use crate::report::{Row, Unit};

/// The row of this module, without its variant.
pub(crate) const FORK_C: &str = "linux.fork_c";

/// A directory with the compiled server, removed when dropped.
struct Server(PathBuf);

impl Server {
    fn compile() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("sandboxset-bench-fork-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(text)?;
        let server = Server(dir);
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let status = Command::new("cc")
            .args(["-O2", "-static", "-I"])
            .args([top.join("include"), top.join("ffi/examples/zygote.c")])
            .arg("-o")
            .arg(server.0.join("zygote"))
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("cc: {error}"))?;
        if status.success() { Ok(server) } else { Err("the fork server does not compile".into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Row `linux.fork_c`: from the get on a set without a sandbox until its fork of a warm parent has said that it is
/// ready. The floor is the bare clone of a process into a cgroup, until it has ended.
pub(crate) fn fork_c(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let server = Server::compile()?;
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).map_err(text)?);
    let mut runtime = Runtime::new(["/code/zygote"]);
    runtime.forks = true;
    let spec =
        SandboxSpec { code_dir: Some(server.0.clone()), runtime: Some(runtime), ..SandboxSpec::default() };
    let config = Config { max_size: 1, ..Config::default() };
    let parents = SandboxSet::new(Arc::clone(&backend), spec, config).map_err(text)?;
    // Room for the sandboxes whose teardown is still going on.
    let config = Config { max_size: 64, parent: Some(parents.clone()), ..Config::default() };
    let set = SandboxSet::new(backend, SandboxSpec::default(), config).map_err(text)?;
    get(&set, Acquire::Any)?.destroy("only warms the parent up").map_err(text)?;
    let floor = Cgroup::new().map_err(text);
    let mut arrivals = Arrivals::new();
    let [mut ours, mut clones] = std::array::from_fn(|_| Samples::new());
    for _ in 0..pace.count(quick, 300) {
        if let Ok(cgroup) = &floor {
            pace.wait(&mut arrivals);
            clones.time(|| clone_and_wait(cgroup, 0).map_err(text));
        }
        pace.wait(&mut arrivals);
        if let Some(sandbox) = ours.time(|| get(&set, Acquire::FreshOnly)) {
            sandbox.destroy("measured").map_err(text)?;
        }
        if ours.failures > 10 {
            break;
        }
    }
    close(&set)?;
    close(&parents)?;
    let mut row = Row::new(pace.row(FORK_C), Unit::Microseconds, ours);
    row.set_floor(floor.as_ref().map(|_| &clones));
    Ok(vec![row])
}
