//! What each language makes public, read from its sources: classes and their public methods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cases::repository;

/// The public methods of each class, by the class's name.
pub(crate) type Classes = BTreeMap<String, BTreeSet<String>>;

/// How the sources of a language look, which a formatter keeps in shape.
struct Dialect {
    language: &'static str,
    dir: &'static str,
    /// Files whose path has this are another language's.
    without: &'static str,
    extensions: &'static [&'static str],
    /// The rest of a line from the name of a class on, if one begins there.
    class: fn(&str) -> Option<&str>,
    /// The rest of a line from the name of a public method on.
    method: fn(&str) -> Option<&str>,
}

const DIALECTS: [Dialect; 4] = [
    Dialect {
        language: "rust",
        dir: "core/src",
        without: "/tests",
        extensions: &["rs"],
        class: |line| line.strip_prefix("impl "),
        method: |line| line.strip_prefix("    pub fn "),
    },
    Dialect {
        language: "python",
        dir: "bindings/python/python/sandboxset",
        without: "/aio",
        extensions: &["py", "pyi"],
        class: |line| line.strip_prefix("class "),
        method: python_method,
    },
    Dialect {
        language: "python_asyncio",
        dir: "bindings/python/python/sandboxset/aio",
        without: "/tests",
        extensions: &["py"],
        class: |line| line.strip_prefix("class "),
        method: python_method,
    },
    Dialect {
        language: "node",
        dir: "bindings/node/lib",
        without: "/tests",
        extensions: &["ts"],
        class: |line| line.strip_prefix("export class "),
        method: typescript_method,
    },
];

/// The classes of a language; `None` if it is not here.
pub(crate) fn classes(language: &str) -> Option<Classes> {
    let dialect = DIALECTS.iter().find(|dialect| dialect.language == language).unwrap();
    let dir = repository().join(dialect.dir);
    if !dir.is_dir() {
        return None;
    }
    let mut classes = Classes::new();
    walk(&dir, &mut |file| {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let inside = file.strip_prefix(repository()).unwrap().to_str().unwrap();
        if dialect.extensions.contains(&extension) && !inside.contains(dialect.without) {
            read(dialect, &std::fs::read_to_string(file).unwrap(), &mut classes);
        }
    });
    Some(classes)
}

fn read(dialect: &Dialect, text: &str, classes: &mut Classes) {
    let mut class = None;
    for line in text.lines() {
        if let Some(rest) = (dialect.class)(line) {
            // What an `impl` is of, unless it is of a trait.
            class = (!rest.contains(" for ")).then(|| word(rest).to_owned());
        } else if !line.is_empty() && !line.starts_with([' ', '\t', '}', ')']) {
            class = None;
        } else if let (Some(class), Some(rest)) = (&class, (dialect.method)(line)) {
            classes.entry(class.clone()).or_default().insert(word(rest).to_owned());
        }
    }
}

fn python_method(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("    async def ").or_else(|| line.strip_prefix("    def "))?;
    (!rest.starts_with('_')).then_some(rest)
}

fn typescript_method(line: &str) -> Option<&str> {
    let mut rest = line.strip_prefix("  ")?;
    for modifier in ["static ", "async ", "override ", "get "] {
        rest = rest.strip_prefix(modifier).unwrap_or(rest);
    }
    let name = word(rest);
    let after = &rest[name.len()..];
    let is_method = name.starts_with(|c: char| c.is_ascii_lowercase()) && after.starts_with(['(', '<']);
    (is_method && name != "constructor").then_some(rest)
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

#[test]
fn public_methods_are_told_from_the_rest() {
    let rust = "impl A {\n    pub fn yes(&self) {}\n    fn no() {}\n    pub(crate) fn no2() {}\n}\nimpl T for A {\n    pub fn no3() {}\n}\n";
    let python = "class A(B):\n    def yes(self):\n        def no(): ...\n    async def too(self): ...\n    def _no(self): ...\n\ndef no2(): ...\n    def no3(self): ...\n";
    let node = "export class A<T> extends B {\n  async yes<T>(x: T) {\n    return(1);\n  }\n  get too(): number {\n  #no() {\n  constructor() {\n  readonly no2: string;\n}\nclass C {\n  no3() {\n";
    for (dialect, text, wanted) in [
        (&DIALECTS[0], rust, &["yes"][..]),
        (&DIALECTS[1], python, &["too", "yes"]),
        (&DIALECTS[3], node, &["too", "yes"]),
    ] {
        let mut classes = Classes::new();
        read(dialect, text, &mut classes);
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(classes, Classes::from([("A".to_owned(), wanted)]), "{}", dialect.language);
    }
}
