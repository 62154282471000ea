//! What a lease has on top of the spec.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inner::Inner;
use crate::sandbox::Guard;
use crate::{Command, Error, ErrorCode, LateBinding, Phase, Result, Reuse, ScratchDirs};

/// What is left to be known of a late binding once it is bound.
#[derive(Debug)]
pub(super) struct Bound {
    env: Vec<(OsString, OsString)>,
    has_contents: bool,
}

/// How long binding, and taking back, may take.
const BIND: Duration = Duration::from_secs(5);

impl Bound {
    /// Binds to a sandbox that runs and that nobody has yet.
    pub(super) fn bind(guard: &Guard, binding: &LateBinding) -> Result<Arc<Self>> {
        if binding.needs_backend() {
            guard.bind(binding, Instant::now() + BIND)?;
        }
        Ok(Arc::new(Bound { env: binding.env.clone(), has_contents: binding.has_contents() }))
    }

    /// The command with the variables of this lease beneath its own; `None` if that changes nothing.
    pub(super) fn on_command(&self, command: &Command) -> Option<Command> {
        let own = |key: &OsString| command.env.iter().any(|(other, _)| other == key);
        let more: Vec<_> = self.env.iter().filter(|(key, _)| !own(key)).cloned().collect();
        if more.is_empty() {
            return None;
        }
        let mut command = command.clone();
        command.env.extend(more);
        Some(command)
    }

    /// Why the sandbox cannot be used again.
    pub(super) fn reason_against_reuse(&self, reuse: Reuse) -> Option<&'static str> {
        let seen = self.has_contents && reuse != Reuse::Reset;
        seen.then_some("what was bound late can be taken back only by a reset")
    }

    /// Takes back, at the put of a sandbox that is kept as it is, what commands could not copy.
    pub(super) fn unbind(guard: &Guard) -> Result<()> {
        guard.unbind(Instant::now() + BIND)
    }
}

impl Inner {
    /// Refuses what cannot be bound to any sandbox of this set, before one is touched.
    pub(super) fn check_binding(&self, binding: &LateBinding) -> Result<()> {
        let checked = binding.validate(&self.spec).and_then(|()| {
            let bytes: usize = binding.files.iter().map(|file| file.bytes.len()).sum();
            if self.config.scratch_dirs == ScratchDirs::Tmpfs && bytes as u64 > self.spec.limits.scratch_bytes
            {
                let message = format_args!("{bytes} bytes do not fit into the scratch dir");
                return Err(Error::invalid("binding.files", message));
            }
            if !binding.needs_backend() {
                return Ok(());
            }
            if !self.backend.capabilities().bind {
                let message = format!("binding: the {} backend can bind only env late", self.backend.name());
                return Err(Error::new(ErrorCode::Unsupported, Phase::Bind, message));
            }
            self.backend.validate_binding(binding)
        });
        checked.map_err(|error| error.with_phase(Phase::Bind))
    }
}
