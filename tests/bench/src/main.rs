//! Measures us, the raw kernel floor and the peers in one run, interleaved.
//!
//! Prints what machine it is, a table, how each row stands to its goal and what could not be measured, and writes
//! `bench/results.json` in the target directory. Exits with 1 if something could not be measured that should have
//! been, never because something was slow.
//!
//! `--quick` takes a tenth of the samples. `--results PATH` writes elsewhere. `--c-program PATH`,
//! `--python PATH` and `--node-project PATH` say which program, which interpreter and which project measure the other
//! languages. Any other argument is a
//! filter: only rows whose name contains one of them are measured.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to people prints")]

mod create_rows;
mod density_rows;
mod echo_runtime;
mod floor;
mod fork_rows;
mod goals;
mod language_rows;
mod linux_rows;
mod machine;
mod measure;
mod neighbour_rows;
mod peers;
mod published;
mod python_rows;
mod report;
mod set_rows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linux_rows::Pace;
use measure::Failure;
use report::{Row, Unit};
use sandboxset_tests::attacks::ATTACKS;

/// The argument that makes this program the runtime inside a measured sandbox.
const ECHO_RUNTIME: &str = "--echo-runtime";

/// What to do.
#[derive(Debug)]
struct Options {
    quick: bool,
    filters: Vec<String>,
    results: PathBuf,
    c_program: PathBuf,
    python: PathBuf,
    /// With the npm package, its peers and the program that measures them.
    node_project: PathBuf,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == ECHO_RUNTIME) {
        return exit_code(echo_runtime::run(args.get(1).map(Path::new)).map_err(|error| error.to_string()));
    }
    exit_code(Options::parse(&args).and_then(|options| run(&options)))
}

fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sandboxset-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        // The program is at <target>/<profile>/sandboxset-bench.
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let target = program.ancestors().nth(2).unwrap_or(Path::new("target")).join("bench");
        let mut options = Options {
            quick: false,
            filters: Vec::new(),
            results: target.join("results.json"),
            c_program: target.join("c_get_put"),
            python: target.join("venv/bin/python"),
            node_project: target.join("node"),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut path = || args.next().map(PathBuf::from).ok_or(format!("{arg} needs a path"));
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--results" => options.results = path()?,
                "--c-program" => options.c_program = path()?,
                "--python" => options.python = path()?,
                "--node-project" => options.node_project = path()?,
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                filter => options.filters.push(filter.into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    print_conditions(options);
    let mut rows = Vec::new();
    // The Linux rows come first, while this process is small: the raw floor copies its page tables.
    measure_linux(options, &mut rows);
    measure_neighbours(options, &mut rows);
    measure_set(options, &mut rows);
    measure_languages(options, &mut rows);
    if rows.is_empty() {
        return Err("no row has such a name".into());
    }
    println!("\n{}", report::table(&rows));
    println!("{}", report::goals(&rows));
    println!("{}", published::beside(rows.iter().map(|row| row.name.as_str())));
    print!("{}", report::missing(&rows));
    report::write_json(&options.results, &rows)
        .map_err(|error| format!("{}: {error}", options.results.display()))?;
    println!("Results: {}", options.results.display());
    if rows.iter().any(|row| !row.missing.is_empty()) {
        return Err("something could not be measured, see above".into());
    }
    Ok(())
}

fn print_conditions(options: &Options) {
    print!("{}", machine::describe());
    println!(
        "config       {}, defaults of the set and of the limits; pause at put; {} operations per look at the clock in set.*",
        if options.quick { "quick" } else { "full" },
        set_rows::OPS
    );
    println!(
        "             percentiles of set.* are those of the means of such batches; linux.* times each call"
    );
    if options.wants("linux.") || options.filters.iter().any(|filter| filter.contains("linux")) {
        match linux_rows::isolation() {
            Ok(report) => {
                for layer in &report.layers {
                    println!("isolation    {:<22} {:<9} {}", layer.name, layer.status.name(), layer.detail);
                }
            }
            Err(failure) => println!("isolation    unknown: {failure}"),
        }
    }
    if let Some(load) = machine::is_busy() {
        println!("BUSY         the load is {load}: trust ratios only, and tails not at all");
    }
}

fn measure_linux(options: &Options, rows: &mut Vec<Row>) {
    type Measure = fn(Pace, bool) -> Result<Vec<Row>, Failure>;
    let both = &[Pace::Tight, Pace::Spaced][..];
    let groups: [(&[&str], &[Pace], Measure); 15] = [
        (&linux_rows::WARM, both, linux_rows::warm),
        (&create_rows::CREATE, both, create_rows::create),
        (&create_rows::BURST, &both[..1], create_rows::burst),
        (&linux_rows::EXEC, both, linux_rows::exec),
        (&linux_rows::RESET, both, linux_rows::reset),
        (&density_rows::DENSITY, &both[..1], density_rows::density),
        (&fork_rows::FORK_C, both, fork_rows::fork_c),
        (&fork_rows::LARGE, &both[..1], fork_rows::large),
        (&fork_rows::RATE, &both[..1], fork_rows::rate),
        (&fork_rows::DENSITY, &both[..1], fork_rows::density),
        (&python_rows::STDLIB, both, python_rows::stdlib),
        (&python_rows::NUMPY, both, python_rows::numpy),
        (&python_rows::FIRST_CALL, both, python_rows::first_call),
        (&python_rows::FIRST_CALL_NUMPY, both, python_rows::first_call_numpy),
        (&python_rows::DENSITY, &both[..1], python_rows::density),
    ];
    for (families, paces, measure) in groups {
        for &pace in paces {
            let names: Vec<String> =
                families.iter().map(|family| pace.row(family)).filter(|name| options.wants(name)).collect();
            if names.is_empty() {
                continue;
            }
            eprintln!("measuring {}", names.join(", "));
            match measure(pace, options.quick) {
                Ok(measured) => rows.extend(measured.into_iter().filter(|row| names.contains(&row.name))),
                Err(failure) => rows
                    .extend(names.iter().map(|name| Row::failed(name, Unit::Microseconds, failure.clone()))),
            }
        }
    }
}

fn measure_neighbours(options: &Options, rows: &mut Vec<Row>) {
    for attack in &ATTACKS {
        let mut names = [neighbour_rows::NEIGHBOUR, neighbour_rows::DESTROY]
            .map(|family| format!("{family}.{}", attack.name))
            .to_vec();
        names.retain(|name| options.wants(name));
        if names.is_empty() {
            continue;
        }
        eprintln!("measuring {}", names.join(", "));
        match neighbour_rows::attacked(attack, options.quick) {
            Ok(measured) => rows.extend(measured.into_iter().filter(|row| names.contains(&row.name))),
            Err(failure) => {
                rows.extend(names.iter().map(|name| Row::failed(name, Unit::Microseconds, failure.clone())))
            }
        }
    }
    if options.wants(neighbour_rows::DESTROY) {
        eprintln!("measuring {}", neighbour_rows::DESTROY);
        let row = neighbour_rows::destroy(options.quick);
        rows.push(
            row.unwrap_or_else(|failure| Row::failed(neighbour_rows::DESTROY, Unit::Microseconds, failure)),
        );
    }
}

fn measure_set(options: &Options, rows: &mut Vec<Row>) {
    for case in set_rows::CASES.into_iter().filter(|case| options.wants(case.name)) {
        eprintln!("measuring {}", case.name);
        let row = set_rows::measure(case, options.quick);
        rows.push(row.unwrap_or_else(|failure| Row::failed(case.name, Unit::Nanoseconds, failure)));
    }
}

fn measure_languages(options: &Options, rows: &mut Vec<Row>) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bindings/python");
    let (script, aio_script) = (scripts.join("bench_get_put.py"), scripts.join("bench_aio_get_put.py"));
    let node_script = options.node_project.join("rows.mjs");
    let (ns, us, node) = (Unit::Nanoseconds, Unit::Microseconds, Path::new("node"));
    let programs: [(&str, Unit, &Path, &[&Path]); 5] = [
        ("c.get_put", ns, &options.c_program, &[]),
        ("python.get_put", ns, &options.python, &[&script]),
        ("python.aio_get_put", ns, &options.python, &[&aio_script]),
        ("node.get_put", ns, node, &[&node_script, Path::new("node.get_put")]),
        ("node.exec_true", us, node, &[&node_script, Path::new("node.exec_true")]),
    ];
    for (name, unit, program, args) in programs.into_iter().filter(|(name, ..)| options.wants(name)) {
        eprintln!("measuring {name}");
        let row = language_rows::measure(name, unit, program, args);
        rows.push(row.unwrap_or_else(|failure| Row::failed(name, unit, failure)));
    }
}
