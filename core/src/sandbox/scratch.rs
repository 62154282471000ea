//! Scratch dirs: the writable directory of each sandbox.

use std::path::PathBuf;

use crate::{Error, Result, SandboxId};

/// Says where the scratch dirs of a set come from. A fresh one is made for each created sandbox and removed with
/// it; a reused sandbox keeps its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScratchDirs {
    /// A tmpfs in the sandbox's own mount namespace, limited by `scratch_bytes` and `scratch_inodes`. It vanishes
    /// with the sandbox and never touches a disk.
    #[default]
    Tmpfs,
    /// Directories below this existing directory of the host. Their size is not limited.
    Disk(PathBuf),
}

/// The scratch dir of one sandbox to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scratch {
    /// A tmpfs that the backend mounts.
    Tmpfs,
    /// A directory on the host that does not exist yet; the backend makes it, mode 0700, and removes it.
    Disk(PathBuf),
}

impl ScratchDirs {
    /// Checks that the directory is there; errors name the field.
    pub fn validate(&self) -> Result<()> {
        let ScratchDirs::Disk(base) = self else { return Ok(()) };
        crate::sandbox::spec::check_host_path("scratch_dirs", base)?;
        if !base.is_dir() {
            return Err(Error::invalid(
                "scratch_dirs",
                format_args!("{} is not a directory", base.display()),
            ));
        }
        Ok(())
    }

    /// The scratch dir of a new sandbox. The name holds our process id and a random part, so that two processes
    /// may share a base directory.
    pub(crate) fn assign(&self, id: SandboxId) -> Scratch {
        match self {
            ScratchDirs::Tmpfs => Scratch::Tmpfs,
            ScratchDirs::Disk(base) => {
                Scratch::Disk(base.join(format!("sandboxset-{}-{}", std::process::id(), id.get())))
            }
        }
    }
}
