//! Too few descriptors, processes, cgroups, namespaces or space on disk: an error that says so, nothing left, and
//! everything works again when there is enough.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Config, ErrorCode, GetOptions, Result, SandboxRef, SandboxSet, SandboxSpec, ScratchDirs,
};
use sandboxset_tests::census::{Census, Scope, TemporaryDir, temporary_dir};
use sandboxset_tests::machine::is_root;

use crate::cgroup::Cgroup;
use crate::{HANG, alone, skip};

const SCARCE: &str = env!("CARGO_BIN_EXE_scarce");

/// Runs a host that runs out of something, and answers what it was refused.
fn run(mut command: Command) -> String {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
    let first = lines.next().unwrap_or_default();
    let owner = first.strip_prefix("owner ").unwrap_or_else(|| panic!("it said {first:?}")).to_owned();
    let said: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {said:#?}");
    Scope::of(&owner).assert_settles(&Census::default());
    let tally = said.last().cloned().unwrap_or_default();
    println!("{}", said.join("\n"));
    // The control: too little is too little, and what is tried last is enough.
    assert!(tally.starts_with("tally {\""), "nothing was ever refused: {tally}");
    assert!(said[said.len() - 2].ends_with("enough"), "{said:#?}");
    tally
}

fn scarce(arguments: &[&str]) -> Command {
    let mut command = Command::new(SCARCE);
    command.args(arguments);
    command
}

#[test]
fn too_few_descriptors() {
    let _alone = alone();
    run(scarce(&["descriptors"]));
    run(scarce(&["descriptors", "alone"]));
}

#[test]
fn too_few_processes() {
    let _alone = alone();
    match Cgroup::make("pids", "pids.max") {
        Some(cgroup) => drop(run(cgroup.run(&[SCARCE, "processes"]))),
        None => skip("no cgroup that limits processes can be made here"),
    }
}

#[test]
fn too_few_cgroups() {
    let _alone = alone();
    match Cgroup::make("", "cgroup.max.descendants") {
        Some(cgroup) => drop(run(cgroup.run(&[SCARCE, "cgroups"]))),
        None => skip("no v2 cgroup can be made here"),
    }
}

#[test]
fn too_few_namespaces() {
    let _alone = alone();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]);
    let possible = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skip("no user namespace can be made here");
    }
    command.args([SCARCE, "namespaces"]);
    run(command);
}

/// A tmpfs with room for few files. Dropping it unmounts it.
struct SmallDisk(TemporaryDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = temporary_dir("small");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=8,mode=755", "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        SmallDisk(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes files until there is room for no more.
    fn fill(&self) {
        let full = (0..100).map(|number| std::fs::write(self.path().join(format!("full-{number}")), b""));
        assert!(full.into_iter().any(|written| written.is_err()), "it is never full");
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(self.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("full-") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_of_scratch_dirs() {
    let _alone = alone();
    if !is_root() {
        return skip("only root can mount a small one");
    }
    let scope = Scope::own();
    let before = scope.take();
    let disk = SmallDisk::mount();
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { scratch_dirs: ScratchDirs::Disk(disk.path().into()), ..Config::default() };
    let set = SandboxSet::new(backend, SandboxSpec::default(), config).unwrap();
    let get = || -> Result<SandboxRef> {
        set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() })
    };
    let held = get().unwrap();
    disk.fill();
    let error = get().unwrap_err();
    assert_eq!(error.code(), ErrorCode::CreateFailed, "{error:?}");
    assert!(error.message().contains("scratch dir") && error.retryable(), "{error:?}");
    let error = held.write_file("file".as_ref(), b"contents", 0o600).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoCapacity, "{error:?}");
    // To destroy needs no room.
    held.destroy("no room").unwrap();
    drop(held);
    disk.clear();
    let again = get().unwrap();
    again.write_file("file".as_ref(), b"contents", 0o600).unwrap();
    again.put().unwrap();
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop((again, set));
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    drop(disk);
    scope.assert_settles(&before);
}
