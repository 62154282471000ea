//! Builds the keeper as a static program and hands it to the library, which carries it inside.
//!
//! The keeper is another program for another moment, so it is built by a cargo of its own: with its own flags,
//! in its own target directory below ours, and never with those of the outer build (sanitizers, lints, coverage).

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::{env, fs, io};

/// What the outer build sets for itself, and what would make the keeper something else than we want.
const NOT_INHERITED: [&str; 9] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
    "CLIPPY_ARGS",
    "LLVM_PROFILE_FILE",
];

/// Position-dependent and static: the keeper runs from a memfd, where there may be no loader to find.
const FLAGS: &str = "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static";

/// Small, because it is memory in every sandbox, and without unwinding, because nothing there catches a panic.
const PROFILE: [&str; 6] = [
    "profile.release.opt-level='s'",
    "profile.release.panic='abort'",
    "profile.release.lto='fat'",
    "profile.release.codegen-units=1",
    "profile.release.debug=false",
    "profile.release.strip=true",
];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=keeper");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    if env::var_os("CARGO_FEATURE_LINUX").is_none() {
        return ExitCode::SUCCESS;
    }
    match build_keeper() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The text of a failed build script is what the person who builds sees.
            println!(
                "cargo:warning=the keeper, which the `linux` feature carries inside, could not be built"
            );
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn build_keeper() -> Result<(), String> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target = variable("TARGET")?.into_string().map_err(|_| "TARGET is not UTF-8")?;
    let embedded = out_dir.join("sandboxset-keeper");
    if env::var_os("DOCS_RS").is_some() {
        return fs::write(&embedded, b"").map_err(|error| error.to_string());
    }
    let target_dir = out_dir.join("keeper");
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("keeper/Cargo.toml");
    // First without the network, so that a build that has everything needs none.
    let mut output = run_cargo(&manifest, &target, &target_dir, true).map_err(|error| error.to_string())?;
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("offline") {
        output = run_cargo(&manifest, &target, &target_dir, false).map_err(|error| error.to_string())?;
    }
    if !output.status.success() {
        return Err(format!(
            "building {} failed:\n{}",
            manifest.display(),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let program = target_dir.join(&target).join("release/sandboxset-keeper");
    fs::copy(&program, &embedded).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(())
}

fn run_cargo(manifest: &Path, target: &str, target_dir: &Path, offline: bool) -> io::Result<Output> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--bin", "sandboxset-keeper", "--features", "binary"]);
    cargo.arg("--manifest-path").arg(manifest);
    cargo.args(["--target", target]).arg("--target-dir").arg(target_dir);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    // With a lock file nothing is ever written to the checkout, which may be read-only.
    if manifest.ancestors().skip(1).any(|dir| dir.join("Cargo.lock").exists()) {
        cargo.arg("--locked");
    }
    if offline {
        cargo.arg("--offline");
    }
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    cargo.env_remove(format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_")));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS);
    cargo.output()
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set"))
}
