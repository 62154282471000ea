//! A runtime in Node: what it is told, and the file that it is made of.

use std::path::PathBuf;

use crate::{Error, Result, Runtime};

/// Where a sandbox has the file of the runtime, and what it is.
const SERVER: (&str, &[u8]) = ("/run/sandboxset/server.js", include_bytes!("node/server.js"));

/// A Node process that answers calls with a function.
///
/// It stays warm from call to call, but cannot be forked: Node has threads of its own, which a fork would not have. So
/// it is no parent; a set of them that is to be one is `UNSUPPORTED`.
///
/// Where there is no memory cgroup, [`crate::Limits::memory_bytes`] bounds address space, of which Node 20 reserves more
/// than the default of the limit before it begins; 1 GiB was enough.
#[derive(Clone, Debug, Default)]
pub struct NodeRuntime {
    /// The function that answers, as `module:function`: a file of the set's code directory, with or without its ending,
    /// or a module that Node finds by itself; CommonJS or not. It takes a `Buffer` and returns bytes or a string, or a
    /// promise of them; an exception in it is a `HANDLER_FAILED` for the caller, and the runtime lives on.
    pub handler: String,
    /// Whether the handler takes what was sent as JSON and returns what can be sent as such.
    pub json: bool,
    /// The interpreter as the sandbox sees it; default `node`, searched for in `PATH`.
    pub interpreter: Option<PathBuf>,
    /// What of the host the interpreter needs, if it is none of the root file system: see [`Runtime::brings`].
    pub brings: Vec<PathBuf>,
}

impl NodeRuntime {
    /// A runtime that answers with the function `module:function`.
    pub fn handling(handler: impl Into<String>) -> Self {
        NodeRuntime { handler: handler.into(), ..NodeRuntime::default() }
    }

    /// The runtime for a [`crate::SandboxSpec`]. Its variables and its time to become ready may be changed.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` that names `handler`, if it is not `module:function`.
    pub fn runtime(&self) -> Result<Runtime> {
        let parts = self.handler.rsplit_once(':');
        let is_good = |(module, function): (&str, &str)| {
            !module.is_empty() && !function.is_empty() && !self.handler.contains('\0')
        };
        if !parts.is_some_and(is_good) {
            return Err(Error::invalid("handler", format_args!("{:?} is not module:function", self.handler)));
        }
        let interpreter = self.interpreter.clone().unwrap_or_else(|| "node".into());
        let mut args = vec![interpreter.into_os_string(), SERVER.0.into(), self.handler.clone().into()];
        if self.json {
            args.push("json".into());
        }
        let mut runtime = Runtime::new(args);
        runtime.brings = self.brings.clone();
        runtime.files = vec![(SERVER.0.into(), SERVER.1.into())];
        runtime.unforkable = Some("Node has threads and cannot be forked: a NodeRuntime is no parent");
        Ok(runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_a_module_and_a_function() {
        for handler in ["", "app", ":", "app:", ":handle", "a\0:b"] {
            let error = NodeRuntime::handling(handler).runtime().unwrap_err();
            assert_eq!(error.field(), Some("handler"), "{handler:?}");
        }
        let node = NodeRuntime { json: true, ..NodeRuntime::handling("node:path:basename") };
        let runtime = node.runtime().unwrap();
        assert_eq!(runtime.args, ["node", SERVER.0, "node:path:basename", "json"]);
        assert!(!runtime.forks && runtime.validate().is_ok());
    }
}
