//! Bad input, from one table for all languages: an error with the right code that names the field, nothing done and
//! nothing left. Real sandboxes are attacked with the same table as mocks, since nothing may be made either way.

use serde_json::{Value, json};

use crate::agents::{Agent, Answer, HANG, Language};
use crate::cases::{self, Expected, Step};
use crate::pattern::Saved;
use crate::run::{Fate, Stop, accept_gap, make_backend, perform, tear_down};

/// A call with one bad argument, and what it must answer.
struct Input {
    id: String,
    entry: String,
    argument: String,
    value: Value,
    code: String,
    field: Option<String>,
}

/// Tries every bad input on one agent; one set and one sandbox are there for those that need them.
pub(crate) fn run(language: &Language, backend: &'static str) -> Vec<(String, Result<Fate, String>)> {
    let words = language.command.as_ref().unwrap();
    let whole = |what: String| vec![("bad_input".to_owned(), Err(what))];
    let mut agent = match Agent::start(words, HANG) {
        Ok(agent) => agent,
        Err(what) => return whole(what),
    };
    if let Err(what) = prepare(&mut agent, backend) {
        return whole(what);
    }
    let inputs = inputs(backend);
    let mut fates: Vec<_> =
        inputs.iter().map(|input| (input.id.clone(), attempt(language, &mut agent, input))).collect();
    let unharmed = unharmed(&mut agent, backend).and_then(|()| agent.finish());
    fates.push(("bad_input/leaves nothing".to_owned(), unharmed.map(|()| Fate::Passed)));
    fates
}

/// The inputs for a backend: the files of a mock need no directories.
fn inputs(backend: &str) -> Vec<Input> {
    let table = cases::read("bad_input.json");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let concerns = |row: &&Value| row["backends"].as_array().is_none_or(|all| all.contains(&backend.into()));
    let input = |row: &Value| {
        let shown = row["value"].to_string();
        Input {
            id: format!("bad_input/{}.{} = {shown:.40}", text(&row["entry"]), text(&row["argument"])),
            entry: text(&row["entry"]),
            argument: text(&row["argument"]),
            value: expand(&row["value"]),
            code: text(&row["code"]),
            field: row["field"].as_str().map(str::to_owned),
        }
    };
    table.as_array().unwrap().iter().filter(concerns).map(input).collect()
}

/// `{"repeat": x, "times": n}` stands for a long string, or a long list if `x` is a list of one.
fn expand(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("repeat") => {
            let times = object["times"].as_u64().unwrap() as usize;
            match &object["repeat"] {
                Value::String(text) => text.repeat(times).into(),
                list => Value::Array(std::iter::repeat_n(list[0].clone(), times).collect()),
            }
        }
        Value::Array(values) => values.iter().map(expand).collect(),
        other => other.clone(),
    }
}

/// The calls that must refuse an input, each in the same way.
fn requests(input: &Input) -> Vec<Value> {
    let Input { argument, value, .. } = input;
    let new = |spec: Value, config: Value| json!({"op": "set_new", "as": "never", "backend": "backend", "spec": spec, "config": config});
    match &*input.entry {
        "config" => vec![new(Value::Null, json!({argument: value}))],
        "spec" => vec![new(json!({argument: value}), Value::Null)],
        "limits" => vec![new(json!({"limits": {argument: value}}), Value::Null)],
        "runtime" => {
            let mut runtime = json!({"args": ["cat"]});
            runtime[argument] = value.clone();
            vec![new(json!({"runtime": runtime}), Value::Null)]
        }
        "binding" => {
            let binding = match argument.split_once('.') {
                Some(("files", member)) => {
                    let mut file = json!({"path": "never", "data": "", "mode": 0o600});
                    file[member] = value.clone();
                    json!({"files": [file]})
                }
                Some((object, member)) => json!({object: {member: value}}),
                None => json!({argument: value}),
            };
            vec![json!({"op": "get_or_create_unpaused", "set": "set", "as": "never", "binding": binding})]
        }
        "command" => {
            let mut command = json!({"args": ["echo", "never"]});
            command[argument] = if argument == "stdin" { json!({"stream": true}) } else { value.clone() };
            let exec = json!({"op": "exec", "ref": "sandbox", "command": command});
            // Starting must refuse what running refuses, except the one thing that only starting can have.
            match &**argument {
                "stdin" => vec![exec],
                _ => vec![exec, json!({"op": "spawn", "ref": "sandbox", "as": "never", "command": command})],
            }
        }
        "write_file" => {
            let mut request =
                json!({"op": "write_file", "ref": "sandbox", "path": "never", "data": "x", "mode": 0o600});
            request[argument] = value.clone();
            vec![request]
        }
        entry @ ("read_file" | "list_dir" | "remove") => {
            vec![json!({"op": entry, "ref": "sandbox", argument: value})]
        }
        "call" => vec![json!({"op": "call", "ref": "sandbox", "data": value})],
        "signal" => vec![json!({"op": "signal", "process": "cat", "signal": value})],
        "events" => vec![json!({"op": "events", "set": "set", "as": "never", argument: value})],
        "prewarm" => vec![json!({"op": "prewarm", "set": "set", argument: value})],
        other => panic!("no entry point {other}"),
    }
}

fn prepare(agent: &mut Agent, backend: &str) -> Result<(), String> {
    make_backend(agent, backend).map_err(explain)?;
    // It must outlast all that is tried.
    let command = json!({"args": ["cat"], "stdin": {"stream": true}, "timeout_ms": 3_600_000});
    for request in [
        json!({"op": "set_new", "as": "set", "backend": "backend"}),
        json!({"op": "get_or_create_unpaused", "as": "sandbox", "set": "set"}),
        json!({"op": "spawn", "ref": "sandbox", "as": "cat", "command": command}),
    ] {
        perform(agent, &Step::plain(request), &mut Saved::new()).map_err(explain)?;
    }
    Ok(())
}

fn attempt(language: &Language, agent: &mut Agent, input: &Input) -> Result<Fate, String> {
    for request in requests(input) {
        match agent.ask(&request)? {
            Answer::Unsupported(why) => {
                accept_gap(language, &why)?;
                return Ok(Fate::Skipped(why));
            }
            Answer::Ok(value) => return Err(format!("{}: accepted: {value}", request["op"])),
            Answer::Error(error) => check(input, &error)?,
        }
    }
    Ok(Fate::Passed)
}

fn check(input: &Input, error: &Value) -> Result<(), String> {
    let field = error["field"].as_str().map(plain);
    if error["name"] != *input.code || field != input.field {
        return Err(format!("{error} instead of {} {:?}", input.code, input.field));
    }
    let named = plain(error["message"].as_str().unwrap());
    match &input.field {
        Some(field) if !named.contains(field.as_str()) => {
            Err(format!("the message does not name the field: {error}"))
        }
        _ => Ok(()),
    }
}

/// A name as the core spells it: some languages write `createTimeoutMs`, some `create_timeout_ms`.
fn plain(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake.strip_suffix("_ms").unwrap_or(&snake).to_owned()
}

/// The caller's mistakes cost the sandbox nothing.
fn unharmed(agent: &mut Agent, backend: &str) -> Result<(), String> {
    let steps = [
        (json!({"op": "kill", "process": "cat"}), None),
        (json!({"op": "wait", "process": "cat"}), Some(json!({"outcome": "signaled"}))),
        (json!({"op": "drop", "process": "cat"}), None),
        (json!({"op": "inspect", "ref": "sandbox"}), Some(json!({"state": "held", "uses": 1}))),
        (json!({"op": "list_dir", "ref": "sandbox"}), Some(json!([]))),
        (json!({"op": "put", "ref": "sandbox"}), None),
        (
            json!({"op": "stats", "set": "set"}),
            Some(json!({"created": 1, "destroyed": 0, "idle": 1, "gets": 1})),
        ),
    ];
    for (request, ok) in steps {
        let step = Step { request, expected: Expected::Ok(ok), until: false };
        perform(agent, &step, &mut Saved::new()).map_err(explain)?;
    }
    tear_down(agent, backend, &["set".to_owned()]).map_err(explain)
}

fn explain(stop: Stop) -> String {
    match stop {
        Stop::Gap(why) | Stop::Failed(why) => why,
    }
}
