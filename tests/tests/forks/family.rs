//! Sets of parents and children, whose fork server is the example in C.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Acquire, Config, GetOptions, Result, Runtime, SandboxRef, SandboxSet, SandboxSpec};
use sandboxset_tests::census::{TemporaryDir, temporary_dir};

use crate::HANG;

/// Where the compiled servers are.
pub(crate) struct Servers(TemporaryDir);

impl Servers {
    /// `None`, said loudly, if there is no compiler.
    pub(crate) fn compile() -> Option<Self> {
        let servers = Servers(temporary_dir("forks"));
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let sources = ["ffi/examples/zygote.c", "core/tests/linux/leaky_zygote.c"];
        for (source, name) in sources.into_iter().zip(["zygote", "leaky_zygote"]) {
            let status = Command::new("cc")
                .args(["-O2", "-I"])
                .arg(top.join("include"))
                .arg("-I")
                .arg(top.join("ffi/examples"))
                .arg(top.join(source))
                .arg("-o")
                .arg(servers.0.path().join(name))
                .stdin(Stdio::null())
                .status();
            match status {
                Ok(status) => assert!(status.success(), "{source} does not compile"),
                Err(_) => {
                    println!("SKIPPED: no C compiler for the fork server");
                    return None;
                }
            }
        }
        Some(servers)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

/// A set of fork servers, and a set of their children.
pub(crate) struct Family {
    pub(crate) backend: LinuxBackend,
    pub(crate) parents: SandboxSet,
    pub(crate) children: SandboxSet,
}

/// A runtime that serves forks; the arguments are a program, or what a fork is told.
pub(crate) fn fork_server(args: &[&str], code: Option<PathBuf>) -> SandboxSpec {
    let mut runtime = Runtime::new(args.iter().copied());
    runtime.forks = true;
    SandboxSpec { code_dir: code, runtime: Some(runtime), ..SandboxSpec::default() }
}

impl Family {
    /// At most two parents and `children` children. A fork may take so long, both tries together.
    pub(crate) fn new(servers: &Servers, program: &str, children: usize, time: Duration) -> Self {
        Self::with_options(LinuxOptions::default(), servers, program, children, time)
    }

    pub(crate) fn with_options(
        options: LinuxOptions,
        servers: &Servers,
        program: &str,
        children: usize,
        time: Duration,
    ) -> Self {
        let backend = LinuxBackend::new(options).unwrap();
        let spec = fork_server(&[program], Some(servers.dir()));
        let config = Config { max_size: 2, ..Config::default() };
        let parents = SandboxSet::new(Arc::new(backend.clone()), spec, config).unwrap();
        let config = Config {
            max_size: children,
            parent: Some(parents.clone()),
            create_timeout: time,
            ..Config::default()
        };
        let children = SandboxSet::new(Arc::new(backend.clone()), SandboxSpec::default(), config).unwrap();
        Family { backend, parents, children }
    }

    /// A new child.
    pub(crate) fn fork(&self) -> Result<SandboxRef> {
        self.children.get_or_create_unpaused(&GetOptions {
            timeout: Some(HANG),
            acquire: Acquire::FreshOnly,
            ..GetOptions::default()
        })
    }

    /// Forks and destroys one, and waits until others are prepared and the parent rests.
    pub(crate) fn warm_up(&self) {
        self.fork().unwrap().destroy("only warms up").unwrap();
        eventually("the parent rests and forks wait", || {
            self.parents.stats().idle == 1 && self.backend.shells().unwrap().ready >= 2
        });
    }

    /// The one parent, which rests.
    pub(crate) fn parent(&self) -> SandboxRef {
        let reuse = GetOptions { acquire: Acquire::ReuseOnly, ..GetOptions::default() };
        self.parents.get_or_create_unpaused(&reuse).unwrap()
    }

    pub(crate) fn close(self) {
        for set in [&self.children, &self.parents] {
            let report = set.close(HANG).unwrap();
            assert!(report.survivors.is_empty(), "{report:?}");
        }
    }
}

/// Asks the runtime of a child something that it answers with what was prepared.
pub(crate) fn assert_forked(child: &SandboxRef) {
    let answer = child.call(b"state", HANG, None).unwrap();
    assert!(answer.starts_with(b"p "), "{answer:?}");
}

/// Waits until a condition holds; panics when it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
