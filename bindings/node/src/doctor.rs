//! What this host offers to sandboxes.

use napi::Env;
use napi_derive::napi;
use sandboxset::backend::linux;
use sandboxset::{Error, ErrorCode, Phase, Task};

use crate::bridge::{Done, start};

#[napi(object, object_from_js = false)]
pub struct Diagnosis {
    pub checks: Vec<Check>,
    pub can_make_sandboxes: bool,
    pub json: String,
    pub table: String,
}

#[napi(object, object_from_js = false)]
pub struct Check {
    pub name: &'static str,
    pub status: &'static str,
    pub detail: String,
    pub fix: String,
}

#[napi(object, object_from_js = false)]
pub struct SelfTest {
    pub json: String,
    pub table: String,
    pub passed: bool,
}

/// Examines this host: makes one sandbox and destroys it, and changes nothing.
#[napi(catch_unwind)]
pub fn doctor(env: Env, done: Done<'_>) -> napi::Result<()> {
    let task = Task::run(Phase::Use, None, |_| Ok(linux::doctor()));
    start(&env, &done, task, |_, core| {
        let check = |check: &linux::Check| Check {
            name: check.name,
            status: check.status.name(),
            detail: check.detail.clone(),
            fix: check.fix.clone(),
        };
        Ok(Diagnosis {
            checks: core.checks.iter().map(check).collect(),
            can_make_sandboxes: core.can_make_sandboxes(),
            json: core.to_json(),
            table: core.to_table(),
        })
    })
}

/// Tries to break out of sandboxes on this host.
#[napi(catch_unwind)]
pub fn self_test(env: Env, done: Done<'_>) -> napi::Result<()> {
    let call = |_: &_| {
        let report = sandboxset_self_test::self_test();
        report.map_err(|failure| Error::new(ErrorCode::Internal, Phase::Use, failure.to_string()))
    };
    start(&env, &done, Task::run(Phase::Use, None, call), |_, report| {
        Ok(SelfTest { json: report.to_json(), table: report.to_table(), passed: report.passed() })
    })
}
