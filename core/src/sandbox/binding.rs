//! What one holder gets on top of the spec, onto a sandbox that is warm already.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::command::check_total;
use super::spec::{check_env, check_sandbox_path};
use crate::{Bind, Error, Limits, Result, SandboxSpec};

/// Where the secrets of a [`LateBinding`] appear in the sandbox, a file each.
pub const SECRETS_DIR: &str = "/run/secrets";

/// What one holder gets on top of the spec, from its get until its put.
///
/// At the put the variables are forgotten and the limits are the spec's again. Secrets, files and binds cannot be
/// taken back so easily, because the code in the sandbox may have copied what it saw. So a sandbox that had any of
/// them is used again only by a set with [`crate::Reuse::Reset`], which unmounts them and verifies that nothing of the
/// holder is left; any other set destroys it at the put.
///
/// What an earlier holder left running in a sandbox that is kept sees what a later one gets. Who binds secrets for
/// holders that do not trust each other resets, or asks for [`crate::Acquire::FreshOnly`].
#[derive(Clone, Debug, Default)]
pub struct LateBinding {
    /// Variables of every command of this holder: on top of the spec's, beneath the command's own. Not for secrets.
    pub env: Vec<(OsString, OsString)>,
    /// Each a file of mode 0400 below [`SECRETS_DIR`], by its name. They are in memory that is never swapped out, never
    /// on disk and never in the environment; 1 MiB all together.
    pub secrets: Vec<(OsString, Secret)>,
    /// Files below the scratch dir. Missing directories above them are made.
    pub files: Vec<LateFile>,
    /// Files or directories of the host, always read-only. A target that is not there is made if it lies in no other
    /// mount; it may not lie in what the sandbox can write to, nor in another of these.
    pub binds: Vec<Bind>,
    /// Limits that are tighter than the spec's.
    pub limits: LateLimits,
}

/// Bytes that are shown nowhere, and that are overwritten before their memory is given back.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// A file that is written into the scratch dir before the sandbox is handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct LateFile {
    /// Relative to the scratch dir, or absolute and below it.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its permission bits, at most 0o777.
    pub mode: u32,
}

/// Limits for one holder; `None` leaves the spec's. A looser one than the spec's is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LateLimits {
    /// Memory in bytes, swap included. What the sandbox holds already counts.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// CPU time per time, in cores.
    pub cpus: Option<f64>,
}

const MAX_SECRETS: usize = 64;
const MAX_SECRET_BYTES: usize = 1 << 20;
const MAX_FILES: usize = 256;
const MAX_BINDS: usize = 64;
/// The kernel's own bound for a file name.
const MAX_NAME_BYTES: usize = 255;

impl LateBinding {
    /// Whether anything is to be put into the sandbox that its code may copy.
    pub fn has_contents(&self) -> bool {
        !(self.secrets.is_empty() && self.files.is_empty() && self.binds.is_empty())
    }

    /// Whether the backend has anything to do for it.
    pub(crate) fn needs_backend(&self) -> bool {
        self.has_contents() || !self.limits.is_empty()
    }

    /// Checks everything that can be checked without a sandbox, for sandboxes of this spec; errors name the field.
    pub fn validate(&self, spec: &SandboxSpec) -> Result<()> {
        check_env("binding.env", &self.env)?;
        check_total("binding.env", &[], &self.env)?;
        self.check_secrets(spec)?;
        self.check_files()?;
        self.check_binds(spec)?;
        self.limits.validate(&spec.limits)
    }

    /// Messages have indices instead of names, lest somebody swapped a name and its secret.
    fn check_secrets(&self, spec: &SandboxSpec) -> Result<()> {
        let refuse = |message: fmt::Arguments<'_>| Err(Error::invalid("binding.secrets", message));
        if self.secrets.len() > MAX_SECRETS {
            return refuse(format_args!("more than {MAX_SECRETS}"));
        }
        if self.secrets.iter().map(|(_, secret)| secret.len()).sum::<usize>() > MAX_SECRET_BYTES {
            return refuse(format_args!("more than {MAX_SECRET_BYTES} bytes all together"));
        }
        for (index, (name, _)) in self.secrets.iter().enumerate() {
            let bytes = name.as_bytes();
            if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES || bytes.contains(&0) || bytes.contains(&b'/')
            {
                return refuse(format_args!("the name of number {index} is not that of a file"));
            }
            if bytes == b"." || bytes == b".." {
                return refuse(format_args!("the name of number {index} is that of a directory"));
            }
            if self.secrets[..index].iter().any(|(other, _)| other == name) {
                return refuse(format_args!("number {index} has the name of another"));
            }
        }
        let covered = |bind: &Bind| Path::new(SECRETS_DIR).starts_with(&bind.target);
        match self.binds.iter().chain(&spec.binds).find(|bind| covered(bind)) {
            Some(bind) if !self.secrets.is_empty() => {
                refuse(format_args!("{SECRETS_DIR} lies below the bind to {}", bind.target.display()))
            }
            _ => Ok(()),
        }
    }

    fn check_files(&self) -> Result<()> {
        if self.files.len() > MAX_FILES {
            return Err(Error::invalid("binding.files", format_args!("more than {MAX_FILES}")));
        }
        for (index, file) in self.files.iter().enumerate() {
            let path = file.in_sandbox();
            check_sandbox_path("binding.files.path", &path)?;
            let refuse = |what: &str| {
                Err(Error::invalid("binding.files.path", format_args!("{} {what}", file.path.display())))
            };
            if path == Path::new("/scratch") || !path.starts_with("/scratch") {
                return refuse("is not below the scratch dir");
            }
            if file.path.as_os_str().as_bytes().ends_with(b"/") {
                return refuse("is the name of a directory");
            }
            if self.files[..index].iter().any(|other| {
                let other = other.in_sandbox();
                path.starts_with(&other) || other.starts_with(&path)
            }) {
                return refuse("is, or lies below, another of these");
            }
            if file.mode > 0o777 {
                let message = format_args!("{:#o} is not between 0 and 0o777", file.mode);
                return Err(Error::invalid("binding.files.mode", message));
            }
        }
        Ok(())
    }

    fn check_binds(&self, spec: &SandboxSpec) -> Result<()> {
        if self.binds.len() > MAX_BINDS {
            return Err(Error::invalid("binding.binds", format_args!("more than {MAX_BINDS}")));
        }
        for (index, bind) in self.binds.iter().enumerate() {
            bind.validate("binding.binds")?;
            if bind.writable {
                return Err(Error::invalid("binding.binds.writable", "a late bind is always read-only"));
            }
            let refuse = |what: fmt::Arguments<'_>| {
                let message = format_args!("{} {what}", bind.target.display());
                Err(Error::invalid("binding.binds.target", message))
            };
            let below = |dir: &Path| bind.target.starts_with(dir);
            let writable = spec.binds.iter().filter(|bind| bind.writable).map(|bind| &*bind.target);
            if let Some(dir) =
                ["/scratch", "/tmp"].map(Path::new).into_iter().chain(writable).find(|dir| below(dir))
            {
                return refuse(format_args!("lies in {}, which the sandbox can write to", dir.display()));
            }
            if below(Path::new(SECRETS_DIR)) {
                return refuse(format_args!("is reserved for secrets"));
            }
            let related = |other: &&Bind| below(&other.target) || other.target.starts_with(&bind.target);
            if let Some(other) = self.binds[..index].iter().find(related) {
                return refuse(format_args!("and {} lie in each other", other.target.display()));
            }
        }
        Ok(())
    }
}

impl LateLimits {
    /// Whether nothing is to be tightened.
    pub fn is_empty(&self) -> bool {
        *self == LateLimits::default()
    }

    fn validate(&self, spec: &Limits) -> Result<()> {
        fn check<T>(field: &str, wanted: Option<T>, least: T, most: T) -> Result<()>
        where
            T: Copy + PartialOrd + fmt::Display,
        {
            match wanted {
                Some(wanted) if !(least..=most).contains(&wanted) => {
                    let message = format_args!("{wanted} is not between {least} and the spec's {most}");
                    Err(Error::invalid(format!("binding.limits.{field}"), message))
                }
                _ => Ok(()),
            }
        }
        check("memory_bytes", self.memory_bytes, Limits::MIN_MEMORY_BYTES, spec.memory_bytes)?;
        check("pids", self.pids, Limits::MIN_PIDS, spec.pids)?;
        check("cpus", self.cpus, Limits::MIN_CPUS, spec.cpus.unwrap_or(Limits::MAX_CPUS))
    }
}

impl LateFile {
    /// Its absolute path, without empty names and dots.
    fn in_sandbox(&self) -> PathBuf {
        let path = Path::new("/scratch").join(&self.path);
        path.components().filter(|component| *component != Component::CurDir).collect()
    }
}

impl Secret {
    /// Takes over the bytes; no copy of them is left behind.
    pub fn new(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes. Whoever asks must not let them out of hand.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Secret::new(bytes.to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for LateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LateFile { path, bytes, mode } = self;
        write!(f, "LateFile({}, {} bytes, {mode:#o})", path.display(), bytes.len())
    }
}
