//! The cases, and the other tables of `tests/conformance`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::schema;

/// Something that must hold in every language.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) backends: Vec<String>,
    /// Layers of isolation without which it cannot be shown.
    pub(crate) needs: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// What the counters must be after the last step.
    pub(crate) stats: Option<Value>,
}

/// A request, and what it must answer.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) request: Value,
    pub(crate) expected: Expected,
    /// Whether it is repeated until it answers so.
    pub(crate) until: bool,
}

/// What must come of a request.
#[derive(Clone)]
pub(crate) enum Expected {
    Ok(Option<Value>),
    Error(Value),
}

/// The root of the checkout.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Those that `SANDBOXSET_CASES` asks for, or all cases.
pub(crate) fn wanted() -> Vec<Case> {
    let wanted = std::env::var("SANDBOXSET_CASES").unwrap_or_default();
    let cases: Vec<Case> = all().into_iter().filter(|case| case.id.starts_with(&wanted)).collect();
    assert!(!cases.is_empty(), "no case begins with {wanted:?}");
    cases
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut ids = BTreeSet::new();
    let mut files: Vec<_> = std::fs::read_dir(repository().join("tests/conformance/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let group = file.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let rows: Vec<Value> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for row in rows {
            let case = Case::read(&row);
            assert!(case.id.starts_with(&format!("{group}/")), "{} is not of {group}", case.id);
            assert!(ids.insert(case.id.clone()), "{} is there twice", case.id);
            cases.push(case);
        }
    }
    cases
}

/// The rows of `errors.json`.
pub(crate) fn errors() -> &'static [Value] {
    static ERRORS: OnceLock<Value> = OnceLock::new();
    ERRORS.get_or_init(|| read("errors.json")).as_array().unwrap()
}

/// What a language cannot do, in the words of its agent.
pub(crate) fn gaps(language: &str) -> Vec<String> {
    static GAPS: OnceLock<Value> = OnceLock::new();
    let gaps = &GAPS.get_or_init(|| read("gaps.json"))[language];
    let gaps = gaps.as_array().unwrap_or_else(|| panic!("gaps.json does not know {language}"));
    gaps.iter().map(|gap| gap.as_str().unwrap().to_owned()).collect()
}

/// A table of `tests/conformance`.
pub(crate) fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(repository().join("tests/conformance").join(name)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Case {
    fn read(row: &Value) -> Self {
        let id = row["id"].as_str().unwrap_or_else(|| panic!("{row} has no id")).to_owned();
        let known = ["id", "promise", "backends", "needs", "steps", "stats"];
        for name in row.as_object().unwrap().keys() {
            assert!(known.contains(&&**name), "{id} has {name:?}, which means nothing");
        }
        assert!(
            row["promise"].as_str().is_some_and(|promise| promise.ends_with('.')),
            "{id} promises nothing"
        );
        let names = |field: &str| -> Vec<String> {
            let list = row[field].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let steps: Vec<Step> =
            row["steps"].as_array().unwrap().iter().map(|row| Step::read(&id, row)).collect();
        assert!(steps.iter().any(Step::can_fail) || row["stats"].is_object(), "{id} expects nothing");
        let backends = names("backends");
        assert!(!backends.is_empty() && backends.iter().all(|b| b == "mock" || b == "linux"), "{id}");
        let stats = row.get("stats").cloned();
        Case { id, backends, needs: names("needs"), steps, stats }
    }
}

impl Step {
    fn read(id: &str, row: &Value) -> Self {
        let mut request = row.as_object().unwrap_or_else(|| panic!("{id}: {row}")).clone();
        let expected = match (request.remove("ok"), request.remove("error")) {
            (ok, None) => Expected::Ok(ok),
            (None, Some(error)) => {
                let code = &error["name"];
                assert!(errors().iter().any(|row| row["name"] == *code), "{id}: {code} is no error");
                Expected::Error(error)
            }
            _ => panic!("{id}: {row} expects two things"),
        };
        let until = request.remove("until").is_some_and(|until| until == true);
        schema::complete(&mut request);
        if let Err(what) = schema::check(&request) {
            panic!("{id}: {row}: {what}");
        }
        Step { request: request.into(), expected, until }
    }

    /// Whether any answer but an `ok` would do.
    fn can_fail(&self) -> bool {
        !matches!(self.expected, Expected::Ok(None))
    }

    /// A request whose success is all that matters.
    pub(crate) fn plain(request: Value) -> Self {
        Step { request, expected: Expected::Ok(None), until: false }
    }
}

#[test]
fn a_step_is_completed_and_checked() {
    let step = Step::read("test", &json!({"op": "set_new", "config": {"max_size": 1}}));
    assert_eq!(step.request["as"], "set");
    assert_eq!(step.request["backend"], "backend");
    for wrong in [
        json!({"op": "set_gnu"}),
        json!({"op": "set_new", "config": {"maximum": 1}}),
        json!({"op": "exec", "ref": "a", "command": {"argv": []}}),
        json!({"op": "get_or_create_unpaused"}),
        json!({"op": "put", "ref": "a", "reason": "x"}),
    ] {
        assert!(std::panic::catch_unwind(|| Step::read("test", &wrong)).is_err(), "{wrong}");
    }
}
