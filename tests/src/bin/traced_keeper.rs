//! Stands where the keeper should, and runs the keeper under strace. Whoever runs it has put beside it, in one
//! directory, the keeper itself and a file with the arguments of strace, one in each line.
//!
//! Only the first one is traced, so that what comes after a keeper that died can succeed.
#![allow(clippy::unwrap_used, reason = "a test program")]

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let program = std::env::current_exe().unwrap();
    let dir = program.parent().unwrap();
    let keeper = sandboxset_tests::strace::KEEPER;
    let first = std::fs::File::create_new(dir.join(sandboxset_tests::strace::TRACED)).is_ok();
    let mut command = if first {
        let arguments = std::fs::read_to_string(dir.join(sandboxset_tests::strace::ARGUMENTS)).unwrap();
        let mut lines = arguments.lines();
        let mut strace = Command::new(lines.next().unwrap());
        strace.args(lines).arg(keeper).env("PATH", dir);
        strace
    } else {
        let mut plain = Command::new(dir.join(keeper));
        plain.arg0(keeper);
        plain
    };
    // Only returns if it could not.
    panic!("{}", command.exec());
}
