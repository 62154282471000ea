//! Builds the probes as a static program, which the library carries inside.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

#[path = "../static_program.rs"]
mod static_program;

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../static_program.rs");
    println!("cargo:rerun-if-changed=../../tests/probes");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    match static_program::build(Path::new("../../tests/probes"), "sandboxset-probes", "") {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}
