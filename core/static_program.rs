//! For build scripts: builds a static program that the crate then carries inside.
//!
//! It is another program for another moment, so it is built by a cargo of its own: with its own flags, in its own
//! target directory below ours, and never with those of the outer build (sanitizers, lints, coverage).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, io};

/// What the outer build sets for itself, and what would make the program something else than we want.
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

/// Position-dependent and static: it runs from a memfd or in another root, where there may be no loader to find.
const FLAGS: &str = "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static";

/// Small, because the keeper is memory in every sandbox, and without unwinding, because nothing there catches a panic.
const PROFILE: [&str; 6] = [
    "profile.release.opt-level='s'",
    "profile.release.panic='abort'",
    "profile.release.lto='fat'",
    "profile.release.codegen-units=1",
    "profile.release.debug=false",
    "profile.release.strip=true",
];

/// Builds the binary `name` of the package in `package` and leaves it under that name in `OUT_DIR`.
pub(crate) fn build(package: &Path, name: &str, features: &str) -> Result<(), String> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target = variable("TARGET")?.into_string().map_err(|_| "TARGET is not UTF-8")?;
    let embedded = out_dir.join(name);
    if env::var_os("DOCS_RS").is_some() {
        return fs::write(&embedded, b"").map_err(|error| error.to_string());
    }
    let target_dir = out_dir.join("static");
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(package).join("Cargo.toml");
    let run = |offline| {
        run_cargo(&manifest, name, features, &target, &target_dir, offline).map_err(|error| error.to_string())
    };
    // First without the network, so that a build that has everything needs none.
    let mut output = run(true)?;
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("offline") {
        output = run(false)?;
    }
    if !output.status.success() {
        return Err(format!(
            "building {} failed:\n{}",
            manifest.display(),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let program = target_dir.join(&target).join("release").join(name);
    fs::copy(&program, &embedded).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(())
}

fn run_cargo(
    manifest: &Path,
    name: &str,
    features: &str,
    target: &str,
    target_dir: &Path,
    offline: bool,
) -> io::Result<Output> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--bin", name, "--features", features]);
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
