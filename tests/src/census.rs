//! The census: everything on this machine that belongs to the sandbox sets of one host process.
//!
//! What we make carries the identity of its host process in its name (boot, pid, start time), so a census of one
//! process never sees what another one has. Processes carry it in their cgroup; where there is none, keepers and
//! their hosts betray each other by the pidfds they hold, and what was once seen is remembered. Taken before and
//! after, the difference must be empty, within a window in which the kernel and the machine's own init may settle.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandboxset_keeper::Owner;

use crate::kernel::{self, Task};

/// What a census looks at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What every name begins with that belongs to the host process.
    tag: String,
    /// Directories in which scratch dirs are made; nothing else may be in them.
    scratch_bases: Vec<PathBuf>,
    /// Whether the host process is the caller, so that its own descriptors and threads count.
    own: bool,
    /// The host process.
    host: u32,
    /// A user whose processes all belong to the host process.
    user: Option<u32>,
    /// What was seen once stays ours, also when its parent or its cgroup is gone.
    remembered: Arc<Mutex<BTreeSet<Identity>>>,
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Keepers, inits and everything they started, each with its name and what betrayed it.
    pub processes: BTreeMap<Identity, String>,
    /// Those of them that ended and only wait for the machine's init to reap them.
    pub zombies: BTreeMap<Identity, String>,
    /// Cgroup directories of any hierarchy.
    pub cgroups: BTreeSet<PathBuf>,
    /// Mounts in any visible mount namespace.
    pub mounts: BTreeSet<String>,
    /// Scratch dirs on disk.
    pub dirs: BTreeSet<PathBuf>,
    /// The caller's descriptors by kind, if the scope is its own.
    pub descriptors: BTreeMap<String, usize>,
    /// The caller's threads that belong to the library, by name, if the scope is its own.
    pub threads: BTreeMap<String, usize>,
}

/// A process for ever: a pid alone is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// Something that is there and was not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak(String);

impl Scope {
    /// The calling process, its descriptors and threads included.
    pub fn own() -> Self {
        let owner = Owner::current().unwrap();
        Scope { own: true, ..Scope::of(&owner.to_string()) }
    }

    /// The process that a tag names: the display form of its [`Owner`].
    pub fn of(owner: &str) -> Self {
        let host = Owner::parse(owner).unwrap_or_else(|| panic!("{owner} is no owner")).pid();
        Scope {
            tag: format!("{owner}-"),
            scratch_bases: Vec::new(),
            own: false,
            host,
            user: None,
            remembered: Arc::default(),
        }
    }

    /// Also looks into a directory in which scratch dirs are made.
    #[must_use]
    pub fn with_scratch_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.scratch_bases.push(base.into());
        self
    }

    /// Counts every process of a user who runs nothing but the host process.
    #[must_use]
    pub fn with_user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// What every name begins with that belongs to the host process.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What there is now.
    pub fn take(&self) -> Census {
        let tasks = kernel::tasks();
        let mut census = Census::default();
        for (task, why) in self.ours(&tasks) {
            let line = format!("{} ({why})", task.name);
            let list = if task.zombie { &mut census.zombies } else { &mut census.processes };
            list.insert(task.identity(), line);
        }
        census.cgroups = kernel::cgroup_dirs(&self.tag);
        census.mounts = kernel::mounts(&tasks, &self.tag);
        for base in &self.scratch_bases {
            let entries =
                std::fs::read_dir(base).unwrap_or_else(|error| panic!("{}: {error}", base.display()));
            census.dirs.extend(entries.flatten().map(|entry| entry.path()));
        }
        if self.own {
            census.descriptors = kernel::own_descriptors();
            census.threads = kernel::own_threads("sandboxset");
        }
        census
    }

    /// The live keepers among the processes, from which everything else descends.
    pub fn keepers(&self) -> Vec<Identity> {
        let tasks = kernel::tasks();
        let ours: BTreeMap<u32, &Task> =
            self.ours(&tasks).into_iter().map(|(task, _)| (task.pid, task)).collect();
        ours.values()
            .filter(|task| !task.zombie && task.is_keeper() && !ours.contains_key(&task.parent))
            .map(|task| task.identity())
            .collect()
    }

    /// Waits until nothing is there that was not there before, looking ever less often, and answers how long that
    /// took. Only the bound fails.
    pub fn settle(&self, before: &Census, bound: Duration) -> Result<Duration, Vec<Leak>> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let leaks = self.take().leaks_since(before);
            if leaks.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > bound {
                return Err(leaks);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Panics with a list if something is left after a generous while.
    pub fn assert_settles(&self, before: &Census) {
        if let Err(leaks) = self.settle(before, SETTLING) {
            panic!("left behind after {SETTLING:?}:\n{}", lines(&leaks));
        }
    }

    fn ours<'a>(&self, tasks: &'a BTreeMap<u32, Task>) -> Vec<(&'a Task, &'static str)> {
        let mut remembered = self.remembered.lock().unwrap();
        // What the host watches, while it is there to ask.
        let host = tasks.get(&self.host).filter(|task| self.tag.ends_with(&format!("-{}-", task.start_time)));
        let watched = host.map(|host| kernel::watched(host.pid)).unwrap_or_default();
        let mut found = BTreeMap::new();
        for task in tasks.values().filter(|task| task.pid != self.host) {
            let why = if task.cgroups.contains(&self.tag) {
                "by its cgroup"
            } else if remembered.contains(&task.identity()) {
                "seen before"
            } else if self.user == Some(task.uid) {
                "by its user"
            } else if task.is_keeper() && watched.contains(&task.pid) {
                "watched by the host"
            } else if task.is_keeper() && host.is_some() && kernel::watched(task.pid).contains(&self.host) {
                "watching the host"
            } else {
                continue;
            };
            found.insert(task.pid, why);
        }
        // Their descendants, children before grandchildren.
        loop {
            let next: Vec<u32> = tasks
                .values()
                .filter(|task| found.contains_key(&task.parent) && !found.contains_key(&task.pid))
                .map(|task| task.pid)
                .collect();
            if next.is_empty() {
                break;
            }
            found.extend(next.into_iter().map(|pid| (pid, "by descent")));
        }
        remembered.extend(found.keys().map(|pid| tasks[pid].identity()));
        found.into_iter().map(|(pid, why)| (&tasks[&pid], why)).collect()
    }
}

/// How long everything may take to be gone on a loaded machine. Only a leak takes longer.
pub const SETTLING: Duration = Duration::from_secs(20);

impl Census {
    /// Whether nothing at all is there, apart from the caller's own descriptors and threads.
    pub fn is_clean(&self) -> bool {
        self.leaks_since(&Census {
            descriptors: self.descriptors.clone(),
            threads: self.threads.clone(),
            ..Census::default()
        })
        .is_empty()
    }

    /// What is there and was not there before. Zombies do not count: whoever should reap them is not us.
    pub fn leaks_since(&self, before: &Census) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for (identity, line) in &self.processes {
            if !before.processes.contains_key(identity) {
                leaks.push(Leak(format!("process {} {line}", identity.pid)));
            }
        }
        let mut new = |what: &str, now: &BTreeSet<PathBuf>, then: &BTreeSet<PathBuf>| {
            leaks.extend(now.difference(then).map(|path| Leak(format!("{what} {}", path.display()))));
        };
        new("cgroup", &self.cgroups, &before.cgroups);
        new("scratch dir", &self.dirs, &before.dirs);
        leaks.extend(self.mounts.difference(&before.mounts).map(|mount| Leak(format!("mount {mount}"))));
        let mut more = |what: &str, now: &BTreeMap<String, usize>, then: &BTreeMap<String, usize>| {
            for (kind, &count) in now {
                let was = then.get(kind).copied().unwrap_or(0);
                if count > was {
                    leaks.push(Leak(format!("{what} {kind}: {count}, was {was}")));
                }
            }
        };
        more("descriptor", &self.descriptors, &before.descriptors);
        more("thread", &self.threads, &before.threads);
        leaks
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line per leak.
pub fn lines(leaks: &[Leak]) -> String {
    leaks.iter().map(|leak| format!("  {leak}\n")).collect()
}

/// Makes an empty directory below the system's temporary one that is removed with the guard.
pub fn temporary_dir(purpose: &str) -> TemporaryDir {
    let base = std::env::temp_dir();
    temporary_dir_in(&base, purpose).unwrap_or_else(|error| panic!("{}: {error}", base.display()))
}

/// A new directory in another place than that for temporary files.
pub fn temporary_dir_in(base: &Path, purpose: &str) -> std::io::Result<TemporaryDir> {
    let mut number = 0u32;
    loop {
        let path = base.join(format!("{purpose}-{}-{number}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(TemporaryDir(path)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A directory of one test.
#[derive(Debug)]
pub struct TemporaryDir(PathBuf);

impl TemporaryDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // Not the standard library's way: a failed test may leave a tree that is too deep for that.
        let (Some(parent), Some(name)) = (self.0.parent(), self.0.file_name()) else { return };
        if let (Ok(parent), Ok(name)) = (std::fs::File::open(parent), CString::new(name.as_bytes())) {
            let _ = sandboxset_keeper::remove_tree(parent.as_fd(), &name);
        }
    }
}
