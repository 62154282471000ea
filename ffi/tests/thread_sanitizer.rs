//! The asynchronous C programs under ThreadSanitizer: the programs, the library and the crates it is made of are
//! instrumented. Rust's standard library is not, as it comes compiled; what is suppressed for that is in
//! `tests/c/thread_sanitizer.txt`. Its generic code, such as channels and reference counts, is compiled into the library.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{repository, run, scratch, skip, succeed, target_dir};

const PROGRAMS: &[&str] = &["async_calls", "async_get", "async_order", "async_race", "cancel", "threads"];

/// Sanitizers are not stable in Rust 1.95; the compiler has them all the same, and nothing that is shipped is built so.
const RUSTFLAGS: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer -Copt-level=1";

#[test]
fn asynchronous_programs_have_no_data_races() {
    let Some(runtime) = runtime() else {
        return skip("C programs under ThreadSanitizer", "this Rust has no runtime of it", PROGRAMS.len());
    };
    let dir = scratch("thread-sanitizer");
    if let Some(why) = refusal(&dir, &runtime) {
        return skip("C programs under ThreadSanitizer", &why, PROGRAMS.len());
    }
    let library = library();
    for name in PROGRAMS {
        let program = build(&repository().join(format!("tests/c/{name}.c")), &dir, &runtime, Some(&library));
        let output = run(&mut sanitized(&program));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}.c: {}\n{errors}", output.status);
    }

    // What would be found: a callback and its caller that share a number without a lock.
    let source = dir.join("racy.c");
    fs::write(&source, RACY).unwrap();
    let output = run(&mut sanitized(&build(&source, &dir, &runtime, Some(&library))));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("data race"), "{}\n{errors}", output.status);
}

const RACY: &str = "#include \"await.h\"
static int shared;
static struct answer last = ANSWER;
static void on_racy(void *user_data, sandboxset_code code, sandboxset_error *failure) {
  shared++;
  on_done(user_data, code, failure);
}
int main(void) {
  sandboxset *set = mock_set(1, NULL);
  sandboxset_ref *ref = get(set);
  OK(sandboxset_ref_put_async(ref, on_racy, &last, &error));
  shared++;
  OK(await(&last));
  sandboxset_ref_free(ref);
  close_and_free(set);
  return 0;
}
";

/// Why this host cannot run such programs, in which addresses are laid out as the runtime needs it.
fn refusal(dir: &Path, runtime: &Path) -> Option<String> {
    let source = dir.join("nothing.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let output = run(&mut sanitized(&build(&source, dir, runtime, None)));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || errors.contains("FATAL: ThreadSanitizer"), "{errors}");
    (!output.status.success()).then_some(errors)
}

/// The runtime that belongs to this compiler, which instruments no differently than C compilers do.
fn runtime() -> Option<PathBuf> {
    let sysroot = succeed(Command::new("rustc").args(["--print", "sysroot"]));
    let dir = Path::new(sysroot.trim()).join("lib/rustlib").join(target()).join("lib");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.to_string_lossy().ends_with("_rt.tsan.a"))
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The directory of an instrumented libsandboxset.so.
fn library() -> PathBuf {
    let target_dir = target_dir().join("thread-sanitizer");
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--quiet", "-p", "sandboxset-ffi", "--lib", "--target", &target(), "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUSTFLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(repository());
    succeed(&mut command);
    let dir = target_dir.join(target()).join("debug");
    let library = dir.join("libsandboxset.so");
    let symbols = succeed(Command::new("nm").args(["-D", "--undefined-only"]).arg(&library));
    assert!(symbols.contains("__tsan_write8"), "the library is not instrumented");
    let link = dir.join("libsandboxset.so.0");
    if fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink("libsandboxset.so", &link).unwrap();
    }
    dir
}

fn build(source: &Path, dir: &Path, runtime: &Path, library: Option<&Path>) -> PathBuf {
    let name = source.file_stem().unwrap();
    let (object, program) = (dir.join(name).with_extension("o"), dir.join(name));
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]);
    compile.args(["-fsanitize=thread", "-c", "-I"]).arg(repository().join("include"));
    compile.arg("-I").arg(repository().join("tests/c")).arg("-o").arg(&object).arg(source);
    succeed(&mut compile);
    // Linked without the C compiler's own runtime: there can be one only, and it lacks what the library calls.
    let mut link = Command::new("cc");
    link.args(["-no-pie", "-pthread", "-o"]).arg(&program).arg(&object);
    link.arg("-Wl,--export-dynamic,--whole-archive").arg(runtime).arg("-Wl,--no-whole-archive");
    if let Some(library) = library {
        link.arg(format!("-L{}", library.display())).arg("-lsandboxset");
        link.arg(format!("-Wl,-rpath,{}", library.display()));
    }
    link.args(["-ldl", "-lrt", "-lm"]);
    succeed(&mut link);
    let symbols = succeed(Command::new("nm").arg(&program));
    assert!(symbols.contains("__tsan_init"), "{} is not sanitized", program.display());
    program
}

fn sanitized(program: &Path) -> Command {
    let suppressions = repository().join("tests/c/thread_sanitizer.txt");
    let mut command = Command::new(program);
    command
        // Cargo names the directory of the plain library there.
        .env_remove("LD_LIBRARY_PATH")
        .env("TSAN_OPTIONS", format!("halt_on_error=1:exitcode=66:suppressions={}", suppressions.display()));
    command
}
