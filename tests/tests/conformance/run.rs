//! Running one case on one agent.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agents::{Agent, Answer, Language};
use crate::cases::{self, Case, Expected, Step};
use crate::pattern::{Saved, compare};

/// What became of a case; a failure is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passed,
    Skipped(String),
}

/// Why a case ended early.
pub(crate) enum Stop {
    Gap(String),
    Failed(String),
}

/// Runs a case from the start of an agent to its end.
pub(crate) fn run(language: &Language, backend: &str, case: &Case, limit: Duration) -> Result<Fate, String> {
    let words = language.command.as_ref().map_err(Clone::clone)?;
    let mut agent = Agent::start(words, limit)?;
    match play(&mut agent, backend, case) {
        Ok(()) => agent.finish().map(|()| Fate::Passed),
        Err(Stop::Failed(what)) => Err(what),
        Err(Stop::Gap(why)) => accept_gap(language, &why).map(|()| Fate::Skipped(why)),
    }
}

/// Makes a backend.
pub(crate) fn make_backend(agent: &mut Agent, kind: &str) -> Result<(), Stop> {
    perform(
        agent,
        &Step::plain(json!({"op": "backend_new", "as": "backend", "kind": kind})),
        &mut Saved::new(),
    )
}

/// A language may lack only what the table says.
pub(crate) fn accept_gap(language: &Language, why: &str) -> Result<(), String> {
    let known = cases::gaps(language.name).iter().any(|gap| gap == why);
    if known { Ok(()) } else { Err(format!("unsupported, but not in gaps.json: {why}")) }
}

fn play(agent: &mut Agent, backend: &str, case: &Case) -> Result<(), Stop> {
    let mut saved = Saved::new();
    make_backend(agent, backend)?;
    for (index, step) in case.steps.iter().enumerate() {
        perform(agent, step, &mut saved).map_err(|stop| at(stop, index, step))?;
    }
    if let Some(stats) = &case.stats {
        let expected = Expected::Ok(Some(stats.clone()));
        let step = Step { request: json!({"op": "stats", "set": "set"}), expected, until: false };
        perform(agent, &step, &mut saved).map_err(|stop| at(stop, case.steps.len(), &step))?;
    }
    tear_down(agent, backend, &made(case))
}

/// The sets of a case, those made last first.
fn made(case: &Case) -> Vec<String> {
    let failed = |step: &Step| matches!(step.expected, Expected::Error(_));
    let sets = case.steps.iter().filter(|step| step.request["op"] == "set_new" && !failed(step));
    sets.map(|step| step.request["as"].as_str().unwrap().to_owned()).rev().collect()
}

/// Nothing may be left of a case.
pub(crate) fn tear_down(agent: &mut Agent, backend: &str, sets: &[String]) -> Result<(), Stop> {
    let mut saved = Saved::new();
    let mut after = |agent: &mut Agent, request: Value, ok: Value| {
        let step = Step { request, expected: Expected::Ok(Some(ok)), until: false };
        perform(agent, &step, &mut saved).map_err(|stop| match stop {
            Stop::Failed(what) => Stop::Failed(format!("at the end: {what}")),
            gap => gap,
        })
    };
    if backend == "mock" {
        after(agent, json!({"op": "mock_release_hangs", "backend": "backend"}), Value::Null)?;
    }
    for set in sets {
        // The first destroys what is still held, the second waits for the last of it.
        after(agent, json!({"op": "close", "set": set, "deadline_ms": 0}), json!({}))?;
        after(agent, json!({"op": "close", "set": set, "deadline_ms": 60_000}), json!({"survivors": 0}))?;
    }
    if backend == "mock" {
        after(agent, json!({"op": "mock_counts", "backend": "backend"}), json!({"live": 0}))?;
    }
    Ok(())
}

/// Makes one request, or makes it until it answers as it must.
pub(crate) fn perform(agent: &mut Agent, step: &Step, saved: &mut Saved) -> Result<(), Stop> {
    let start = Instant::now();
    loop {
        let answer = agent.ask(&step.request).map_err(Stop::Failed)?;
        let judged = judge(&step.expected, answer, saved);
        match judged {
            Err(Stop::Failed(_)) if step.until && start.elapsed() < agent.limit => std::thread::yield_now(),
            judged => return judged,
        }
    }
}

fn judge(expected: &Expected, answer: Answer, saved: &mut Saved) -> Result<(), Stop> {
    let failed = |what: String| Err(Stop::Failed(what));
    match (expected, answer) {
        (_, Answer::Unsupported(why)) => Err(Stop::Gap(why)),
        (Expected::Ok(None), Answer::Ok(_)) => Ok(()),
        (Expected::Ok(Some(pattern)), Answer::Ok(value)) => {
            compare(pattern, &value, saved).map_err(Stop::Failed)
        }
        (Expected::Ok(_), Answer::Error(error)) => failed(format!("it failed: {error}")),
        (Expected::Error(error), Answer::Ok(value)) => {
            failed(format!("it answered {value} instead of {error}"))
        }
        (Expected::Error(pattern), Answer::Error(error)) => {
            compare(pattern, &error, saved).map_err(Stop::Failed)
        }
    }
}

fn at(stop: Stop, index: usize, step: &Step) -> Stop {
    match stop {
        Stop::Failed(what) => Stop::Failed(format!("step {}, {}: {what}", index + 1, step.request)),
        gap => gap,
    }
}
