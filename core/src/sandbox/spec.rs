//! The recipe of a sandbox.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::command::MAX_ARG_BYTES;
use crate::{Error, Result, Runtime};

/// Says what every sandbox of a set looks like. All sandboxes of one set are made from the same spec.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// The root file system, always read-only.
    ///
    /// Sandboxes share its contents, but neither locks nor watches on its files. What the host changes in it later,
    /// a living sandbox may see or not.
    pub root: RootFs,
    /// A directory of the host that appears read-only at `/code`, shared as the root is.
    pub code_dir: Option<PathBuf>,
    /// Further files or directories of the host, in mount order.
    pub binds: Vec<Bind>,
    /// The environment of every command, beneath the command's own. Nothing of the host's is inherited;
    /// `PATH` and `HOME` have defaults.
    pub env: Vec<(OsString, OsString)>,
    /// Limits of the whole sandbox.
    pub limits: Limits,
    /// A long-lived process that answers requests, started when the sandbox is created.
    pub runtime: Option<Runtime>,
    /// How much each layer of isolation matters, by the names that `isolation_report` uses. A layer that is not
    /// named is `BestEffort`.
    pub layers: Vec<(String, LayerPolicy)>,
}

/// How much a layer of isolation matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerPolicy {
    /// A sandbox in which it is not fully active is not handed out: the create fails with `UNSUPPORTED`.
    Required,
    /// What the host offers is used, and reported.
    #[default]
    BestEffort,
    /// It is left away. Only for layers that a sandbox can be without; meant for tests, and for programs that
    /// cannot live with it.
    Off,
}

impl LayerPolicy {
    /// Every policy there is.
    pub const ALL: [LayerPolicy; 3] = [LayerPolicy::Required, LayerPolicy::BestEffort, LayerPolicy::Off];

    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            LayerPolicy::Required => "required",
            LayerPolicy::BestEffort => "best_effort",
            LayerPolicy::Off => "off",
        }
    }

    /// The policy of this name; an error names the layer that it was given for.
    pub fn parse(layer: &str, name: &str) -> Result<Self> {
        LayerPolicy::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            Error::invalid("layers", format_args!("{layer}: {name:?} is not required, best_effort or off"))
        })
    }
}

/// Where the root file system comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RootFs {
    /// The host's own `/usr`, `/bin`, `/lib*` and a minimal `/etc`, read-only.
    #[default]
    Host,
    /// An unpacked image directory.
    Directory(PathBuf),
    /// An image in an OCI image layout on disk, for this machine's architecture.
    ///
    /// It is unpacked when the set is made, once for each image and not for each set, into the cache directory of
    /// the Linux backend, and is then used like a [`RootFs::Directory`]. A tag that comes to name another image
    /// later changes sets that are made later.
    ///
    /// Every digest and size is verified. Layers are tar or tar+gzip. All files belong to the user that unpacks
    /// them and are readable by everybody: directories and executable files get the mode 0755, all others 0644,
    /// so that neither setuid bits nor secrets between users of the image remain. Devices, FIFOs and sockets are
    /// left out. An archive with an entry that would leave the root is refused, as is one that is too large:
    /// 16 GiB, 1 000 000 entries, 128 directories deep, 200 times its compressed size.
    OciLayout {
        /// An absolute path: the directory with `oci-layout`, `index.json` and `blobs`.
        dir: PathBuf,
        /// Which image: its `org.opencontainers.image.ref.name`. `None` if there is only one.
        tag: Option<String>,
    },
}

impl RootFs {
    /// Reads the form in which languages without an enum have it: `oci:DIR:TAG` or `oci:DIR` for an image, else
    /// the path of a directory.
    ///
    /// `DIR` ends at the first colon, as in other tools, so that a tag can contain one.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` naming `root` if the tag is not UTF-8.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self> {
        let text = text.as_ref().as_bytes();
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let Some(image) = text.strip_prefix(b"oci:") else { return Ok(RootFs::Directory(path(text))) };
        let Some(colon) = image.iter().position(|byte| *byte == b':') else {
            return Ok(RootFs::OciLayout { dir: path(image), tag: None });
        };
        let tag = std::str::from_utf8(&image[colon + 1..])
            .map_err(|_| Error::invalid("root", "the tag of the image is not UTF-8"))?;
        Ok(RootFs::OciLayout { dir: path(&image[..colon]), tag: Some(tag.to_owned()) })
    }

    fn validate(&self) -> Result<()> {
        let path = match self {
            RootFs::Host => return Ok(()),
            RootFs::Directory(path) => path,
            RootFs::OciLayout { dir, tag } => {
                if tag.as_ref().is_some_and(String::is_empty) {
                    return Err(Error::invalid("root", "the tag of the image is empty"));
                }
                dir
            }
        };
        check_host_path("root", path)?;
        if !path.is_dir() {
            return Err(Error::invalid("root", format_args!("{} is not a directory", path.display())));
        }
        Ok(())
    }
}

/// A file or directory of the host that is visible in every sandbox of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// An absolute path on the host.
    pub source: PathBuf,
    /// An absolute path in the sandbox.
    pub target: PathBuf,
    /// Whether the sandbox may write to it. Two sandboxes that share a bind are not isolated from each other there,
    /// not even where both only read: each feels the other's locks.
    pub writable: bool,
}

/// Limits of one sandbox, all its processes together.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Memory in bytes, swap included; default 256 MiB, the size of a common small function instance. What the kernel
    /// needs for the sandbox counts too, some tens of KiB for each process until a little after its end: a program that
    /// starts processes without end can reach this limit although few of them live.
    pub memory_bytes: u64,
    /// Processes and threads; default 64.
    pub pids: u32,
    /// CPU time per time, in cores (0.5 is half a core); `None`, the default, is unlimited.
    pub cpus: Option<f64>,
    /// Size of the scratch tmpfs in bytes; default 64 MiB. `/tmp` has a tmpfs of the same size.
    pub scratch_bytes: u64,
    /// Files and directories in the scratch tmpfs; default 4096.
    pub scratch_inodes: u64,
    /// Open files per process; default 1024.
    pub open_files: u64,
    /// The largest file a process may write, in bytes; `None`, the default, leaves it to the tmpfs size.
    pub file_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 256 << 20,
            pids: 64,
            cpus: None,
            scratch_bytes: 64 << 20,
            scratch_inodes: 4096,
            open_files: 1024,
            file_bytes: None,
        }
    }
}

/// The most binds a spec may have: a mount each, and the kernel's own limit is for the whole namespace.
const MAX_BINDS: usize = 256;

impl SandboxSpec {
    /// Checks everything that can be checked without making a sandbox; errors name the field.
    pub fn validate(&self) -> Result<()> {
        self.root.validate()?;
        if let Some(path) = &self.code_dir {
            check_host_path("code_dir", path)?;
            if !path.is_dir() {
                return Err(Error::invalid(
                    "code_dir",
                    format_args!("{} is not a directory", path.display()),
                ));
            }
        }
        if self.binds.len() > MAX_BINDS {
            return Err(Error::invalid("binds", format_args!("more than {MAX_BINDS}")));
        }
        for bind in &self.binds {
            bind.validate("binds")?;
        }
        check_env("env", &self.env)?;
        self.limits.validate()?;
        if let Some(runtime) = &self.runtime {
            runtime.validate()?;
        }
        for (index, (name, _)) in self.layers.iter().enumerate() {
            if self.layers[..index].iter().any(|(other, _)| other == name) {
                return Err(Error::invalid("layers", format_args!("{name:?} is given twice")));
            }
        }
        Ok(())
    }
}

impl Bind {
    /// `field` is what the list is called in errors.
    pub(super) fn validate(&self, field: &str) -> Result<()> {
        self.check_source(&format!("{field}.source"))?;
        let field = format!("{field}.target");
        check_sandbox_path(&field, &self.target)?;
        let reserved = ["/", "/proc", "/dev", "/scratch", "/tmp", "/code"];
        let under_kernel_fs = self.target.starts_with("/proc") || self.target.starts_with("/dev");
        if under_kernel_fs || reserved.iter().any(|path| self.target == Path::new(path)) {
            return Err(Error::invalid(field, format_args!("{} is reserved", self.target.display())));
        }
        Ok(())
    }

    /// A directory or a regular file, and not what all else is in, or what speaks for the kernel or its services.
    fn check_source(&self, field: &str) -> Result<()> {
        check_host_path(field, &self.source)?;
        let refuse = |what: std::fmt::Arguments<'_>| {
            Err(Error::invalid(field, format_args!("{} {what}", self.source.display())))
        };
        let looked = std::fs::canonicalize(&self.source)
            .and_then(|path| std::fs::metadata(&path).map(|metadata| (path, metadata)));
        let (path, metadata) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                return Err(Error::invalid(field, format_args!("{}: {error}", self.source.display())));
            }
        };
        if !metadata.is_dir() && !metadata.is_file() {
            return refuse(format_args!("is neither a directory nor a regular file"));
        }
        let whole = ["/", "/dev", "/run"].map(Path::new);
        if whole.contains(&&*path) || path.starts_with("/proc") || path.starts_with("/sys") {
            return refuse(format_args!("is nothing that a sandbox should see"));
        }
        Ok(())
    }
}

impl Limits {
    /// The least memory that a sandbox with nothing but its init and one small command can live in.
    pub(super) const MIN_MEMORY_BYTES: u64 = 4 << 20;
    pub(super) const MIN_PIDS: u32 = 2;
    pub(super) const MIN_CPUS: f64 = 0.01;
    pub(super) const MAX_CPUS: f64 = 4096.0;

    fn validate(&self) -> Result<()> {
        if self.memory_bytes < Self::MIN_MEMORY_BYTES || self.memory_bytes > i64::MAX as u64 {
            return Err(Error::invalid(
                "limits.memory_bytes",
                format_args!(
                    "{} is not between {} and {}",
                    self.memory_bytes,
                    Self::MIN_MEMORY_BYTES,
                    i64::MAX
                ),
            ));
        }
        if !(Self::MIN_PIDS..=4_194_304).contains(&self.pids) {
            return Err(Error::invalid(
                "limits.pids",
                format_args!("{} is not between 2 and 4194304", self.pids),
            ));
        }
        if let Some(cpus) = self.cpus
            && !(Self::MIN_CPUS..=Self::MAX_CPUS).contains(&cpus)
        {
            return Err(Error::invalid(
                "limits.cpus",
                format_args!("{cpus} is not between 0.01 and {}", Self::MAX_CPUS),
            ));
        }
        if !(4096..=i64::MAX as u64).contains(&self.scratch_bytes) {
            return Err(Error::invalid(
                "limits.scratch_bytes",
                format_args!("{} is not between 4096 and {}", self.scratch_bytes, i64::MAX),
            ));
        }
        if !(2..=1 << 40).contains(&self.scratch_inodes) {
            return Err(Error::invalid(
                "limits.scratch_inodes",
                format_args!("{} is not between 2 and {}", self.scratch_inodes, 1u64 << 40),
            ));
        }
        if !(16..=1_048_576).contains(&self.open_files) {
            return Err(Error::invalid(
                "limits.open_files",
                format_args!("{} is not between 16 and 1048576", self.open_files),
            ));
        }
        if self.file_bytes == Some(0) {
            return Err(Error::invalid("limits.file_bytes", "0 would let no file be written"));
        }
        Ok(())
    }
}

/// An absolute path on the host, without NUL.
pub(crate) fn check_host_path(field: &str, path: &Path) -> Result<()> {
    check_bytes(field, path.as_os_str().as_bytes())?;
    if !path.is_absolute() {
        return Err(Error::invalid(field, format_args!("{} is not an absolute path", path.display())));
    }
    Ok(())
}

/// An absolute path in the sandbox, without NUL and without `..`.
pub(crate) fn check_sandbox_path(field: &str, path: &Path) -> Result<()> {
    check_host_path(field, path)?;
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(Error::invalid(field, format_args!("{} contains ..", path.display())));
    }
    Ok(())
}

/// Environment variables: keys are not empty and hold neither `=` nor NUL; values hold no NUL; no key twice; none is
/// longer than the kernel takes.
pub(crate) fn check_env(field: &str, env: &[(OsString, OsString)]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for (index, (key, value)) in env.iter().enumerate() {
        let bytes = key.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
            return Err(Error::invalid(field, format_args!("{key:?} is not a variable name")));
        }
        if value.as_bytes().contains(&0) {
            return Err(Error::invalid(field, format_args!("the value of {key:?} contains a NUL byte")));
        }
        if key.len() + value.len() + 1 >= MAX_ARG_BYTES {
            return Err(Error::invalid(
                field,
                format_args!("variable {index} is longer than {MAX_ARG_BYTES} bytes"),
            ));
        }
        if !seen.insert(key) {
            return Err(Error::invalid(field, format_args!("{key:?} is given twice")));
        }
    }
    Ok(())
}

/// A path of acceptable length, without NUL.
fn check_bytes(field: &str, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::invalid(field, "is empty"));
    }
    if bytes.contains(&0) {
        return Err(Error::invalid(field, "contains a NUL byte"));
    }
    if bytes.len() > 4095 {
        return Err(Error::invalid(field, "is longer than 4095 bytes"));
    }
    Ok(())
}
