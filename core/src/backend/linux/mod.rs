//! The embedded default: real sandboxes of Linux namespaces and cgroups, without a daemon and without root.

use crate::{Backend, BackendSandbox, Capabilities, CreateRequest, IsolationReport, Result};

/// Makes sandboxes of Linux namespaces and cgroups.
///
/// All clones share one keeper process, which is started by the first create and ends with the last clone.
#[derive(Clone, Debug)]
pub struct LinuxBackend {}

/// How a [`LinuxBackend`] works.
#[derive(Clone, Debug, Default)]
pub struct LinuxOptions {
    /// The keeper to run instead of the embedded one; also set by the variable `SANDBOXSET_KEEPER`.
    pub keeper: Option<std::path::PathBuf>,
}

impl LinuxBackend {
    /// Probes the host; starts nothing yet.
    pub fn new(options: LinuxOptions) -> Result<Self> {
        let _ = options;
        todo!()
    }
}

impl Backend for LinuxBackend {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { pause: true, exec: true, connect: true, files: true }
    }

    fn isolation_report(&self) -> IsolationReport {
        todo!()
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        let _ = request;
        todo!()
    }
}
