//! Parity: every operation and every error code exists in every language, spelled by one rule, and no language has
//! a public method that the table does not know.

use std::collections::BTreeMap;
use std::io::Write as _;

use sandboxset::ErrorCode;
use serde_json::Value;

use crate::cases;
use crate::sources::{self, Classes};

const LANGUAGES: [&str; 5] = ["rust", "c", "python", "python_asyncio", "node"];

#[test]
fn every_operation_is_in_every_language() {
    let table = cases::read("methods.json");
    let mut complaints = Vec::new();
    for language in LANGUAGES {
        match differences(language, &table) {
            Some(differences) => complaints.extend(differences),
            // Written past the test harness, which hides what passing tests print.
            None => drop(writeln!(std::io::stderr(), "SKIP (1) parity: there is no {language} here")),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The comparison sees what is missing and what nobody knows of, in every language that is here.
#[test]
fn a_difference_is_noticed() {
    let table = cases::read("methods.json");
    for language in LANGUAGES {
        let Some(before) = differences(language, &table) else { continue };
        let mut changed = table.clone();
        let methods = changed["classes"]["SandboxRef"]["methods"].as_object_mut().unwrap();
        methods.remove("taint");
        methods.insert("fly".to_owned(), serde_json::json!({}));
        let mut seen = differences(language, &changed).unwrap();
        seen.retain(|difference| !before.contains(difference));
        assert!(seen.len() == 2 && seen[0].contains("fly") && seen[1].contains("taint"), "{seen:?}");
    }
}

/// What a language lacks, and what it has that the table does not know; `None` if it is not here.
fn differences(language: &str, table: &Value) -> Option<Vec<String>> {
    let found = found(language, table)?;
    let wanted = wanted(language, table);
    let mut differences = Vec::new();
    for (class, methods) in &wanted {
        let there = found.get(class).cloned().unwrap_or_default();
        differences.extend(methods.difference(&there).map(|m| format!("{language} lacks {class}.{m}")));
        let unknown = there.difference(methods);
        differences.extend(unknown.map(|m| format!("methods.json does not know {class}.{m} of {language}")));
    }
    Some(differences)
}

#[test]
fn every_error_code_is_in_every_language() {
    let rows = cases::errors();
    let text = |path: &str| std::fs::read_to_string(cases::repository().join(path));
    let header = text("include/sandboxset.h").unwrap();
    let python = text("bindings/python/python/sandboxset/errors.py").unwrap();
    let node = text("bindings/node/lib/errors.ts").ok();
    assert_eq!(rows.len(), ErrorCode::ALL.len(), "the table and the core have different numbers of codes");
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        let (number, name) = (*code as i32, code.name());
        assert_eq!(row["code"], number, "{name}");
        assert_eq!(row["name"], name);
        assert_eq!(row["retryable"], code.retryable(), "{name}");
        assert!(row["meaning"].as_str().is_some_and(|meaning| meaning.ends_with('.')), "{name}");
        let define = format!("#define SANDBOXSET_{name} {number}\n");
        assert!(header.contains(&define), "the header lacks {define}");
        let class = class_of(name);
        let retryable = if code.retryable() { ", retryable=True" } else { "" };
        let made = format!("code={number}, name=\"{name}\"{retryable})");
        let is_class = |line: &str| line.starts_with(&format!("class {class}(")) && line.contains(&made);
        assert!(python.lines().any(is_class), "Python lacks {class} with {made}");
        if let Some(node) = &node {
            let row = format!("[{class}, {number}, \"{name}\", {}]", code.retryable());
            assert!(node.contains(&row), "Node lacks {row}");
            assert!(node.contains(&format!("export class {class} extends ")), "Node lacks {class}");
        }
    }
    let defined = |line: &&str| line.starts_with("class ") && line.contains("code=");
    assert_eq!(python.lines().filter(defined).count(), rows.len(), "Python has codes of its own");
}

/// `STALE_REF` is `StaleRefError`, `INTERNAL` `InternalError`.
fn class_of(name: &str) -> String {
    let words = name.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase()));
    words.collect::<String>() + "Error"
}

/// What a language should have of each class; in C all functions are of one.
fn wanted(language: &str, table: &Value) -> Classes {
    let mut wanted = Classes::new();
    for (class, rows) in table["classes"].as_object().unwrap() {
        let languages = rows["only"].as_array();
        if languages.is_some_and(|only| !only.contains(&language.into())) {
            assert!(rows["why"].is_string(), "{class}: why is it not everywhere?");
            continue;
        }
        let methods = wanted.entry(if language == "c" { "C".to_owned() } else { class.clone() }).or_default();
        for (name, row) in rows["methods"].as_object().unwrap() {
            if row["only"].as_array().is_some_and(|only| !only.contains(&language.into())) {
                assert!(row["why"].is_string(), "{class}.{name}: why is it not everywhere?");
                continue;
            }
            let spelled = match row[language].as_str() {
                // Making an object, or what the class has from one of the language's own.
                Some("class") => continue,
                Some(other) => other.to_owned(),
                None => spell(language, rows["c"].as_str().unwrap_or_default(), name),
            };
            let asynchronous = row["async"].as_array();
            if asynchronous.is_some_and(|languages| languages.contains(&language.into())) {
                methods.insert(format!("{spelled}_async"));
            }
            methods.insert(spelled);
        }
    }
    if language == "c" {
        let others = table["only_in_c"].as_object().unwrap().values();
        let names = others.flat_map(|names| names.as_array().unwrap()).map(|name| name.as_str().unwrap());
        wanted.entry("C".to_owned()).or_default().extend(names.map(str::to_owned));
    }
    wanted
}

/// The rule: as the core spells it; C puts the class before it, Node writes it in one word.
fn spell(language: &str, prefix: &str, name: &str) -> String {
    match language {
        "c" => format!("{prefix}{name}"),
        "node" => {
            let mut words = name.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            words.fold(first, |spelled, word| format!("{spelled}{}{}", word[..1].to_uppercase(), &word[1..]))
        }
        _ => name.to_owned(),
    }
}

/// What a language has of the classes of the table.
fn found(language: &str, table: &Value) -> Option<Classes> {
    if language == "c" {
        // A test of the library holds this list against what it exports, and against the header.
        let exports = std::fs::read_to_string(cases::repository().join("tests/c/exports.txt")).unwrap();
        return Some(BTreeMap::from([("C".to_owned(), exports.lines().map(str::to_owned).collect())]));
    }
    let classes = sources::classes(language)?;
    let known = table["classes"].as_object().unwrap();
    Some(classes.into_iter().filter(|(class, _)| known.contains_key(class)).collect())
}
