//! What a set, a close, a listing and a host tell about themselves.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

#[napi(object, object_from_js = false)]
pub struct Stats {
    pub idle: f64,
    pub held: f64,
    pub creating: f64,
    pub resuming: f64,
    pub returning: f64,
    pub destroying: f64,
    pub quarantined: f64,
    pub waiting: f64,
    pub gets: f64,
    pub hits: f64,
    pub misses: HashMap<String, f64>,
    pub waits: f64,
    pub timeouts: f64,
    pub created: f64,
    pub create_failures: f64,
    pub puts: f64,
    pub resets: f64,
    pub reset_failures: f64,
    pub forks: f64,
    pub fork_failures: f64,
    pub destroyed: f64,
    pub destroyed_by: HashMap<String, f64>,
}

#[napi(object, object_from_js = false)]
pub struct CloseReport {
    pub destroyed: f64,
    pub survivors: Vec<String>,
}

#[napi(object, object_from_js = false)]
pub struct DirEntry {
    pub name: String,
    pub name_bytes: Buffer,
    pub kind: &'static str,
}

#[napi(object, object_from_js = false)]
pub struct IsolationReport {
    pub layers: Vec<Layer>,
}

#[napi(object, object_from_js = false)]
pub struct Layer {
    pub name: String,
    pub status: &'static str,
    pub detail: String,
}

impl From<sandboxset::Stats> for Stats {
    fn from(core: sandboxset::Stats) -> Self {
        Stats {
            idle: core.idle as f64,
            held: core.held as f64,
            creating: core.creating as f64,
            resuming: core.resuming as f64,
            returning: core.returning as f64,
            destroying: core.destroying as f64,
            quarantined: core.quarantined as f64,
            waiting: core.waiting as f64,
            gets: core.gets as f64,
            hits: core.hits as f64,
            misses: core
                .misses
                .into_iter()
                .map(|(reason, count)| (reason.name().into(), count as f64))
                .collect(),
            waits: core.waits as f64,
            timeouts: core.timeouts as f64,
            created: core.created as f64,
            create_failures: core.create_failures as f64,
            puts: core.puts as f64,
            resets: core.resets as f64,
            reset_failures: core.reset_failures as f64,
            forks: core.forks as f64,
            fork_failures: core.fork_failures as f64,
            destroyed: core.destroyed as f64,
            destroyed_by: core
                .destroyed_by
                .into_iter()
                .map(|(reason, count)| (reason, count as f64))
                .collect(),
        }
    }
}

impl From<sandboxset::CloseReport> for CloseReport {
    fn from(core: sandboxset::CloseReport) -> Self {
        CloseReport { destroyed: core.destroyed as f64, survivors: core.survivors }
    }
}

impl From<sandboxset::DirEntry> for DirEntry {
    fn from(core: sandboxset::DirEntry) -> Self {
        DirEntry {
            name: core.name.to_string_lossy().into_owned(),
            kind: core.kind.name(),
            name_bytes: core.name.into_vec().into(),
        }
    }
}

impl From<sandboxset::IsolationReport> for IsolationReport {
    fn from(core: sandboxset::IsolationReport) -> Self {
        let layer = |layer: sandboxset::Layer| Layer {
            name: layer.name,
            status: layer.status.name(),
            detail: layer.detail,
        };
        IsolationReport { layers: core.layers.into_iter().map(layer).collect() }
    }
}
