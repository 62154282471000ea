//! Directories of tests, and what can be seen of a tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::{programs, skip};

/// A directory of a test, gone with it.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("share-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    /// A root directory with a few programs, which its owner alone can enter; `None`, said loudly, if there are none.
    pub(crate) fn with_programs(name: &str) -> Option<Self> {
        let Some(files) = programs() else {
            skip("no ldd, or no programs that it knows");
            return None;
        };
        let dir = Dir::new(name);
        fs::set_permissions(&dir.0, PermissionsExt::from_mode(0o700)).unwrap();
        for file in files {
            let copy = dir.0.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
        Some(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that a trace could be left on, access times included.
pub(crate) fn state(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    let times =
        [stat.atime(), stat.atime_nsec(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()];
    let mut text = format!(
        "{} {:o} {} {} {} {} {times:?} {:?}\n",
        path.display(),
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.nlink(),
        stat.size(),
        String::from_utf8_lossy(&names[..length]),
    );
    if stat.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        text.extend(entries.iter().map(|entry| state(entry)));
    }
    text
}
