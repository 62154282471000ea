//! Bad input, from one table for all languages: an error with the right code that names the field, nothing done
//! and nothing left. Each case runs against the mock and, as nothing may be made either way, against real sandboxes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::backend::mock::MockBackend;
use sandboxset::{
    Backend, Bind, Command, Config, Error, GetOptions, LateBinding, LateFile, Limits, Result, RootFs,
    Runtime, SandboxRef, SandboxSet, SandboxSpec, SandboxState, ScratchDirs, Secret, Stdin,
};
use sandboxset_tests::census::Scope;
use serde_json::Value;

const TABLE: &str = include_str!("../conformance/bad_input.json");
const HANG: Duration = Duration::from_secs(60);

/// A call with one bad argument, and what it must answer.
struct Case {
    entry: String,
    argument: String,
    value: Value,
    code: String,
    field: Option<String>,
}

/// The cases for a backend: the files of the mock need no directories.
fn cases(backend: &str) -> Vec<Case> {
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let concerns = |row: &&Value| row["backends"].as_array().is_none_or(|all| all.contains(&backend.into()));
    table
        .iter()
        .filter(concerns)
        .map(|row| Case {
            entry: text(&row["entry"]),
            argument: text(&row["argument"]),
            value: expand(&row["value"]),
            code: text(&row["code"]),
            field: row["field"].as_str().map(str::to_owned),
        })
        .collect()
}

/// `{"repeat": x, "times": n}` stands for a long string, or a long list if `x` is a list of one.
fn expand(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("repeat") => {
            let times = number(&object["times"]) as usize;
            match &object["repeat"] {
                Value::String(text) => text.repeat(times).into(),
                list => Value::Array(std::iter::repeat_n(list[0].clone(), times).collect()),
            }
        }
        Value::Array(values) => values.iter().map(expand).collect(),
        other => other.clone(),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn strings(value: &Value) -> Vec<OsString> {
    value.as_array().unwrap().iter().map(|value| string(value).into()).collect()
}

fn pairs(value: &Value) -> Vec<(OsString, OsString)> {
    let pairs = value.as_array().unwrap().iter();
    pairs.map(|pair| (string(&pair[0]).into(), string(&pair[1]).into())).collect()
}

fn milliseconds(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}

fn config(case: &Case) -> Config {
    let mut config = Config { get_timeout: HANG, ..Config::default() };
    let value = &case.value;
    match &*case.argument {
        "max_size" => config.max_size = number(value) as usize,
        "min_idle" => config.min_idle = number(value) as usize,
        "max_forks" => config.max_forks = number(value) as usize,
        "create_timeout_ms" => config.create_timeout = milliseconds(value),
        "scratch_dirs" => config.scratch_dirs = ScratchDirs::Disk(string(value).into()),
        other => panic!("no config {other}"),
    }
    config
}

fn spec(case: &Case) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    let value = &case.value;
    match &*case.argument {
        "root" => spec.root = RootFs::Directory(string(value).into()),
        "code_dir" => spec.code_dir = Some(string(value).into()),
        "env" => spec.env = pairs(value),
        "binds" => spec.binds = binds(value),
        other => panic!("no spec {other}"),
    }
    spec
}

fn binds(value: &Value) -> Vec<Bind> {
    let bind = |bind: &Value| Bind {
        source: string(&bind["source"]).into(),
        target: string(&bind["target"]).into(),
        writable: bind["writable"].as_bool().unwrap_or(false),
    };
    value.as_array().unwrap().iter().map(bind).collect()
}

/// JSON has no words for what is no number.
fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| string(value).parse().unwrap())
}

fn binding(case: &Case) -> LateBinding {
    let mut binding = LateBinding::default();
    let value = &case.value;
    let file = LateFile { path: "never".into(), bytes: Vec::new(), mode: 0o600 };
    match &*case.argument {
        "env" => binding.env = pairs(value),
        "secrets" => {
            let secret = |(name, bytes): (OsString, OsString)| (name, Secret::from(bytes.as_encoded_bytes()));
            binding.secrets = pairs(value).into_iter().map(secret).collect();
        }
        "files.path" => binding.files = vec![LateFile { path: string(value).into(), ..file }],
        "files.mode" => binding.files = vec![LateFile { mode: number(value) as u32, ..file }],
        "binds" => binding.binds = binds(value),
        "limits.memory_bytes" => binding.limits.memory_bytes = Some(number(value)),
        "limits.pids" => binding.limits.pids = Some(number(value) as u32),
        "limits.cpus" => binding.limits.cpus = Some(float(value)),
        other => panic!("no binding {other}"),
    }
    binding
}

fn limits(case: &Case) -> Limits {
    let mut limits = Limits::default();
    let value = &case.value;
    match &*case.argument {
        "memory_bytes" => limits.memory_bytes = number(value),
        "pids" => limits.pids = number(value) as u32,
        "cpus" => limits.cpus = Some(float(value)),
        "scratch_bytes" => limits.scratch_bytes = number(value),
        "scratch_inodes" => limits.scratch_inodes = number(value),
        "open_files" => limits.open_files = number(value),
        "file_bytes" => limits.file_bytes = Some(number(value)),
        other => panic!("no limit {other}"),
    }
    limits
}

fn runtime(case: &Case) -> Runtime {
    let mut runtime = Runtime::new(["cat"]);
    match &*case.argument {
        "args" => runtime.args = strings(&case.value),
        "env" => runtime.env = pairs(&case.value),
        "ready_timeout_ms" => runtime.ready_timeout = milliseconds(&case.value),
        other => panic!("no runtime {other}"),
    }
    runtime
}

fn command(case: &Case) -> Command {
    let mut command = Command::new(["echo", "never"]);
    let value = &case.value;
    match &*case.argument {
        "args" => command.args = strings(value),
        "env" => command.env = pairs(value),
        "cwd" => command.cwd = Some(string(value).into()),
        "stdin" => command.stdin = Stdin::Stream,
        "timeout_ms" => command.timeout = milliseconds(value),
        "output_bytes" => command.output_bytes = number(value) as usize,
        "memory_bytes" => command.memory_bytes = Some(number(value)),
        "cpu_seconds" => command.cpu_seconds = Some(number(value)),
        other => panic!("no command {other}"),
    }
    command
}

/// Does what the case says; the set and the sandbox are there for those that need them.
fn attempt(case: &Case, backend: &Arc<dyn Backend>, set: &SandboxSet, sandbox: &SandboxRef) -> Result<()> {
    let new = |spec, config| SandboxSet::new(Arc::clone(backend), spec, config).map(drop);
    let path = || PathBuf::from(string(&case.value));
    match &*case.entry {
        "config" => new(SandboxSpec::default(), config(case)),
        "spec" => new(spec(case), Config::default()),
        "limits" => new(SandboxSpec { limits: limits(case), ..SandboxSpec::default() }, Config::default()),
        "runtime" => {
            new(SandboxSpec { runtime: Some(runtime(case)), ..SandboxSpec::default() }, Config::default())
        }
        "binding" => {
            let options = GetOptions { binding: Some(binding(case)), ..GetOptions::default() };
            set.get_or_create_unpaused(&options).map(drop)
        }
        "command" => {
            let command = command(case);
            // Starting must refuse what running refuses, except the one thing that only starting can have.
            if command.stdin != Stdin::Stream {
                let started = sandbox.spawn(&command).map(drop);
                assert_eq!(describe(&started), describe(&sandbox.exec(&command).map(drop)));
            }
            sandbox.exec(&command).map(drop)
        }
        "read_file" => sandbox.read_file(&path(), 1 << 20).map(drop),
        "write_file" if case.argument == "mode" => {
            sandbox.write_file("never".as_ref(), b"x", number(&case.value) as u32)
        }
        "write_file" => sandbox.write_file(&path(), b"x", 0o600),
        "list_dir" => sandbox.list_dir(&path(), 100).map(drop),
        "remove" => sandbox.remove(&path()),
        "call" => sandbox.call(string(&case.value).as_bytes(), HANG, None).map(drop),
        "signal" => {
            let process = sandbox.spawn(&Command::new(["cat"]))?;
            let signalled = process.signal(case.value.as_i64().unwrap() as i32);
            process.kill().unwrap();
            process.wait(HANG, None).unwrap();
            signalled
        }
        "events" => set.events(number(&case.value) as usize).map(drop),
        "prewarm" => set.prewarm(number(&case.value) as usize, HANG).map(drop),
        other => panic!("no entry point {other}"),
    }
}

fn describe(result: &Result<()>) -> String {
    match result {
        Ok(()) => "no error".to_owned(),
        Err(error) => format!("{} {:?}", error.code().name(), error.field()),
    }
}

/// What is wrong with an answer, if something is.
fn complaint(case: &Case, result: &Result<()>) -> Option<String> {
    let expected = format!("{} {:?}", case.code, case.field.as_deref());
    let value = case.value.to_string();
    let name = format!("{}.{} = {value:.60}", case.entry, case.argument);
    if describe(result) != expected {
        return Some(format!("{name}: {}, expected {expected}", describe(result)));
    }
    let error: &Error = result.as_ref().unwrap_err();
    let names_it = case.field.as_ref().is_none_or(|field| error.message().contains(field.as_str()));
    if !names_it {
        return Some(format!("{name}: the message does not name the field: {error}"));
    }
    if error.to_string().contains(char::is_control) {
        return Some(format!("{name}: control characters in the message"));
    }
    None
}

fn run_all(backend: Arc<dyn Backend>) {
    let set = SandboxSet::new(Arc::clone(&backend), SandboxSpec::default(), Config::default()).unwrap();
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    let cases = cases(backend.name());
    let complaints: Vec<String> =
        cases.iter().filter_map(|case| complaint(case, &attempt(case, &backend, &set, &sandbox))).collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
    println!("{}: {} bad inputs refused", backend.name(), cases.len());

    // The caller's mistakes cost the sandbox nothing.
    assert_eq!(sandbox.state(), SandboxState::Held);
    let entries = sandbox.list_dir("/scratch".as_ref(), 100).unwrap();
    assert!(entries.is_empty(), "{entries:?}");
    sandbox.put().unwrap();
    let stats = set.stats();
    assert_eq!((stats.created, stats.destroyed, stats.idle), (1, 0, 1), "{stats:?}");
    assert!(set.close(HANG).unwrap().survivors.is_empty());
}

#[test]
fn refused_on_the_mock() {
    let mock = MockBackend::new();
    run_all(Arc::new(mock.clone()));
    assert_eq!((mock.live(), mock.most_live()), (0, 1));
}

#[test]
fn refused_on_linux() {
    let scope = Scope::own();
    let before = scope.take();
    run_all(Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap()));
    scope.assert_settles(&before);
}

/// The table could be wrong in a way that everything is refused; what is right must be accepted.
#[test]
fn good_input_is_accepted() {
    let mock: Arc<dyn Backend> = Arc::new(MockBackend::new());
    let extremes = [
        Limits { memory_bytes: 4 << 20, pids: 2, cpus: Some(0.01), ..Limits::default() },
        Limits {
            memory_bytes: i64::MAX as u64,
            pids: 4_194_304,
            cpus: Some(4096.0),
            scratch_bytes: i64::MAX as u64,
            scratch_inodes: 1 << 40,
            open_files: 1 << 20,
            file_bytes: Some(1),
        },
        Limits { scratch_bytes: 4096, scratch_inodes: 2, open_files: 16, ..Limits::default() },
    ];
    for limits in extremes {
        let spec = SandboxSpec { limits, root: RootFs::Directory("/".into()), ..SandboxSpec::default() };
        SandboxSet::new(Arc::clone(&mock), spec, Config { max_size: 1 << 20, ..Config::default() }).unwrap();
    }
    let set = SandboxSet::new(mock, SandboxSpec::default(), Config::default()).unwrap();
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    let mut command = Command::new(["echo", "-rf", "$(id)", ""]);
    command.env = vec![("A".into(), "=;'\"\n".into()), ("a".into(), "".into())];
    command.cwd = Some("/procession/.../x".into());
    command.output_bytes = 0;
    command.timeout = Duration::MAX;
    assert!(sandbox.exec(&command).unwrap().success());
    sandbox.write_file("a b\n\u{202e}".as_ref(), b"", 0o777).unwrap();
    sandbox.read_file("/scratch/./a b\n\u{202e}".as_ref(), u64::MAX).unwrap();
}
