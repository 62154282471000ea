//! The libraries themselves: what they export, what they need, how they install.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{NATIVE_LIBRARIES, libraries, repository, run, scratch, succeed, target_dir};

#[test]
fn the_exports_are_the_frozen_ones() {
    let library = libraries().join("libsandboxset.so");
    let symbols =
        succeed(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(library));
    let mut exports: Vec<&str> = symbols.lines().collect();
    exports.sort_unstable();
    let exports = exports.join("\n") + "\n";
    let path = repository().join("tests/c/exports.txt");
    if std::env::var_os("SANDBOXSET_REWRITE").is_some() {
        fs::write(&path, &exports).unwrap();
    }
    assert_eq!(exports, fs::read_to_string(path).unwrap(), "for an addition rerun with SANDBOXSET_REWRITE=1");
    for export in exports.lines() {
        assert!(export.starts_with("sandboxset_"), "{export} lacks the prefix");
    }
    let header = fs::read_to_string(repository().join("include/sandboxset.h")).unwrap();
    for export in exports.lines() {
        assert!(header.contains(&format!("{export}(")), "{export} is not in the header");
    }
}

#[test]
fn the_shared_library_has_its_soname_and_stays_loaded() {
    let library = libraries().join("libsandboxset.so");
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(library));
    assert!(dynamic.contains("soname: [libsandboxset.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}

#[test]
fn the_pkg_config_file_names_the_native_libraries() {
    let template = fs::read_to_string(repository().join("ffi/sandboxset.pc.in")).unwrap();
    let expected = format!("Libs.private: {}", NATIVE_LIBRARIES.join(" "));
    assert!(template.lines().any(|line| line == expected), "the template lacks {expected:?}");
    // The compiler says what a static link needs only while it makes the library: a directory of its own.
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "rustc",
            "--quiet",
            "-p",
            "sandboxset-ffi",
            "--lib",
            "--crate-type",
            "staticlib",
            "--target-dir",
        ])
        .arg(target_dir())
        .args(["--", "--print", "native-static-libs", "--cfg"])
        // Makes this compilation one of its own, so that it is neither fresh nor the one that others link.
        .arg(format!("native_libraries_test_{}", std::process::id()))
        .current_dir(repository());
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("native-static-libs: ")).expect(&said).1;
    for library in line.split_whitespace() {
        assert!(NATIVE_LIBRARIES.contains(&library), "{library} of {line:?} is missing");
    }
}

#[test]
fn the_documented_command_lines_build_and_run_against_an_installation() {
    // A directory that looks like a checkout after `make install PREFIX="$PWD/out"`.
    let dir = scratch("documented");
    symlink(repository().join("ffi").canonicalize().unwrap(), dir.join("ffi")).unwrap();
    install(&dir.join("out"));
    // Again over an existing installation.
    install(&dir.join("out"));
    let version = env!("CARGO_PKG_VERSION");
    let link = fs::read_link(dir.join("out/lib/libsandboxset.so.0")).unwrap();
    assert_eq!(link, Path::new(&format!("libsandboxset.so.{version}")));
    assert!(dir.join("out/lib/libsandboxset.a").is_file());
    let said = succeed(Command::new(dir.join("out/bin/sandboxset")).arg("--version"));
    assert_eq!(said, format!("sandboxset {version}\n"));

    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let example = fs::read_to_string(dir.join("ffi/examples/run_code.c")).unwrap();
    for (place, script) in [("README.md", readme_script(&readme)), ("run_code.c", comment_script(&example))] {
        assert!(script.contains("./run_code"), "{place} does not say how to run the example: {script:?}");
        let in_checkout = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-e", "-c", script]).current_dir(&dir).env_remove("LD_LIBRARY_PATH");
            command
        };
        let said = succeed(&mut in_checkout(&format!(
            "{}\npkg-config --modversion sandboxset",
            script.lines().find(|line| line.starts_with("export")).unwrap()
        )));
        assert_eq!(said.trim(), version);
        let output = run(&mut in_checkout(&script));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && errors.contains("cannot ") && !support::linux_sandboxes_work() {
            support::skip(&format!("run_code as in {place}"), errors.trim(), 1);
            continue;
        }
        assert!(output.status.success(), "{place}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("run 1: 9592 primes below 100000") && text.contains("run 2:"), "{text}");
        assert!(text.contains("use 2 of this sandbox"), "{text}");
    }
}

fn install(prefix: &Path) {
    succeed(
        Command::new("make")
            .args(["--silent", "-f", "make/install.mk", "install"])
            .arg(format!("PREFIX={}", prefix.display()))
            .arg(format!("INSTALL_PROFILE={}", if cfg!(debug_assertions) { "dev" } else { "release" }))
            .env("CARGO_TARGET_DIR", target_dir())
            .env("CARGO", env!("CARGO"))
            .env_remove("MAKEFLAGS")
            .current_dir(repository()),
    );
}

/// The README's block of commands about the example.
fn readme_script(readme: &str) -> String {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains("ffi/examples/run_code.c")).unwrap_or_default().to_owned()
}

/// The commands in the example's own first comment, all but the installation.
fn comment_script(example: &str) -> String {
    let comment = example.split("*/").next().unwrap_or_default();
    let commands = comment.lines().filter_map(|line| line.strip_prefix(" *     "));
    commands.filter(|line| !line.starts_with("make ")).collect::<Vec<_>>().join("\n")
}
