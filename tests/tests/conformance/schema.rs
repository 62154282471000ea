//! Which operations there are and what they take, so that no agent needs to look for misspelled arguments.

use serde_json::{Map, Value};

/// An operation: its name, what it must be told, what it may be told.
type Operation = (&'static str, &'static [&'static str], &'static [&'static str]);

const OPERATIONS: &[Operation] = &[
    ("backend_new", &["as", "kind"], &["keeper", "image_cache", "shells"]),
    ("mock_fault_at", &["backend", "operation", "nth", "fault"], &[]),
    ("mock_fault_always", &["backend", "operation"], &["fault"]),
    ("mock_release_hangs", &["backend"], &[]),
    ("mock_wait_for_hangs", &["backend", "operation", "count", "timeout_ms"], &[]),
    ("mock_counts", &["backend"], &[]),
    ("mock_calls", &["backend", "operation"], &[]),
    ("clock_new", &["as"], &[]),
    ("clock_advance", &["clock", "by_ms"], &[]),
    ("cancel_new", &["as"], &[]),
    ("cancel", &["cancel"], &[]),
    ("set_new", &["as", "backend"], &["spec", "config"]),
    ("get_or_create_unpaused", &["set", "as"], &["timeout_ms", "no_wait", "acquire", "cancel", "binding"]),
    ("prewarm", &["set", "count"], &["timeout_ms"]),
    ("shrink", &["set", "keep"], &[]),
    ("drain", &["set"], &["deadline_ms"]),
    ("close", &["set"], &["deadline_ms"]),
    ("stats", &["set"], &[]),
    ("isolation_report", &["set"], &[]),
    ("events", &["set", "as"], &["capacity"]),
    ("next_event", &["events", "timeout_ms"], &[]),
    ("put", &["ref"], &[]),
    ("destroy", &["ref", "reason"], &[]),
    ("taint", &["ref", "reason"], &[]),
    ("leave_scope", &["ref", "failing"], &[]),
    ("abandon", &["ref"], &[]),
    ("inspect", &["ref"], &[]),
    ("age", &["ref"], &[]),
    ("usage", &["ref"], &[]),
    ("log", &["ref"], &["max_bytes"]),
    ("exec", &["ref", "command"], &[]),
    ("spawn", &["ref", "as", "command"], &[]),
    ("write_stdin", &["process", "data"], &["timeout_ms"]),
    ("close_stdin", &["process"], &[]),
    ("kill", &["process"], &[]),
    ("read", &["process", "stream", "max_bytes"], &["timeout_ms"]),
    ("signal", &["process", "signal"], &[]),
    ("wait", &["process"], &["timeout_ms", "cancel"]),
    ("call", &["ref", "data"], &["timeout_ms", "cancel"]),
    ("connect", &["ref", "as"], &["timeout_ms", "cancel"]),
    ("connection_set_timeout", &["connection", "timeout_ms"], &[]),
    ("connection_write", &["connection", "data"], &[]),
    ("connection_read", &["connection", "max_bytes"], &[]),
    ("read_file", &["ref", "path"], &["max_bytes"]),
    ("write_file", &["ref", "path", "data"], &["mode"]),
    ("list_dir", &["ref"], &["path", "max_entries"]),
    ("remove", &["ref", "path"], &[]),
    ("drop", &[], HANDLES),
    ("join", &["name"], &[]),
];

const HANDLES: &[&str] = &["backend", "set", "ref", "process", "connection", "events", "clock", "cancel"];

/// What an argument that is an object may have.
const OBJECTS: &[(&str, &[&str])] = &[
    ("fault", &["kind", "message", "delay_ms"]),
    ("spec", &["root", "code_dir", "binds", "env", "limits", "runtime", "layers"]),
    (
        "config",
        &[
            "max_size",
            "min_idle",
            "max_waiters",
            "get_timeout_ms",
            "create_timeout_ms",
            "reuse",
            "parent",
            "max_forks",
            "scratch_dirs",
            "clock",
        ],
    ),
    ("binding", &["env", "secrets", "files", "binds", "limits"]),
    (
        "command",
        &[
            "args",
            "env",
            "cwd",
            "stdin",
            "timeout_ms",
            "grace_ms",
            "output_bytes",
            "on_overflow",
            "memory_bytes",
            "cpu_seconds",
            "cancel",
        ],
    ),
    (
        "limits",
        &["memory_bytes", "pids", "cpus", "scratch_bytes", "scratch_inodes", "open_files", "file_bytes"],
    ),
    ("runtime", &["args", "env", "ready_timeout_ms", "forks"]),
    ("stdin", &["stream"]),
];

/// Adds the handles that most cases have only one of.
pub(crate) fn complete(request: &mut Map<String, Value>) {
    let Some((name, needed, _)) = request.get("op").and_then(find) else { return };
    for handle in ["set", "backend"] {
        if needed.contains(&handle) {
            request.entry(handle).or_insert_with(|| handle.into());
        }
    }
    if *name == "set_new" {
        request.entry("as").or_insert_with(|| "set".into());
    }
}

/// Whether an operation is what an agent understands.
pub(crate) fn check(request: &Map<String, Value>) -> Result<(), String> {
    let Some((_, needed, allowed)) = request.get("op").and_then(find) else {
        return Err("there is no such operation".to_owned());
    };
    if let Some(missing) = needed.iter().find(|name| !request.contains_key(**name)) {
        return Err(format!("{missing} is missing"));
    }
    for (name, value) in request {
        let general = name == "op" || name == "background";
        if !general && !needed.contains(&&**name) && !allowed.contains(&&**name) {
            return Err(format!("it takes no {name}"));
        }
        check_object(name, value)?;
    }
    Ok(())
}

fn check_object(name: &str, value: &Value) -> Result<(), String> {
    let Some(members) = value.as_object() else { return Ok(()) };
    let Some((_, known)) = OBJECTS.iter().find(|(object, _)| *object == name) else { return Ok(()) };
    for (member, value) in members {
        if !known.contains(&&**member) {
            return Err(format!("{name} has no {member}"));
        }
        check_object(member, value)?;
    }
    Ok(())
}

fn find(name: &Value) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|(operation, _, _)| name == operation)
}

#[test]
fn the_protocol_and_its_description_have_the_same_operations() {
    let text =
        std::fs::read_to_string(crate::cases::repository().join("tests/conformance/README.md")).unwrap();
    let rows = text.split("### Operations").nth(1).unwrap().split("\n\n").nth(2).unwrap();
    let names = |row: &str| -> Vec<String> {
        let cell = row.split('|').nth(1).unwrap();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut described: Vec<String> = rows.lines().skip(2).flat_map(names).collect();
    let mut known: Vec<&str> = OPERATIONS.iter().map(|(name, _, _)| *name).collect();
    described.sort_unstable();
    known.sort_unstable();
    assert_eq!(described, known);
}
