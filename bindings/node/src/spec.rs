//! The recipe and the configuration of a set, and what a get binds late.

use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use sandboxset::{
    Bind, Config, LateBinding, LateFile, LateLimits, LayerPolicy, Limits, Result, Reuse, RootFs, SandboxSpec,
    ScratchDirs, Secret,
};

use crate::runtime::RuntimeOptions;
use crate::values::{Name, environment, millis_or, os_string, path};

#[napi(object, object_to_js = false)]
pub struct SpecOptions {
    pub root: Option<Name>,
    pub code_dir: Option<Name>,
    pub binds: Option<Vec<BindOptions>>,
    pub env: Option<Vec<Name>>,
    pub limits: Option<LimitOptions>,
    pub runtime: Option<RuntimeOptions>,
    /// Names and policies in turn.
    pub layers: Option<Vec<String>>,
}

#[napi(object, object_to_js = false)]
pub struct BindOptions {
    pub source: Name,
    pub target: Name,
    pub writable: Option<bool>,
}

#[napi(object, object_to_js = false)]
pub struct LimitOptions {
    pub memory_bytes: Option<f64>,
    pub pids: Option<f64>,
    pub cpus: Option<f64>,
    pub scratch_bytes: Option<f64>,
    pub scratch_inodes: Option<f64>,
    pub open_files: Option<f64>,
    pub file_bytes: Option<f64>,
}

#[napi(object, object_to_js = false)]
pub struct ConfigOptions {
    pub max_size: Option<f64>,
    pub min_idle: Option<f64>,
    pub max_waiters: Option<f64>,
    pub get_timeout: Option<f64>,
    pub create_timeout: Option<f64>,
    pub reuse: Option<String>,
    pub max_forks: Option<f64>,
    pub scratch_dirs: Option<Name>,
}

#[napi(object, object_to_js = false)]
pub struct BindingOptions {
    pub env: Option<Vec<Name>>,
    pub secrets: Option<Vec<SecretOptions>>,
    pub files: Option<Vec<FileOptions>>,
    pub binds: Option<Vec<BindOptions>>,
    pub limits: Option<LimitOptions>,
}

#[napi(object, object_to_js = false)]
pub struct SecretOptions {
    pub name: Name,
    pub data: Uint8Array,
}

#[napi(object, object_to_js = false)]
pub struct FileOptions {
    pub path: Name,
    pub data: Uint8Array,
    pub mode: Option<f64>,
}

/// Permissions of a late file that says nothing of them.
const MODE: u32 = 0o644;

impl SpecOptions {
    pub(crate) fn read(self) -> Result<SandboxSpec> {
        let mut spec = SandboxSpec::default();
        if let Some(root) = self.root {
            spec.root = RootFs::parse(os_string(root))?;
        }
        spec.code_dir = self.code_dir.map(path);
        spec.binds = binds(self.binds);
        spec.env = environment(self.env);
        if let Some(limits) = self.limits {
            spec.limits = limits.read();
        }
        spec.runtime = self.runtime.map(RuntimeOptions::read).transpose()?;
        let mut words = self.layers.unwrap_or_default().into_iter();
        while let (Some(layer), Some(policy)) = (words.next(), words.next()) {
            let policy = LayerPolicy::parse(&layer, &policy)?;
            spec.layers.push((layer, policy));
        }
        Ok(spec)
    }
}

impl LimitOptions {
    fn read(self) -> Limits {
        let mut limits = Limits::default();
        let set = |limit: &mut u64, value: Option<f64>| *limit = value.map_or(*limit, |value| value as u64);
        set(&mut limits.memory_bytes, self.memory_bytes);
        set(&mut limits.scratch_bytes, self.scratch_bytes);
        set(&mut limits.scratch_inodes, self.scratch_inodes);
        set(&mut limits.open_files, self.open_files);
        limits.pids = self.pids.map_or(limits.pids, |pids| pids as u32);
        limits.cpus = self.cpus;
        limits.file_bytes = self.file_bytes.map(|bytes| bytes as u64);
        limits
    }

    fn read_late(self) -> LateLimits {
        LateLimits {
            memory_bytes: self.memory_bytes.map(|bytes| bytes as u64),
            pids: self.pids.map(|pids| pids as u32),
            cpus: self.cpus,
        }
    }
}

impl ConfigOptions {
    pub(crate) fn read(self) -> Config {
        let mut config = Config::default();
        let set =
            |number: &mut usize, value: Option<f64>| *number = value.map_or(*number, |value| value as usize);
        set(&mut config.max_size, self.max_size);
        set(&mut config.min_idle, self.min_idle);
        set(&mut config.max_waiters, self.max_waiters);
        set(&mut config.max_forks, self.max_forks);
        config.get_timeout = millis_or(self.get_timeout, config.get_timeout);
        config.create_timeout = millis_or(self.create_timeout, config.create_timeout);
        config.reuse = match self.reuse.as_deref() {
            Some("reset") => Reuse::Reset,
            Some("replace") => Reuse::Replace,
            _ => Reuse::Keep,
        };
        if let Some(dir) = self.scratch_dirs {
            config.scratch_dirs = ScratchDirs::Disk(path(dir));
        }
        config
    }
}

impl BindingOptions {
    pub(crate) fn read(self) -> LateBinding {
        let secret = |secret: SecretOptions| (os_string(secret.name), Secret::new(secret.data.to_vec()));
        let file = |file: FileOptions| LateFile {
            path: path(file.path),
            bytes: file.data.to_vec(),
            mode: file.mode.map_or(MODE, |mode| mode as u32),
        };
        LateBinding {
            env: environment(self.env),
            secrets: self.secrets.unwrap_or_default().into_iter().map(secret).collect(),
            files: self.files.unwrap_or_default().into_iter().map(file).collect(),
            binds: binds(self.binds),
            limits: self.limits.map(LimitOptions::read_late).unwrap_or_default(),
        }
    }
}

fn binds(binds: Option<Vec<BindOptions>>) -> Vec<Bind> {
    let bind = |bind: BindOptions| Bind {
        source: path(bind.source),
        target: path(bind.target),
        writable: bind.writable.unwrap_or_default(),
    };
    binds.unwrap_or_default().into_iter().map(bind).collect()
}
