//! From what calls return to JSON.

use sandboxset::{Error, Event, EventKind, Outcome, Output, Stats};
use serde_json::{Map, Value, json};

pub(crate) fn error(error: &Error) -> Value {
    json!({
        "code": error.code() as i32,
        "name": error.code().name(),
        "phase": error.phase().name(),
        "retryable": error.retryable(),
        "sandbox_id": error.sandbox_id().map(|id| id.get()),
        "field": error.field(),
        "message": error.message(),
        "cause": error.cause(),
    })
}

/// One character for each byte.
pub(crate) fn data(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

pub(crate) fn output(output: &Output) -> Value {
    let (code, signal) = match output.outcome {
        Outcome::Exited(code) => (Some(code), None),
        Outcome::Signaled(signal) => (None, Some(signal)),
        _ => (None, None),
    };
    json!({
        "outcome": output.outcome.name(),
        "exit_code": code,
        "signal": signal,
        "stdout": data(&output.stdout.bytes),
        "stderr": data(&output.stderr.bytes),
        "stdout_dropped": output.stdout.dropped,
        "stderr_dropped": output.stderr.dropped,
    })
}

pub(crate) fn event(event: &Event) -> Value {
    let text = match &event.kind {
        EventKind::Destroy(text) | EventKind::Fault(text) => text.clone(),
        EventKind::Reset(report) => report.to_string(),
        _ => String::new(),
    };
    let child = if let EventKind::Fork(child) = event.kind { child.get() } else { 0 };
    let lost = if let EventKind::Lost(lost) = event.kind { lost } else { 0 };
    json!({
        "sequence": event.sequence,
        "kind": event.kind.name(),
        "sandbox_id": event.sandbox_id.get(),
        "text": text,
        "child_id": child,
        "lost": lost,
    })
}

pub(crate) fn stats(stats: &Stats) -> Value {
    let misses: Map<String, Value> = stats
        .misses
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), (*count).into()))
        .collect();
    let destroyed_by: Map<String, Value> =
        stats.destroyed_by.iter().map(|(reason, count)| (reason.clone(), (*count).into())).collect();
    json!({
        "idle": stats.idle,
        "held": stats.held,
        "creating": stats.creating,
        "resuming": stats.resuming,
        "returning": stats.returning,
        "destroying": stats.destroying,
        "quarantined": stats.quarantined,
        "waiting": stats.waiting,
        "gets": stats.gets,
        "hits": stats.hits,
        "misses": misses,
        "waits": stats.waits,
        "timeouts": stats.timeouts,
        "created": stats.created,
        "create_failures": stats.create_failures,
        "puts": stats.puts,
        "resets": stats.resets,
        "reset_failures": stats.reset_failures,
        "forks": stats.forks,
        "fork_failures": stats.fork_failures,
        "destroyed": stats.destroyed,
        "destroyed_by": destroyed_by,
    })
}
