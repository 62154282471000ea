//! From JSON to what calls take. What is absent stays as its default is.

use std::ffi::OsString;
use std::time::Duration;

use sandboxset::backend::mock::{MockFault, MockOperation};
use sandboxset::{
    Acquire, Bind, Clock, Command, Config, Error, GetOptions, LateBinding, LateFile, LayerPolicy, Limits,
    OnOverflow, Result, Reuse, RootFs, Runtime, SandboxSpec, ScratchDirs, Secret, Stdin,
};
use serde_json::Value;

use crate::complain;
use crate::handles::Handles;

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| complain(&format!("{value} is no text")))
}

/// Integers that others cannot hold in a double are strings of digits.
pub(crate) fn number(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|digits| digits.parse().ok());
    value.as_u64().or(digits).unwrap_or_else(|| complain(&format!("{value} is no number")))
}

/// One character for each byte.
pub(crate) fn data(value: &Value) -> Vec<u8> {
    let byte = |c: char| u8::try_from(c).unwrap_or_else(|_| complain(&format!("{c:?} is no byte")));
    text(value).chars().map(byte).collect()
}

pub(crate) fn milliseconds(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}

/// The value of an argument, unless it is absent.
pub(crate) fn given<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Overwrites a default by what an argument says, if it is there.
fn set<T>(field: &mut T, object: &Value, name: &str, read: impl FnOnce(&Value) -> T) {
    if let Some(value) = given(object, name) {
        *field = read(value);
    }
}

fn optional<T>(field: &mut Option<T>, object: &Value, name: &str, read: impl FnOnce(&Value) -> T) {
    set(field, object, name, |value| Some(read(value)));
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap_or_else(|| complain(&format!("{value} is no list"))).iter().map(read).collect()
}

fn strings(value: &Value) -> Vec<OsString> {
    list(value, |word| text(word).into())
}

fn environment(value: &Value) -> Vec<(OsString, OsString)> {
    list(value, |pair| (text(&pair[0]).into(), text(&pair[1]).into()))
}

fn binds(value: &Value) -> Vec<Bind> {
    list(value, |bind| Bind {
        source: text(&bind["source"]).into(),
        target: text(&bind["target"]).into(),
        writable: bind["writable"].as_bool().unwrap_or(false),
    })
}

fn cpus(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| text(value).parse().unwrap())
}

fn limits(value: &Value) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits.memory_bytes, value, "memory_bytes", number);
    set(&mut limits.pids, value, "pids", |pids| number(pids) as u32);
    optional(&mut limits.cpus, value, "cpus", cpus);
    set(&mut limits.scratch_bytes, value, "scratch_bytes", number);
    set(&mut limits.scratch_inodes, value, "scratch_inodes", number);
    set(&mut limits.open_files, value, "open_files", number);
    optional(&mut limits.file_bytes, value, "file_bytes", number);
    limits
}

fn runtime(value: &Value) -> Runtime {
    let mut runtime = Runtime::new(strings(&value["args"]));
    set(&mut runtime.env, value, "env", environment);
    set(&mut runtime.ready_timeout, value, "ready_timeout_ms", milliseconds);
    set(&mut runtime.forks, value, "forks", |forks| forks == true);
    runtime
}

pub(crate) fn spec(value: &Value) -> Result<SandboxSpec> {
    let mut spec = SandboxSpec::default();
    if let Some(root) = given(value, "root") {
        spec.root = RootFs::parse(text(root))?;
    }
    optional(&mut spec.code_dir, value, "code_dir", |dir| text(dir).into());
    set(&mut spec.binds, value, "binds", binds);
    set(&mut spec.env, value, "env", environment);
    set(&mut spec.limits, value, "limits", limits);
    optional(&mut spec.runtime, value, "runtime", runtime);
    for (name, policy) in value["layers"].as_object().into_iter().flatten() {
        spec.layers.push((name.clone(), LayerPolicy::parse(name, text(policy))?));
    }
    Ok(spec)
}

pub(crate) fn config(value: &Value, handles: &Handles) -> Result<Config> {
    let size = |value: &Value| number(value) as usize;
    let mut config = Config::default();
    set(&mut config.max_size, value, "max_size", size);
    set(&mut config.min_idle, value, "min_idle", size);
    set(&mut config.max_waiters, value, "max_waiters", size);
    set(&mut config.get_timeout, value, "get_timeout_ms", milliseconds);
    set(&mut config.create_timeout, value, "create_timeout_ms", milliseconds);
    if let Some(reuse) = given(value, "reuse") {
        config.reuse = match text(reuse) {
            "keep" => Reuse::Keep,
            "reset" => Reuse::Reset,
            "replace" => Reuse::Replace,
            other => return Err(Error::invalid("reuse", format_args!("{other:?}"))),
        };
    }
    optional(&mut config.parent, value, "parent", |name| handles.sets.get(text(name)));
    set(&mut config.max_forks, value, "max_forks", size);
    set(&mut config.scratch_dirs, value, "scratch_dirs", |dir| ScratchDirs::Disk(text(dir).into()));
    set(&mut config.clock, value, "clock", |name| Clock::Manual(handles.clocks.get(text(name))));
    Ok(config)
}

pub(crate) fn get_options(value: &Value, handles: &Handles) -> GetOptions {
    let mut options = GetOptions::default();
    optional(&mut options.timeout, value, "timeout_ms", milliseconds);
    set(&mut options.no_wait, value, "no_wait", |no_wait| no_wait == true);
    set(&mut options.acquire, value, "acquire", |acquire| match text(acquire) {
        "any" => Acquire::Any,
        "reuse_only" => Acquire::ReuseOnly,
        "fresh_only" => Acquire::FreshOnly,
        other => complain(&format!("acquire {other}")),
    });
    optional(&mut options.cancel, value, "cancel", |name| handles.cancels.get(text(name)));
    optional(&mut options.binding, value, "binding", binding);
    options
}

fn binding(value: &Value) -> LateBinding {
    let mut binding = LateBinding::default();
    let secret = |pair: &Value| (text(&pair[0]).into(), Secret::from(&*data(&pair[1])));
    let file = |file: &Value| LateFile {
        path: text(&file["path"]).into(),
        bytes: data(&file["data"]),
        mode: given(file, "mode").map_or(0o644, |mode| number(mode) as u32),
    };
    set(&mut binding.env, value, "env", environment);
    set(&mut binding.secrets, value, "secrets", |secrets| list(secrets, secret));
    set(&mut binding.files, value, "files", |files| list(files, file));
    set(&mut binding.binds, value, "binds", binds);
    let limits = &value["limits"];
    optional(&mut binding.limits.memory_bytes, limits, "memory_bytes", number);
    optional(&mut binding.limits.pids, limits, "pids", |pids| number(pids) as u32);
    optional(&mut binding.limits.cpus, limits, "cpus", cpus);
    binding
}

pub(crate) fn command(value: &Value, handles: &Handles) -> Command {
    let mut command = Command::new(strings(&value["args"]));
    set(&mut command.env, value, "env", environment);
    optional(&mut command.cwd, value, "cwd", |cwd| text(cwd).into());
    set(&mut command.stdin, value, "stdin", |stdin| match stdin {
        Value::String(_) => Stdin::Bytes(data(stdin)),
        _ => Stdin::Stream,
    });
    set(&mut command.timeout, value, "timeout_ms", milliseconds);
    set(&mut command.grace, value, "grace_ms", milliseconds);
    set(&mut command.output_bytes, value, "output_bytes", |bytes| number(bytes) as usize);
    set(&mut command.on_overflow, value, "on_overflow", |what| match text(what) {
        "truncate" => OnOverflow::Truncate,
        "kill" => OnOverflow::Kill,
        other => complain(&format!("on_overflow {other}")),
    });
    optional(&mut command.memory_bytes, value, "memory_bytes", number);
    optional(&mut command.cpu_seconds, value, "cpu_seconds", number);
    optional(&mut command.cancel, value, "cancel", |name| handles.cancels.get(text(name)));
    command
}

pub(crate) fn mock_operation(value: &Value) -> MockOperation {
    match text(value) {
        "create" => MockOperation::Create,
        "pause" => MockOperation::Pause,
        "unpause" => MockOperation::Unpause,
        "destroy" => MockOperation::Destroy,
        "exec" => MockOperation::Exec,
        "death" => MockOperation::Death,
        "connect" => MockOperation::Connect,
        "files" => MockOperation::Files,
        "reset" => MockOperation::Reset,
        "fork" => MockOperation::Fork,
        "bind" => MockOperation::Bind,
        "unbind" => MockOperation::Unbind,
        other => complain(&format!("no operation {other} of a mock")),
    }
}

pub(crate) fn mock_fault(value: &Value) -> MockFault {
    match text(&value["kind"]) {
        "fail" => MockFault::Fail(given(value, "message").map_or("scripted", text).to_owned()),
        "hang" => MockFault::Hang,
        "die" => MockFault::Die,
        "delay" => MockFault::Delay(milliseconds(&value["delay_ms"])),
        other => complain(&format!("no fault {other} of a mock")),
    }
}
