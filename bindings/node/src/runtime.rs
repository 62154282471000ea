//! The runtime of a set, from what the facade passes.

use napi_derive::napi;
use sandboxset::{NodeRuntime, PythonRuntime, Result, Runtime};

use crate::values::{Name, environment, millis_or, os_strings, path, paths};

/// One of the three kinds of runtimes, with the fields that it has.
#[napi(object, object_to_js = false)]
pub struct RuntimeOptions {
    /// `command`, `python` or `node`.
    pub kind: String,
    pub args: Option<Vec<Name>>,
    pub forks: Option<bool>,
    pub brings: Option<Vec<Name>>,
    pub preload: Option<Vec<String>>,
    pub handler: Option<String>,
    pub json: Option<bool>,
    pub paths: Option<Vec<Name>>,
    pub interpreter: Option<Name>,
    pub env: Option<Vec<Name>>,
    pub ready_timeout: Option<f64>,
}

impl RuntimeOptions {
    pub(crate) fn read(self) -> Result<Runtime> {
        let interpreter = self.interpreter.map(path);
        let (brings, json) = (paths(self.brings), self.json.unwrap_or_default());
        let mut runtime = match &*self.kind {
            "python" => PythonRuntime {
                preload: self.preload.unwrap_or_default(),
                handler: self.handler,
                json,
                interpreter,
                brings,
                paths: paths(self.paths),
            }
            .runtime()?,
            "node" => NodeRuntime { handler: self.handler.unwrap_or_default(), json, interpreter, brings }
                .runtime()?,
            _ => {
                let mut runtime = Runtime::new(os_strings(self.args.unwrap_or_default()));
                runtime.forks = self.forks.unwrap_or_default();
                runtime.brings = brings;
                runtime
            }
        };
        for (key, value) in environment(self.env) {
            runtime.env.retain(|(other, _)| *other != key);
            runtime.env.push((key, value));
        }
        runtime.ready_timeout = millis_or(self.ready_timeout, runtime.ready_timeout);
        Ok(runtime)
    }
}
