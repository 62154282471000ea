//! Sandboxes in every world of cgroups that hosts live in: a guest with Debian's kernel is booted into each, and
//! its first process tries what the table in `sandboxset_tests::worlds` says of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod guest;

use std::collections::BTreeSet;

use sandboxset_tests::lacks::LACKS;
use sandboxset_tests::worlds::{Actor, World};

use self::guest::Guest;

/// Boots a world, and looks in what it said for all that must hold there.
fn all_hold_in(name: &str, expected: impl IntoIterator<Item = String>) {
    let Some(guest) = Guest::get() else { return };
    let console = guest.boot(name);
    let results: BTreeSet<&str> =
        console.lines().filter_map(|line| line.trim().strip_prefix("RESULT ")).collect();
    assert!(results.contains("end"), "the guest did not get to its end:\n{console}");
    for held in expected {
        assert!(results.iter().any(|result| result.starts_with(&held)), "not {held:?}:\n{console}");
    }
    for result in results {
        println!("{name}: {result}");
    }
}

/// Every check of every actor.
fn sandboxes_work_in(name: &str) {
    let checks =
        |actor: &'static Actor| actor.checks.iter().map(|check| format!("{} {check} ok", actor.name));
    all_hold_in(name, World::named(name).actors.iter().flat_map(checks));
}

#[test]
fn pure_v2() {
    sandboxes_work_in("v2");
}

#[test]
fn hybrid() {
    sandboxes_work_in("hybrid");
}

#[test]
fn v1_only() {
    sandboxes_work_in("v1");
}

#[test]
fn no_cgroups() {
    sandboxes_work_in("none");
}

#[test]
fn hosts_that_lack_something() {
    all_hold_in("lacking", LACKS.iter().map(|lack| format!("lacks {} ok", lack.name)));
}
