//! Every C program: shared and static, with sanitizers, and under valgrind.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Compiler, Linking, SKIPPED, libraries, repository, run, scratch, skip, succeed};

const WARNINGS_ARE_FATAL: &str = "halt_on_error=1:abort_on_error=0";

/// The programs that need nothing but memory. Every C file of the directory is in one of the two lists.
const ON_MOCKS: &[&str] = &[
    "async_calls",
    "async_get",
    "async_order",
    "async_race",
    "bad_input",
    "cancel",
    "events",
    "exec",
    "fork",
    "late",
    "mock",
    "parents",
    "ref",
    "set",
    "threads",
    "tree",
];
/// The programs that make real sandboxes.
const ON_LINUX: &[&str] = &["async_linux", "linux", "runtimes"];

#[test]
fn every_program_is_listed() {
    let mut found: Vec<String> = fs::read_dir(repository().join("tests/c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut listed: Vec<&str> = ON_MOCKS.iter().chain(ON_LINUX).copied().collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn mock_programs_pass_shared() {
    pass_all(ON_MOCKS, Linking::Shared, "shared", &[], |program| Command::new(program));
}

#[test]
fn mock_programs_pass_static() {
    pass_all(ON_MOCKS, Linking::Static, "static", &[], |program| Command::new(program));
}

#[test]
fn mock_programs_pass_with_sanitizers() {
    let programs = pass_all(ON_MOCKS, Linking::Shared, "sanitized", SANITIZERS, sanitized);
    prove_sanitized(&programs);
}

#[test]
fn mock_programs_pass_under_valgrind() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        skip("c programs under valgrind", "valgrind is not installed", ON_MOCKS.len());
        return;
    }
    pass_all(ON_MOCKS, Linking::Shared, "valgrind", &[], |program| {
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
            .args(["--errors-for-leak-kinds=definite,indirect", "--trace-children=no"])
            .arg(program);
        command
    });
}

#[test]
fn linux_programs_pass_shared() {
    pass_all(ON_LINUX, Linking::Shared, "linux-shared", &[], |program| Command::new(program));
}

#[test]
fn linux_programs_pass_static() {
    pass_all(ON_LINUX, Linking::Static, "linux-static", &[], |program| Command::new(program));
}

#[test]
fn linux_programs_pass_with_sanitizers() {
    let programs = pass_all(ON_LINUX, Linking::Shared, "linux-sanitized", SANITIZERS, sanitized);
    prove_sanitized(&programs);
}

#[test]
fn the_sanitizers_see_a_leak_and_an_overflow() {
    let dir = scratch("proof");
    let cases = [
        (
            "leak",
            "#include \"check.h\"\nint main(void) { sandboxset_cancel *cancel = NULL; \
            OK(sandboxset_cancel_new(&cancel, &error)); cancel = NULL; return 0; }\n",
        ),
        (
            "overflow",
            "#include \"check.h\"\nint main(int count, char **words) { (void)words; \
            char *bytes = malloc(4); bytes[3 + count] = 1; int lost = bytes[3 + count]; free(bytes); return lost - 1; }\n",
        ),
    ];
    for (name, text) in cases {
        let source = dir.join(format!("{name}.c"));
        fs::write(&source, text).unwrap();
        let program = build(&source, Linking::Shared, SANITIZERS, &dir.join(name));
        let output = run(&mut sanitized(&program));
        assert!(!output.status.success(), "the sanitizers did not notice the {name}");
    }
}

#[test]
fn the_example_of_callbacks_runs_its_jobs() {
    let source = repository().join("ffi/examples/callbacks.c");
    let program = build(&source, Linking::Shared, SANITIZERS, &scratch("callbacks").join("callbacks"));
    let output = run(&mut sanitized(&program));
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && errors.contains("cannot ") && !support::linux_sandboxes_work() {
        return skip("callbacks.c", errors.trim(), 1);
    }
    assert!(output.status.success(), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    let wanted: Vec<String> =
        (0..8).map(|number| format!("{number} squared is {}", number * number)).collect();
    assert_eq!(lines, wanted);
}

#[test]
fn the_benchmark_prints_its_line() {
    let dir = scratch("bench");
    let source = repository().join("ffi/benches/get_put.c");
    let program = build(&source, Linking::Shared, &["-O2"], &dir.join("get_put"));
    let line = succeed(Command::new(&program).arg("10"));
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(row["name"], "c.get_put");
    assert_eq!(row["unit"], "ns");
    assert_eq!(row["n"], 1000);
    let percentile = |name: &str| row[name].as_f64().unwrap();
    assert!(percentile("p50") > 0.0);
    assert!(percentile("p50") <= percentile("p90") && percentile("p90") <= percentile("p99"));
    assert!(percentile("p99") <= percentile("max"));
}

const SANITIZERS: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn sanitized(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", WARNINGS_ARE_FATAL).env("UBSAN_OPTIONS", WARNINGS_ARE_FATAL);
    command
}

/// Builds and runs programs; each must exit with 0, or say that it cannot run here.
fn pass_all(
    names: &[&str],
    linking: Linking,
    variant: &str,
    flags: &[&str],
    command: impl Fn(&Path) -> Command,
) -> Vec<PathBuf> {
    let dir = scratch(variant);
    let mut programs = Vec::new();
    for name in names {
        let source = repository().join(format!("tests/c/{name}.c"));
        let program = build(&source, linking, flags, &dir.join(name));
        let output = run(&mut command(&program));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(SKIPPED) {
            skip(&format!("{name}.c, {variant}"), text.trim(), 1);
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}.c, {variant}: {}\n{text}{errors}", output.status);
            for line in text.lines().filter(|line| line.starts_with("SKIP")) {
                skip(&format!("{name}.c, {variant}"), line, 1);
            }
        }
        programs.push(program);
    }
    programs
}

fn build(source: &Path, linking: Linking, flags: &[&str], program: &Path) -> PathBuf {
    let mut arguments: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    arguments.push(format!("-I{}", repository().join("tests/c").display()));
    arguments.push("-pthread".to_owned());
    arguments.extend(linking.arguments());
    Compiler::c("gnu11").build(&[source.to_owned()], program, &arguments);
    let needed = succeed(Command::new("readelf").arg("-d").arg(program));
    assert_eq!(
        needed.contains("libsandboxset.so.0"),
        linking == Linking::Shared,
        "{}",
        libraries().display()
    );
    program.to_owned()
}

fn prove_sanitized(programs: &[PathBuf]) {
    for program in programs {
        let symbols = succeed(Command::new("nm").arg(program));
        assert!(symbols.contains("__asan_init"), "{} has no address sanitizer", program.display());
        assert!(symbols.contains("__ubsan_handle"), "{} has no undefined sanitizer", program.display());
    }
}
