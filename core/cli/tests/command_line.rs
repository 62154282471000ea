//! The program as a user meets it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn sandboxset(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandboxset")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    for args in [
        &[][..],
        &["cure"],
        &["doctor", "now"],
        &["doctor", "--jso"],
        &["--json"],
        &["--json", "doctor"],
        &["self-test", "doctor"],
    ] {
        let output = sandboxset(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(text(&output.stderr).contains("Usage: sandboxset"), "{args:?}");
    }
}

#[test]
fn help_and_version_are_answered() {
    for args in [&["--help"][..], &["-h"], &["doctor", "--help"]] {
        let output = sandboxset(args);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("doctor [--json]"));
    }
    let output = sandboxset(&["--version"]);
    assert_eq!(text(&output.stdout), format!("sandboxset {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_exit_code_says_what_both_forms_of_the_report_say() {
    for args in [&["doctor"][..], &["doctor", "--json"]] {
        let output = sandboxset(args);
        let said = text(&output.stdout);
        let can =
            said.contains("This host can make sandboxes.") || said.contains("\"can_make_sandboxes\": true");
        let cannot = said.contains("cannot make") || said.contains("\"can_make_sandboxes\": false");
        assert_ne!(can, cannot, "{said}");
        assert_eq!(output.status.code(), Some(if can { 0 } else { 1 }), "{said}");
    }
}

/// Every probe is run, nothing escapes, and both forms say the same.
#[test]
fn the_self_test_passes_here() {
    let json = sandboxset(&["self-test", "--json"]);
    let said = text(&json.stdout);
    assert_eq!(json.status.code(), Some(0), "{said}{}", text(&json.stderr));
    assert!(said.contains("\"passed\": true") && said.contains("\"escaped\": 0"), "{said}");
    let table = sandboxset(&["self-test"]);
    let said = text(&table.stdout);
    assert_eq!(table.status.code(), Some(0), "{said}");
    // Attempts were made, and controls were effective; how many depends on the host.
    let summary = said.lines().last().unwrap();
    assert!(summary.contains(" 0 ESCAPED") && !summary.contains(" 0 blocked"), "{summary}");
    assert!(!summary.contains("; 0 of"), "{summary}");
}

#[test]
fn a_host_that_cannot_is_1_for_the_self_test_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxset"));
    let output = command.arg("self-test").env("SANDBOXSET_KEEPER", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing could be tried"), "{output:?}");
}

#[test]
fn a_host_that_cannot_is_1() {
    // A keeper that does not exist stands for a host that cannot.
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxset"));
    let output = command.arg("doctor").env("SANDBOXSET_KEEPER", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("unset the variable SANDBOXSET_KEEPER"), "{said}");
    assert!(said.contains("This host cannot make sandboxes."), "{said}");
}
