//! Scratch dirs: the writable directory of each sandbox.

use std::path::PathBuf;

use crate::{Error, Result};

/// Says where the scratch dirs of a set come from. A fresh one is made for each created sandbox and removed with
/// it; a reused sandbox keeps its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScratchDirs {
    /// A tmpfs in the sandbox's own mount namespace, limited by `scratch_bytes` and `scratch_inodes`. It vanishes
    /// with the sandbox and never touches a disk.
    #[default]
    Tmpfs,
    /// Directories that the backend makes below this existing directory of the host. Their size is not limited.
    /// Their names hold the owner's identity, so that what a killed host left is recognised and removed.
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
}
