//! The header is what the sources say, and is clean in every dialect.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{Compiler, repository, scratch};

#[test]
fn the_header_is_the_rendered_one() {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(format!("{crate_dir}/cbindgen.toml")).unwrap();
    let mut rendered = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(crate_dir)
        .generate()
        .unwrap()
        .write(&mut rendered);
    let rendered = String::from_utf8(rendered).unwrap();
    if std::env::var_os("SANDBOXSET_REWRITE").is_some() {
        fs::write(header(), &rendered).unwrap();
    }
    let committed = fs::read_to_string(header()).unwrap();
    assert!(committed == rendered, "include/sandboxset.h is stale; rerun with SANDBOXSET_REWRITE=1");
    assert!(!rendered.contains("Safety"), "a Rust heading leaked into the header");
}

#[test]
fn the_header_compiles_cleanly_in_every_dialect() {
    let dir = scratch("hygiene");
    let body = "#include <sandboxset.h>\n#include <sandboxset.h>\n";
    let users = [
        ("one", "int one(void) { return SANDBOXSET_OK; }\n"),
        (
            "two",
            "int one(void); int main(void) { \
         const char *version = SANDBOXSET_VERSION; return one() + (version[0] == 0); }\n",
        ),
    ];
    let cpp = |text: &str| {
        format!("{body}extern \"C\" int one(void);\n{text}")
            .replace("int one(void) {", "extern \"C\" int one(void) {")
    };
    let dialects = [("c", &["c99", "c11", "c17"][..]), ("cpp", &["c++14", "c++17", "c++20"][..])];
    for (extension, standards) in dialects {
        let files: Vec<PathBuf> = users
            .iter()
            .map(|(name, text)| {
                let path = dir.join(format!("{name}.{extension}"));
                let text = if extension == "c" { format!("{body}{text}") } else { cpp(text) };
                fs::write(&path, text).unwrap();
                path
            })
            .collect();
        for standard in standards {
            let compiler = if extension == "c" { Compiler::c(standard) } else { Compiler::cpp(standard) };
            compiler.build(&files, &dir.join(format!("hygiene-{standard}")), &[]);
        }
    }
}

#[test]
fn the_layouts_in_c_are_the_frozen_ones() {
    let dir = scratch("layout");
    let table = fs::read_to_string(repository().join("tests/c/layout.txt")).unwrap();
    let mut program = String::from("#include <sandboxset.h>\n");
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let claim = match words[..] {
            [name, size] => format!("sizeof({name}) == {size}"),
            [name, field, offset] => format!("offsetof({name}, {field}) == {offset}"),
            _ => panic!("cannot read {line:?}"),
        };
        program += &format!("_Static_assert({claim}, \"{line}\");\n");
    }
    program += "int main(void) { return 0; }\n";
    let source = dir.join("layout.c");
    fs::write(&source, program).unwrap();
    Compiler::c("c11").build(&[source], &dir.join("layout"), &[]);
}

fn header() -> PathBuf {
    repository().join("include/sandboxset.h")
}
