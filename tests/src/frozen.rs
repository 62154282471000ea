//! A file system that stands still, so that whoever writes to it waits in the kernel where no signal reaches it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::census::{TemporaryDir, temporary_dir};

/// A small file system of our own, mounted from a file. Dropping it thaws, unmounts and removes it.
#[derive(Debug)]
pub struct FileSystem {
    dir: TemporaryDir,
    frozen: bool,
}

impl FileSystem {
    /// Makes and mounts one that everybody may write to; an error says why this machine cannot.
    pub fn mount() -> Result<Self, String> {
        if !crate::machine::is_root() {
            return Err("only root can mount and freeze a file system".into());
        }
        let system = FileSystem { dir: temporary_dir("frozen"), frozen: false };
        let image = system.dir.path().join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(8 << 20))
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(system.path()).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), &image, &system.path()])?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(system.path(), everybody).map_err(|error| error.to_string())?;
        Ok(system)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// From now on whoever writes to it waits.
    pub fn freeze(&mut self) {
        run("fsfreeze", &["--freeze".as_ref(), &self.path()]).unwrap();
        self.frozen = true;
    }

    /// Lets those who wait go on.
    pub fn thaw(&mut self) {
        run("fsfreeze", &["--unfreeze".as_ref(), &self.path()]).unwrap();
        self.frozen = false;
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if self.frozen {
            let _ = run("fsfreeze", &["--unfreeze".as_ref(), &self.path()]);
        }
        // Lazily, for whoever is still ending in it; the loop device goes with the last of them.
        let _ = run("umount", &["--lazy".as_ref(), &self.path()]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
