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
fn the_documented_command_line_builds_against_an_installation() {
    let out = scratch("install").join("out");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let install = || {
        succeed(
            Command::new("make")
                .args(["--silent", "-f", "make/install.mk", "install"])
                .arg(format!("PREFIX={}", out.display()))
                .arg(format!("INSTALL_PROFILE={profile}"))
                .env("CARGO_TARGET_DIR", target_dir())
                .env("CARGO", env!("CARGO"))
                .env_remove("MAKEFLAGS")
                .current_dir(repository()),
        );
    };
    install();
    // Again over an existing installation.
    install();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        fs::read_link(out.join("lib/libsandboxset.so.0")).unwrap(),
        Path::new(&format!("libsandboxset.so.{version}"))
    );
    assert!(out.join("lib/libsandboxset.a").is_file());

    // Word for word what the example's comment and the README say.
    let dir = scratch("documented");
    symlink(repository().join("ffi").canonicalize().unwrap(), dir.join("ffi")).unwrap();
    let line = "cc $(pkg-config --cflags --libs sandboxset) -o run_code ffi/examples/run_code.c";
    let example = fs::read_to_string(dir.join("ffi/examples/run_code.c")).unwrap();
    assert!(example.contains(line));
    let in_installation = |line: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(&dir)
            .env("PKG_CONFIG_PATH", out.join("lib/pkgconfig"))
            .env("LD_LIBRARY_PATH", out.join("lib"));
        command
    };
    succeed(&mut in_installation(line));
    let said = succeed(&mut in_installation("pkg-config --modversion sandboxset"));
    assert_eq!(said.trim(), version);

    let output = run(&mut in_installation("./run_code"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && errors.contains("cannot ") && !support::linux_sandboxes_work() {
        support::skip("run_code", errors.trim(), 1);
        return;
    }
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("run 1: 9592 primes below 100000") && text.contains("run 2:"), "{text}");
    assert!(text.contains("use 2 of this sandbox"), "{text}");
}
