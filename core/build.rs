//! Builds what the library carries inside: the keeper, a static program, and the library of the Python runtime.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, io};

mod static_program;

const ZYGOTE: &str = "src/runtime/python/zygote.c";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=static_program.rs");
    println!("cargo:rerun-if-changed=keeper");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    println!("cargo:rerun-if-changed={ZYGOTE}");
    println!("cargo:rerun-if-changed=src/runtime/python/sandboxset_zygote.h");
    if env::var_os("CARGO_FEATURE_LINUX").is_none() {
        return ExitCode::SUCCESS;
    }
    let built =
        static_program::build(Path::new("keeper"), "sandboxset-keeper", "binary").and_then(|()| zygote());
    if let Err(message) = built {
        // The text of a failed build script is what the person who builds sees.
        println!("cargo:warning=what the `linux` feature carries inside could not be built");
        let _ = writeln!(io::stderr(), "{message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The fork server of the Python runtime. It is linked to no C library, because it is to run with whichever the
/// interpreter in a sandbox has.
fn zygote() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("zygote.so");
    if env::var_os("DOCS_RS").is_some() {
        return std::fs::write(&out, b"").map_err(|error| error.to_string());
    }
    let compiler = cc::Build::new()
        .cargo_metadata(false)
        .opt_level(2)
        .debug(false)
        .try_get_compiler()
        .map_err(|error| format!("no C compiler: {error}"))?;
    let mut command = compiler.to_command();
    command.args([
        "-std=c11",
        "-D_GNU_SOURCE",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fPIC",
        "-fvisibility=hidden",
    ]);
    // Both would need what only one C library has.
    command.args(["-fno-stack-protector", "-U_FORTIFY_SOURCE"]);
    command
        .args(["-shared", "-nostdlib", "-s", "-Wl,--build-id=none", "-Wl,-z,noexecstack", ZYGOTE, "-o"])
        .arg(&out);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}
