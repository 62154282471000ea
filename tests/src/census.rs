//! The census: everything on this machine that belongs to the sandbox sets of one host process.
//!
//! What we make carries the identity of its host process in its name (boot, pid, start time), so a census of one
//! process never sees what another one has. Taken before and after, the difference must be empty, within a window
//! in which the kernel and the machine's own init may settle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
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
        Scope { tag: format!("{owner}-"), scratch_bases: Vec::new(), own: true }
    }

    /// The process that a tag names: the display form of its [`Owner`].
    pub fn of(owner: &str) -> Self {
        assert!(Owner::parse(owner).is_some(), "{owner} is no owner");
        Scope { tag: format!("{owner}-"), scratch_bases: Vec::new(), own: false }
    }

    /// Also looks into a directory in which scratch dirs are made.
    #[must_use]
    pub fn with_scratch_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.scratch_bases.push(base.into());
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
            let identity = Identity { pid: task.pid, start_time: task.start_time };
            let line = format!("{} ({why})", task.name);
            let list = if task.zombie { &mut census.zombies } else { &mut census.processes };
            list.insert(identity, line);
        }
        census.cgroups = kernel::cgroup_dirs(&self.tag);
        census.mounts = kernel::mounts(&tasks, &self.tag);
        for base in &self.scratch_bases {
            let entries = std::fs::read_dir(base).unwrap_or_else(|error| panic!("{}: {error}", base.display()));
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
        let ours: BTreeMap<u32, &Task> = self.ours(&tasks).into_iter().map(|(task, _)| (task.pid, task)).collect();
        ours.values()
            .filter(|task| !task.zombie && task.command_line.contains(&self.tag))
            .filter(|task| !ours.contains_key(&task.parent))
            .map(|task| Identity { pid: task.pid, start_time: task.start_time })
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
        let betrayed = |task: &Task| {
            if task.cgroups.contains(&self.tag) {
                Some("by its cgroup")
            } else if task.command_line.contains(&self.tag) && task.command_line.starts_with("sandboxset-keeper") {
                Some("by its command line")
            } else {
                None
            }
        };
        let descends = |task: &Task| {
            let mut parent = task.parent;
            // A chain of parents can only be longer than this if it changed while we walked.
            for _ in 0..64 {
                let Some(task) = tasks.get(&parent) else { return false };
                if betrayed(task).is_some() {
                    return true;
                }
                parent = task.parent;
            }
            false
        };
        tasks
            .values()
            .filter(|task| task.pid != std::process::id())
            .filter_map(|task| {
                betrayed(task).or_else(|| descends(task).then_some("by descent")).map(|why| (task, why))
            })
            .collect()
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
    let mut number = 0u32;
    loop {
        let path = std::env::temp_dir().join(format!("{purpose}-{}-{number}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return TemporaryDir(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => panic!("{}: {error}", path.display()),
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
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
