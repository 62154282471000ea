//! Building and running C programs against the libraries of this very checkout and profile.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linking {
    /// Against libsandboxset.so.
    Shared,
    /// Against libsandboxset.a.
    Static,
}

/// A compiler of one language standard, all warnings errors.
pub(crate) struct Compiler {
    command: &'static str,
    standard: String,
}

impl Compiler {
    pub(crate) fn c(standard: &str) -> Self {
        Compiler { command: "cc", standard: standard.to_owned() }
    }

    pub(crate) fn cpp(standard: &str) -> Self {
        Compiler { command: "c++", standard: standard.to_owned() }
    }

    /// Compiles and links; `more` comes last.
    pub(crate) fn build(&self, sources: &[PathBuf], program: &Path, more: &[String]) {
        let mut command = Command::new(self.command);
        command
            .arg(format!("-std={}", self.standard))
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"])
            .arg("-I")
            .arg(repository().join("include"))
            .arg("-o")
            .arg(program)
            .args(sources)
            .args(more);
        succeed(&mut command);
    }
}

impl Linking {
    /// What the linker needs to be told.
    pub(crate) fn arguments(self) -> Vec<String> {
        let dir = libraries();
        match self {
            Linking::Shared => {
                vec![
                    format!("-L{}", dir.display()),
                    "-lsandboxset".into(),
                    format!("-Wl,-rpath,{}", dir.display()),
                ]
            }
            Linking::Static => {
                let mut arguments = vec![dir.join("libsandboxset.a").display().to_string()];
                arguments.extend(NATIVE_LIBRARIES.iter().map(|library| (*library).to_owned()));
                arguments
            }
        }
    }
}

/// What a static link needs besides; a test compares it with what the Rust compiler says.
pub(crate) const NATIVE_LIBRARIES: &[&str] =
    &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// The directory with freshly built libraries. Cargo does not build them for integration tests, so this does.
pub(crate) fn libraries() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = profile_dir();
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "-p", "sandboxset-ffi", "--lib", "--target-dir"]).arg(target_dir());
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        succeed(command.current_dir(repository()));
        // The dynamic linker looks for the soname.
        let link = dir.join("libsandboxset.so.0");
        if std::fs::symlink_metadata(&link).is_err() {
            // Another test program may be doing the same.
            let _ = std::os::unix::fs::symlink("libsandboxset.so", &link);
        }
        dir
    })
}

/// The root of the checkout.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where cargo puts what this profile builds.
pub(crate) fn profile_dir() -> PathBuf {
    target_dir().join(if cfg!(debug_assertions) { "debug" } else { "release" })
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    // CARGO_TARGET_TMPDIR is <target>/tmp.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// An empty directory of this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ffi-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs a command that must succeed, and answers what it wrote.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Runs a command and answers how it ended.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a C program exits with when this host lacks what it needs; it prints why.
pub(crate) const SKIPPED: i32 = 77;

/// Whether a Linux sandbox can be made on this host, by the C test that finds out.
pub(crate) fn linux_sandboxes_work() -> bool {
    let dir = scratch("probe");
    let mut arguments = Linking::Shared.arguments();
    arguments.insert(0, "-pthread".to_owned());
    let program = dir.join("linux");
    Compiler::c("gnu11").build(&[repository().join("tests/c/linux.c")], &program, &arguments);
    run(&mut Command::new(program)).status.code() != Some(SKIPPED)
}

/// Says that something was not tested. Written past the test harness, which hides what passing tests print.
pub(crate) fn skip(what: &str, why: &str, count: usize) {
    let _ = writeln!(std::io::stderr(), "SKIP ({count}) sandboxset-ffi: {what}: {why}");
}
