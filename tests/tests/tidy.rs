//! The repository keeps its own rules: sizes of files, places of unsafe code, one version, nothing half-done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Above this a file must be split.
const MAX_LINES: usize = 800;
/// Above this a file is listed, so that somebody thinks about it.
const MANY_LINES: usize = 400;

/// Where unsafe code may be: system calls, and the edges to other languages.
const UNSAFE_PLACES: &[&str] = &[
    "bindings/",
    "core/keeper/src/sys.rs",
    "core/keeper/src/sys/",
    "core/src/backend/linux/sys.rs",
    "core/src/backend/linux/sys/",
    "ffi/",
    // Forking is what it tests, and no crate offers that safely.
    "core/tests/forked.rs",
    // Floors are raw system calls.
    "tests/bench/",
    // Programs that break the rules on purpose, from inside and outside.
    "tests/c/",
    "tests/probes/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the repository by its path in it, without what builds and tools leave.
fn files() -> Vec<String> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
        const NOT_OURS: &[&str] =
            &["target", "out", "node_modules", ".git", ".venv", "build", "dist", "__pycache__"];
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if NOT_OURS.contains(&&*name) || name.ends_with("_cache") || name.ends_with(".egg-info") {
                continue;
            }
            if kind.is_dir() {
                walk(root, &entry.path(), found);
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    found
}

/// The text of a file, unless it is none.
fn text(file: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(file)).unwrap()).ok()
}

fn is_source(file: &str) -> bool {
    [".rs", ".py", ".pyi", ".c", ".h", ".ts", ".js", ".mjs", ".go", ".sh"]
        .iter()
        .any(|ending| file.ends_with(ending))
}

/// The code of a Rust line: without comments and without what is between quotes.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect()
}

#[test]
fn no_source_file_is_too_long() {
    let mut too_long = Vec::new();
    for file in files().iter().filter(|file| is_source(file)) {
        // The header is generated: its length is that of the interface.
        if file == "include/sandboxset.h" {
            continue;
        }
        let lines = text(file).unwrap_or_default().lines().count();
        if lines > MANY_LINES {
            println!("{lines} lines: {file}");
        }
        if lines > MAX_LINES {
            too_long.push(format!("{file}: {lines}"));
        }
    }
    assert!(too_long.is_empty(), "longer than {MAX_LINES} lines: {too_long:?}");
}

#[test]
fn unsafe_code_is_only_where_it_belongs() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut misplaced = Vec::new();
    for file in files().iter().filter(|file| file.ends_with(".rs")) {
        let text = text(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if !code(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
                continue;
            }
            *count.entry(file.clone()).or_default() += 1;
            if !UNSAFE_PLACES.iter().any(|place| file.starts_with(place)) {
                misplaced.push(format!("{file}:{}", number + 1));
            }
        }
    }
    for (file, count) in &count {
        println!("unsafe {count:3} {file}");
    }
    println!("unsafe {:3} in all", count.values().sum::<usize>());
    assert!(!count.is_empty(), "none found at all, so nothing was looked at");
    assert!(misplaced.is_empty(), "unsafe code in {misplaced:?}");
}

#[test]
fn there_is_one_version() {
    let workspace = text("Cargo.toml").unwrap();
    let version = workspace
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .expect("the workspace has a version");
    println!("version {version}");
    let mut manifests = 0;
    for file in files().iter().filter(|file| file.ends_with("Cargo.toml") && *file != "Cargo.toml") {
        assert!(text(file).unwrap().contains("version.workspace = true"), "{file} has a version of its own");
        manifests += 1;
    }
    assert!(manifests >= 5, "only {manifests} packages seen");
    for line in workspace.lines().filter(|line| line.contains("path = ")) {
        assert!(line.contains(&format!("version = \"{version}\"")), "{line}");
    }
    for file in files() {
        if file.ends_with("pyproject.toml") || file.ends_with("package.json") {
            let text = text(&file).unwrap();
            let said = text
                .lines()
                .find(|line| line.starts_with("version = ") || line.trim_start().starts_with("\"version\":"));
            // Without a version the build takes that of the workspace.
            if let Some(line) = said {
                assert!(line.contains(&format!("\"{version}\"")), "{file}: {line}");
            }
        }
    }
    let changes = text("CHANGELOG.md").unwrap();
    assert!(changes.contains(version), "CHANGELOG.md does not mention {version}");
}

#[test]
fn nothing_is_half_done_and_no_machine_shows_through() {
    // Written in two parts each, so that this file does not find itself.
    let marks = ["TO\u{44}O", "FIX\u{4d}E", "todo\u{21}", "unimplemented\u{21}", "HAC\u{4b}:"];
    let paths = ["/ro\u{6f}t/", "/ho\u{6d}e/", "/wor\u{6b}/", "/Use\u{72}s/"];
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in files() {
        // A lock file holds hashes, and the texts of the examples are other people's.
        if file.ends_with(".lock") || file.ends_with(".txt") {
            continue;
        }
        let Some(text) = text(&file) else { continue };
        looked_at += 1;
        for (number, line) in text.lines().enumerate() {
            // Attacks look for the host's files where those usually are.
            let attack = ["/attacks/", "/probes/", "/hostile/"].iter().any(|dir| file.contains(dir));
            let paths = if attack { &[][..] } else { &paths[..] };
            for mark in marks.iter().chain(paths) {
                if line.contains(mark) {
                    found.push(format!("{file}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    println!("{looked_at} files looked at");
    assert!(looked_at > 50, "only {looked_at} files seen");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
