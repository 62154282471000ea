//! One call for each operation.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::backend::mock::MockBackend;
use sandboxset::{
    CancelToken, Connection, Error, ErrorCode, EventStream, ManualClock, OutputStream, Phase, Process,
    SandboxRef, SandboxSet,
};
use serde_json::{Map, Value, json};

use crate::arguments::{command, config, data, get_options, given, milliseconds, number, spec, text};
use crate::handles::{AnyBackend, Handles};
use crate::{Failure, answers, arguments, complain};

type Answer = Result<Value, Failure>;

/// Where the package leaves no default because it wants the argument.
const TIMEOUT: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(10);
const MAX_BYTES: u64 = 64 << 20;

/// What a request is about and says.
struct Call<'a> {
    request: &'a Value,
    handles: &'a Handles,
}

pub(crate) fn perform(handles: &Handles, request: &Value) -> Answer {
    let call = Call { request, handles };
    match text(&request["op"]) {
        "backend_new" => call.backend_new(),
        "mock_fault_at" => {
            let fault = arguments::mock_fault(&request["fault"]);
            call.mock().fault_at(call.mock_operation(), number(&request["nth"]), fault);
            Ok(Value::Null)
        }
        "mock_fault_always" => {
            let fault = given(request, "fault").map(arguments::mock_fault);
            call.mock().fault_always(call.mock_operation(), fault);
            Ok(Value::Null)
        }
        "mock_release_hangs" => {
            call.mock().release_hangs();
            Ok(Value::Null)
        }
        "mock_wait_for_hangs" => {
            let (operation, count) = (call.mock_operation(), number(&request["count"]) as usize);
            Ok(call.mock().wait_for_hangs(operation, count, call.timeout()).into())
        }
        "mock_counts" => {
            let mock = call.mock();
            Ok(json!({"live": mock.live(), "most_live": mock.most_live(), "paused": mock.paused()}))
        }
        "mock_calls" => Ok(call.mock().calls(call.mock_operation()).into()),
        "clock_new" => {
            handles.clocks.put(call.name(), ManualClock::new());
            Ok(Value::Null)
        }
        "clock_advance" => {
            let clock = handles.clocks.get(text(&request["clock"]));
            clock.advance(milliseconds(&request["by_ms"]));
            Ok(Value::Null)
        }
        "cancel_new" => {
            handles.cancels.put(call.name(), CancelToken::new());
            Ok(Value::Null)
        }
        "cancel" => {
            handles.cancels.get(text(&request["cancel"])).cancel();
            Ok(Value::Null)
        }
        "set_new" => {
            let backend = handles.backends.get(text(&request["backend"]));
            let (spec, config) = (spec(&request["spec"])?, config(&request["config"], handles)?);
            let set = SandboxSet::new(Arc::clone(&backend.backend), spec, config)?;
            handles.sets.put(call.name(), set);
            Ok(Value::Null)
        }
        "get_or_create_unpaused" => {
            let sandbox = call.set().get_or_create_unpaused(&get_options(request, handles))?;
            let answer = json!({"id": sandbox.id().get(), "uses": sandbox.uses()});
            handles.refs.put(call.name(), Arc::new(sandbox));
            Ok(answer)
        }
        "prewarm" => Ok(call.set().prewarm(number(&request["count"]) as usize, call.timeout())?.into()),
        "shrink" => Ok(call.set().shrink(number(&request["keep"]) as usize)?.into()),
        "drain" => Ok(call.set().drain(call.deadline())?.into()),
        "close" => {
            let report = call.set().close(call.deadline())?;
            Ok(json!({"destroyed": report.destroyed, "survivors": report.survivors.len()}))
        }
        "stats" => Ok(answers::stats(&call.set().stats())),
        "isolation_report" => {
            let layers = call.set().isolation_report().layers;
            let named = layers.into_iter().map(|layer| (layer.name, layer.status.name().into()));
            Ok(named.collect::<Map<String, Value>>().into())
        }
        "events" => {
            let capacity = given(request, "capacity").map_or(1024, number) as usize;
            handles.events.put(call.name(), Arc::new(call.set().events(capacity)?));
            Ok(Value::Null)
        }
        "next_event" => {
            let event = call.events().next(milliseconds(&request["timeout_ms"]));
            Ok(event.map_or(Value::Null, |event| answers::event(&event)))
        }
        "put" => Ok(call.sandbox().put()?.into()),
        "destroy" => Ok(call.sandbox().destroy(text(&request["reason"]))?.into()),
        "taint" => {
            call.sandbox().taint(text(&request["reason"]));
            Ok(Value::Null)
        }
        "leave_scope" => call.leave_scope(),
        "abandon" => Err(Failure::Unsupported("Rust has no collector: what nobody holds leaves its scope")),
        "inspect" => {
            let sandbox = call.sandbox();
            Ok(json!({
                "id": sandbox.id().get(),
                "uses": sandbox.uses(),
                "reused": sandbox.reused(),
                "state": sandbox.state().name(),
                "scratch_dir": sandbox.scratch_dir(),
                "host_scratch_dir": sandbox.host_scratch_dir(),
            }))
        }
        "age" => Ok((call.sandbox().age().as_millis() as u64).into()),
        "usage" => {
            let usage = call.sandbox().usage()?;
            Ok(json!({"memory_bytes": usage.memory_bytes, "pids": usage.pids}))
        }
        "log" => Ok(answers::data(&call.sandbox().log(call.max_bytes() as usize)?)),
        "exec" => Ok(answers::output(&call.sandbox().exec(&command(&request["command"], handles))?)),
        "spawn" => {
            let process = call.sandbox().spawn(&command(&request["command"], handles))?;
            handles.processes.put(call.name(), Arc::new(process));
            Ok(Value::Null)
        }
        "write_stdin" => Ok(call.process().write_stdin(&call.data(), call.timeout())?.into()),
        "close_stdin" => Ok(call.process().close_stdin()?.into()),
        "kill" => Ok(call.process().kill()?.into()),
        "signal" => {
            let signal = request["signal"].as_i64().and_then(|signal| i32::try_from(signal).ok());
            let signal = signal.unwrap_or_else(|| complain("the signal is no number"));
            Ok(call.process().signal(signal)?.into())
        }
        "read" => {
            let stream = match text(&request["stream"]) {
                "stdout" => OutputStream::Stdout,
                "stderr" => OutputStream::Stderr,
                other => complain(&format!("no stream {other}")),
            };
            let mut buffer = vec![0; call.max_bytes() as usize];
            let count = call.process().read(stream, &mut buffer, call.timeout())?;
            Ok(answers::data(&buffer[..count]))
        }
        "wait" => Ok(answers::output(&call.process().wait(call.timeout(), call.cancel().as_ref())?)),
        "call" => {
            let answer = call.sandbox().call(&call.data(), call.timeout(), call.cancel().as_ref())?;
            Ok(answers::data(&answer))
        }
        "connect" => {
            let connection = call.sandbox().connect(call.timeout(), call.cancel().as_ref())?;
            handles.connections.put(call.name(), Arc::new(Mutex::new(connection)));
            Ok(Value::Null)
        }
        "connection_set_timeout" => {
            let timeout = milliseconds(&request["timeout_ms"]);
            call.stream(|connection| connection.set_timeout(Some(timeout))).map(Value::from)
        }
        "connection_write" => {
            let bytes = call.data();
            call.stream(|connection| connection.write_all(&bytes).and_then(|()| connection.flush()))
                .map(Value::from)
        }
        "connection_read" => {
            let mut buffer = vec![0; call.max_bytes() as usize];
            let count = call.stream(|connection| connection.read(&mut buffer))?;
            Ok(answers::data(&buffer[..count]))
        }
        "read_file" => Ok(answers::data(&call.sandbox().read_file(call.path(), call.max_bytes())?)),
        "write_file" => {
            let mode = given(request, "mode").map_or(0o644, number) as u32;
            Ok(call.sandbox().write_file(call.path(), &call.data(), mode)?.into())
        }
        "list_dir" => {
            let sandbox = call.sandbox();
            let path = given(request, "path").map_or(sandbox.scratch_dir(), |path| Path::new(text(path)));
            let most = given(request, "max_entries").map_or(4096, number) as usize;
            let entries = sandbox.list_dir(path, most)?.into_iter();
            let entries =
                entries.map(|entry| json!({"name": entry.name.to_string_lossy(), "kind": entry.kind.name()}));
            Ok(entries.collect::<Vec<_>>().into())
        }
        "remove" => Ok(call.sandbox().remove(call.path())?.into()),
        "drop" => {
            call.forget();
            Ok(Value::Null)
        }
        other => complain(&format!("no operation {other}")),
    }
}

impl Call<'_> {
    fn backend_new(&self) -> Answer {
        let any = match text(&self.request["kind"]) {
            "mock" => {
                let mock = MockBackend::new();
                AnyBackend { backend: Arc::new(mock.clone()), mock: Some(mock) }
            }
            "linux" => {
                let path = |name| given(self.request, name).map(|path| PathBuf::from(text(path)));
                let options = LinuxOptions {
                    keeper: path("keeper"),
                    image_cache: path("image_cache"),
                    shells: given(self.request, "shells").map(|shells| number(shells) as usize),
                };
                AnyBackend { backend: Arc::new(LinuxBackend::new(options)?), mock: None }
            }
            other => complain(&format!("no backend {other}")),
        };
        self.handles.backends.put(self.name(), Arc::new(any));
        Ok(Value::Null)
    }

    /// A ref that is dropped while its thread unwinds knows that something went wrong.
    fn leave_scope(&self) -> Answer {
        let sandbox = self.handles.refs.take(text(&self.request["ref"]));
        if self.request["failing"] != true {
            drop(sandbox);
            return Ok(Value::Null);
        }
        let unwinding = std::thread::spawn(move || {
            let _sandbox = sandbox;
            std::panic::resume_unwind(Box::new("the holder fails"));
        });
        assert!(unwinding.join().is_err());
        Ok(Value::Null)
    }

    fn forget(&self) {
        let handles = self.handles;
        let named = |kind| given(self.request, kind).map(text);
        if let Some(name) = named("backend") {
            drop(handles.backends.take(name));
        } else if let Some(name) = named("set") {
            drop(handles.sets.take(name));
        } else if let Some(name) = named("ref") {
            drop(handles.refs.take(name));
        } else if let Some(name) = named("process") {
            drop(handles.processes.take(name));
        } else if let Some(name) = named("connection") {
            drop(handles.connections.take(name));
        } else if let Some(name) = named("events") {
            drop(handles.events.take(name));
        } else if let Some(name) = named("clock") {
            drop(handles.clocks.take(name));
        } else if let Some(name) = named("cancel") {
            drop(handles.cancels.take(name));
        } else {
            complain("nothing to drop");
        }
    }

    /// Uses a connection; errors of a stream have the core's inside, or are of the system's.
    fn stream<T>(&self, action: impl FnOnce(&mut Connection) -> std::io::Result<T>) -> Result<T, Failure> {
        let connection = self.handles.connections.get(text(&self.request["connection"]));
        let mut connection = connection.lock().unwrap();
        action(&mut connection).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => Failure::Error(system(&error)),
        })
    }

    fn name(&self) -> &str {
        text(&self.request["as"])
    }

    fn set(&self) -> SandboxSet {
        self.handles.sets.get(text(&self.request["set"]))
    }

    fn sandbox(&self) -> Arc<SandboxRef> {
        self.handles.refs.get(text(&self.request["ref"]))
    }

    fn process(&self) -> Arc<Process> {
        self.handles.processes.get(text(&self.request["process"]))
    }

    fn events(&self) -> Arc<EventStream> {
        self.handles.events.get(text(&self.request["events"]))
    }

    fn mock(&self) -> MockBackend {
        let backend = self.handles.backends.get(text(&self.request["backend"]));
        backend.mock.clone().unwrap_or_else(|| complain("the backend is no mock"))
    }

    fn mock_operation(&self) -> sandboxset::backend::mock::MockOperation {
        arguments::mock_operation(&self.request["operation"])
    }

    fn cancel(&self) -> Option<CancelToken> {
        given(self.request, "cancel").map(|name| self.handles.cancels.get(text(name)))
    }

    fn timeout(&self) -> Duration {
        given(self.request, "timeout_ms").map_or(TIMEOUT, milliseconds)
    }

    fn deadline(&self) -> Duration {
        given(self.request, "deadline_ms").map_or(DEADLINE, milliseconds)
    }

    fn max_bytes(&self) -> u64 {
        given(self.request, "max_bytes").map_or(MAX_BYTES, number)
    }

    fn data(&self) -> Vec<u8> {
        data(&self.request["data"])
    }

    fn path(&self) -> &Path {
        Path::new(text(&self.request["path"]))
    }
}

/// What the other languages make of an error of the system in a connection.
fn system(error: &std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => ErrorCode::Timeout,
        std::io::ErrorKind::InvalidInput => ErrorCode::InvalidArgument,
        _ => ErrorCode::BackendUnavailable,
    };
    Error::new(code, Phase::Connect, error.to_string())
}
