//! The languages that take part, and one process of an agent.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandboxset_keeper::Owner;
use sandboxset_tests::census::{Census, Scope, lines};
use sandboxset_tests::kernel;
use serde_json::{Value, json};

use crate::{c_agent, cases};

/// Longer than anything that is not a hang.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A language that takes part.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    /// How its agent is started, or why it cannot be.
    pub(crate) command: Result<Vec<String>, String>,
}

/// One process of an agent, which is killed when this is dropped.
pub(crate) struct Agent {
    child: Child,
    /// `None` once it was told that there is nothing more.
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    /// How long it may take to answer, or to answer as it must.
    pub(crate) limit: Duration,
}

/// What an agent answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok(Value),
    /// An error with all its parts.
    Error(Value),
    /// Why the language cannot make this call.
    Unsupported(String),
}

/// All of them. Rust is the measure and always there.
pub(crate) fn languages() -> Vec<Language> {
    let named = |name, variable: &str| {
        let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let command = match std::env::var(variable).map(words) {
            Ok(words) if !words.is_empty() => Ok(words),
            _ => Err(format!("{variable} names no agent")),
        };
        Language { name, command }
    };
    vec![
        reference(),
        Language { name: "c", command: c_agent::build() },
        named("python", "SANDBOXSET_AGENT_PYTHON"),
        named("python_asyncio", "SANDBOXSET_AGENT_PYTHON_ASYNCIO"),
        named("node", "SANDBOXSET_AGENT_NODE"),
    ]
}

/// The agent of the core.
pub(crate) fn reference() -> Language {
    Language { name: "rust", command: Ok(vec![env!("CARGO_BIN_EXE_conformance_agent").to_owned()]) }
}

impl Agent {
    /// Starts one; `limit` is how long each answer may take.
    pub(crate) fn start(words: &[String], limit: Duration) -> Result<Self, String> {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(cases::repository())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{words:?} does not start: {error}"))?;
        let (sender, answers) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut complaints = child.stderr.take().unwrap();
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What could not be read is missing from a message that is shown anyway.
            let _ = complaints.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let requests = child.stdin.take();
        Ok(Agent { child, requests, answers, complaints: Some(complaints), limit })
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Result<Answer, String> {
        let line = format!("{}\n", portable(request));
        let sent = self.requests.as_mut().unwrap().write_all(line.as_bytes());
        if let Err(error) = sent {
            return Err(self.died(&format!("it does not listen: {error}")));
        }
        match self.answers.recv_timeout(self.limit) {
            Ok(line) => Answer::read(&line),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {:?}", self.limit)),
            Err(RecvTimeoutError::Disconnected) => Err(self.died("it ended instead of answering")),
        }
    }

    /// Ends it, which must go well and leave nothing on this machine.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let scope = self.scope();
        drop(self.requests.take());
        let end = Instant::now() + self.limit;
        // The end of its output comes before its exit; a line before it was asked for by nobody.
        match self.answers.recv_timeout(self.limit) {
            Ok(line) => return Err(format!("it said more than it was asked: {line}")),
            Err(RecvTimeoutError::Timeout) => return Err("it does not end".to_owned()),
            Err(RecvTimeoutError::Disconnected) => {}
        }
        loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => {
                    let left = scope.map(|scope| scope.settle(&Census::default(), self.limit));
                    let leaks = left.and_then(Result::err);
                    return leaks.map_or(Ok(()), |leaks| Err(format!("it left {}", lines(&leaks))));
                }
                Some(status) => return Err(self.died(&format!("it ended badly: {status}"))),
                None if Instant::now() > end => return Err("it does not end".to_owned()),
                None => std::thread::yield_now(),
            }
        }
    }

    /// What belongs to its sandboxes.
    fn scope(&self) -> Option<Scope> {
        let owner = Owner::current().unwrap().to_string();
        let boot = owner.split('-').nth(1).unwrap();
        let task = kernel::task(self.child.id())?;
        Some(Scope::of(&format!("sandboxset-{boot}-{}-{}", task.pid, task.start_time)))
    }

    /// What went wrong, with what the agent said of it.
    fn died(&mut self, what: &str) -> String {
        // It may live on with its pipes closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let complaints = self.complaints.take().map(|thread| thread.join().unwrap()).unwrap_or_default();
        format!("{what}\n{complaints}").trim_end().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn read(line: &str) -> Result<Self, String> {
        let nonsense = || format!("no answer: {line}");
        let answer: Value = serde_json::from_str(line).map_err(|_| nonsense())?;
        let members = answer.as_object().filter(|members| members.len() == 1).ok_or_else(nonsense)?;
        let (kind, value) = members.iter().next().ok_or_else(nonsense)?;
        match (&**kind, value) {
            ("ok", value) => Ok(Answer::Ok(value.clone())),
            ("error", error) => check_error(error).map(|()| Answer::Error(error.clone())),
            ("unsupported", Value::String(why)) if !why.is_empty() => Ok(Answer::Unsupported(why.clone())),
            _ => Err(nonsense()),
        }
    }
}

/// What holds of every error, whatever a case expects.
fn check_error(error: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("an error {what}: {error}"));
    let known = |row: &Value| row["code"] == error["code"] && row["name"] == error["name"];
    if !cases::errors().iter().any(known) {
        return wrong("whose code and name are not in the table");
    }
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    if text("phase").is_empty() || text("message").is_empty() {
        return wrong("without a phase or a message");
    }
    if !error["retryable"].is_boolean() || !error["cause"].is_string() {
        return wrong("without all its parts");
    }
    if error.get("sandbox_id").is_none() || error["sandbox_id"] == 0 {
        return wrong("that does not say of which sandbox");
    }
    if text("message").contains(char::is_control) || text("cause").contains(char::is_control) {
        return wrong("with control characters");
    }
    let invalid = error["name"] == "INVALID_ARGUMENT";
    if invalid != error["field"].is_string() {
        return wrong("whose field does not fit its code");
    }
    Ok(())
}

/// Integers that a double cannot hold travel as digits.
fn portable(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number >= 1 << 53) => {
            number.to_string().into()
        }
        Value::Array(values) => values.iter().map(portable).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), portable(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn large_integers_travel_as_digits() {
    let large = json!({"a": [u64::MAX, 1u64 << 53, (1u64 << 53) - 1, -1, 0.5]});
    let wanted = json!({"a": ["18446744073709551615", "9007199254740992", 9007199254740991u64, -1, 0.5]});
    assert_eq!(portable(&large), wanted);
}
