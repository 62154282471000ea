//! The agent of C is built from the library of this very checkout, as the C tests are.

#[path = "../../../ffi/tests/support/mod.rs"]
mod support;

use std::process::Command;

use support::{Compiler, Linking, repository, scratch};

/// Builds it and answers how it is started, or why it cannot be built here.
pub(crate) fn build() -> Result<Vec<String>, String> {
    let found = Command::new("pkg-config").args(["--exists", "jansson"]).status();
    if !found.is_ok_and(|status| status.success()) {
        return Err("it needs pkg-config and libjansson-dev".to_owned());
    }
    let program = scratch("conformance").join("agent");
    let mut sources: Vec<_> = std::fs::read_dir(repository().join("tests/conformance/agents/c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    let mut arguments = vec!["-pthread".to_owned()];
    arguments.extend(Linking::Shared.arguments());
    arguments.push("-ljansson".to_owned());
    Compiler::c("gnu11").build(&sources, &program, &arguments);
    Ok(vec![program.to_str().unwrap().to_owned()])
}
