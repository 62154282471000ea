//! A cgroup of the test's own, for hosts that are limited or killed by it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A cgroup of the test's own, below its own.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// In the hierarchy whose line in `/proc/self/cgroup` has this; empty is v2.
    pub(crate) fn make(controller: &str, needed: &str) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            fields.next()?.split(',').any(|name| name == controller).then(|| fields.next()).flatten()
        })?;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let v1 = fields[2] == "cgroup" && fields[3].split(',').any(|option| option == controller);
            (v1 || (controller.is_empty() && fields[2] == "cgroup2")).then(|| PathBuf::from(fields[1]))
        })?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("faults-{}-{number}", std::process::id());
        let dir = root.join(path.trim_start_matches('/')).join(name);
        std::fs::create_dir(&dir).ok()?;
        let made = Cgroup(dir);
        made.0.join(needed).exists().then_some(made)
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// A command that runs in it, with its directory as the last argument.
    pub(crate) fn run(&self, program: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // $0 is the directory.
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@" "$0""#]).arg(&self.0).args(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
