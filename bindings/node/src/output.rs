//! How a command ended and what it wrote.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use sandboxset::Outcome;

use crate::values::as_millis;

#[napi(object, object_from_js = false)]
pub struct Output {
    pub outcome: &'static str,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout_bytes: Buffer,
    pub stdout_head_bytes: f64,
    pub stdout_dropped_bytes: f64,
    pub stderr_bytes: Buffer,
    pub stderr_head_bytes: f64,
    pub stderr_dropped_bytes: f64,
    pub usage: Usage,
}

#[napi(object, object_from_js = false)]
pub struct Usage {
    pub wall_ms: f64,
    pub cpu_ms: f64,
    pub peak_memory_bytes: f64,
    pub memory_bytes: f64,
    pub proportional_memory_bytes: f64,
    pub pids: u32,
}

impl From<sandboxset::Output> for Output {
    fn from(core: sandboxset::Output) -> Self {
        let (exit_code, signal) = match core.outcome {
            Outcome::Exited(code) => (Some(code), None),
            Outcome::Signaled(signal) => (None, Some(signal)),
            _ => (None, None),
        };
        Output {
            outcome: core.outcome.name(),
            exit_code,
            signal,
            stdout_head_bytes: core.stdout.head as f64,
            stdout_dropped_bytes: core.stdout.dropped as f64,
            stdout_bytes: core.stdout.bytes.into(),
            stderr_head_bytes: core.stderr.head as f64,
            stderr_dropped_bytes: core.stderr.dropped as f64,
            stderr_bytes: core.stderr.bytes.into(),
            usage: core.usage.into(),
        }
    }
}

impl From<sandboxset::Usage> for Usage {
    fn from(core: sandboxset::Usage) -> Self {
        Usage {
            wall_ms: as_millis(core.wall),
            cpu_ms: as_millis(core.cpu),
            peak_memory_bytes: core.peak_memory_bytes as f64,
            memory_bytes: core.memory_bytes as f64,
            proportional_memory_bytes: core.proportional_memory_bytes as f64,
            pids: core.pids,
        }
    }
}
