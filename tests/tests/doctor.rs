//! The doctor leaves nothing behind, whether or not the host is well.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sandboxset::backend::linux::doctor;
use sandboxset_tests::census::Scope;

#[test]
fn a_diagnosis_leaves_nothing_behind() {
    let scope = Scope::own();
    // The first one may leave what every first use of the library leaves.
    let first = doctor();
    scope.assert_settles(&scope_before(&scope));
    let before = scope.take();
    for _ in 0..3 {
        let again = doctor();
        assert_eq!(again.can_make_sandboxes(), first.can_make_sandboxes(), "{}", again.to_table());
    }
    scope.assert_settles(&before);
}

/// Nothing but the descriptors and threads that are there now.
fn scope_before(scope: &Scope) -> sandboxset_tests::census::Census {
    let now = scope.take();
    sandboxset_tests::census::Census {
        descriptors: now.descriptors,
        threads: now.threads,
        ..Default::default()
    }
}
