//! Builds the keeper as a static program and hands it to the library, which carries it inside.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::{env, io};

mod static_program;

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=static_program.rs");
    println!("cargo:rerun-if-changed=keeper");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    if env::var_os("CARGO_FEATURE_LINUX").is_none() {
        return ExitCode::SUCCESS;
    }
    match static_program::build(Path::new("keeper"), "sandboxset-keeper", "binary") {
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
