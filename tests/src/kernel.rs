//! What the kernel tells of processes, cgroups, mounts and descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::census::Identity;

/// A process as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Task {
    /// The process id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its user.
    pub uid: u32,
    /// In clock ticks since boot.
    pub start_time: u64,
    /// The command name that the kernel keeps, at most 15 bytes.
    pub name: String,
    /// Whether it ended and was not reaped yet.
    pub zombie: bool,
    /// Its cgroups, a line per hierarchy.
    pub cgroups: String,
    /// Its arguments, separated by blanks; empty for zombies.
    pub command_line: String,
}

impl Task {
    /// Its identity.
    pub fn identity(&self) -> Identity {
        Identity { pid: self.pid, start_time: self.start_time }
    }

    /// Whether it is a keeper or an init, which is a fork of one.
    pub fn is_keeper(&self) -> bool {
        self.command_line.starts_with("sandboxset-keeper")
    }
}

/// Every process that is visible.
pub fn tasks() -> BTreeMap<u32, Task> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(task).map(|task| (task.pid, task)).collect()
}

/// One process, unless it is gone.
pub fn task(pid: u32) -> Option<Task> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses.
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let text = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let status = text("status");
    let uid =
        status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
    Some(Task {
        pid,
        uid: uid?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
        name: head.split_once('(')?.1.to_owned(),
        zombie: matches!(*fields.first()?, "Z" | "X"),
        cgroups: text("cgroup"),
        command_line: text("cmdline"),
    })
}

/// The processes that a process holds a pidfd of, as far as we may know.
pub fn watched(pid: u32) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return BTreeSet::new() };
    let infos = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    infos
        .filter_map(|info| info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()))
        .collect()
}

/// The cgroup directories, in every mounted hierarchy, whose name begins with `tag`, and those below them.
pub fn cgroup_dirs(tag: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for root in cgroup_roots() {
        collect_dirs(&root, tag, 0, &mut found);
    }
    found
}

/// Where cgroup hierarchies are mounted.
pub fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| matches!(fields.get(2), Some(&"cgroup" | &"cgroup2")))
        .map(|fields| PathBuf::from(fields[1]))
        .collect()
}

fn collect_dirs(dir: &Path, tag: &str, depth: usize, found: &mut BTreeSet<PathBuf>) {
    const MAX_DEPTH: usize = 12;
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if depth > MAX_DEPTH || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        // Once inside one of ours, every directory is ours.
        let ours = entry.file_name().as_bytes().starts_with(tag.as_bytes()) || found.contains(dir);
        if ours {
            found.insert(path.clone());
        }
        collect_dirs(&path, tag, depth + 1, found);
    }
}

/// The lines that mention `tag` in the mount table of each mount namespace that one of the tasks is in.
pub fn mounts(tasks: &BTreeMap<u32, Task>, tag: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    for &pid in tasks.keys() {
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else { continue };
        if !seen.insert(namespace) {
            continue;
        }
        let Ok(table) = fs::read_to_string(format!("/proc/{pid}/mountinfo")) else { continue };
        found.extend(table.lines().filter(|line| line.contains(tag)).map(str::to_owned));
    }
    found
}

/// The calling process's descriptors, counted by kind.
pub fn own_descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        // The one with which this list is read is gone when it is looked at.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        let kind = match target.split_once(":[") {
            Some(("anon_inode", _)) => &*target,
            Some((kind, _)) => kind,
            None => &target,
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// The calling process's threads whose name begins with `prefix`, counted by name.
pub fn own_threads(prefix: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if name.starts_with(prefix) {
            *names.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    names
}
