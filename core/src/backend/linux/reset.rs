//! Resetting a sandbox: its init empties it, the host looks whether it is empty.
//!
//! What the host looks at are the kernel's own records of the sandbox, and directories through descriptors that the
//! init opened, which must be the very directories of before. Nothing inside is run to find out.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::Dir;
use rustix::io::Errno;
use sandboxset_keeper::{FrameError, FromInit, ToInit};

use super::fault;
use super::sandbox::Inner;
use super::wait::readable;
use crate::{Error, ErrorCode, Phase, ResetReport, Result};

/// What a sandbox was like when nobody had used it.
pub(super) struct Fresh {
    /// Its init, as the host's `/proc` numbers it.
    pid: u32,
    mounts: Vec<u8>,
    descriptors: Descriptors,
    dirs: Vec<DirState>,
    /// Bytes that it held, if somebody counts.
    memory: Option<u64>,
}

/// The descriptors of an init, as far as this user can see them.
#[derive(Debug, PartialEq, Eq)]
enum Descriptors {
    /// What each is, in the order of the kinds.
    Kinds(Vec<String>),
    Count(u64),
    /// Neither: another user's process, on a kernel before 6.2.
    Unseen,
}

/// A directory that the sandbox can write to.
#[derive(Debug, PartialEq, Eq)]
struct DirState {
    /// Device, inode, mode, owner and group.
    identity: [u64; 5],
    attributes: Vec<u8>,
    /// Blocks and inodes in use, if the file system is the sandbox's own.
    used: Option<[u64; 2]>,
}

const DIRS: [&str; 4] = ["/scratch", "/tmp", "/dev/shm", "/dev/mqueue"];
/// How long an init may take to open a few directories when it is fresh.
const PREPARE: Duration = Duration::from_secs(5);
/// What the kernel may count late or keep for itself.
const MEMORY_SLACK: u64 = 16 << 20;

/// Takes stock of a fresh sandbox.
pub(super) fn prepare(sandbox: &Inner) -> Result<()> {
    let deadline = Instant::now() + PREPARE;
    let pid = init_pid(&sandbox.pidfd)?;
    let dirs = look_at_dirs(sandbox, deadline)?;
    let fresh = Fresh {
        pid,
        mounts: read_proc(pid, "mountinfo")?,
        descriptors: descriptors(pid),
        dirs,
        memory: sandbox.cgroups.held_memory(),
    };
    check_processes(sandbox, &fresh, deadline)?;
    let _ = sandbox.fresh.set(fresh);
    Ok(())
}

/// Empties a sandbox and verifies that it is as it was when fresh.
pub(super) fn reset(sandbox: &Inner, deadline: Instant) -> Result<ResetReport> {
    let started = Instant::now();
    let Some(fresh) = sandbox.fresh.get() else {
        return Err(Error::new(ErrorCode::InvalidState, Phase::Use, "no stock was taken of it when fresh"));
    };
    let scratch_mode = fresh.dirs.first().map_or(0, |dir| dir.identity[2]) as u32 & 0o7777;
    ask(sandbox, &ToInit::Reset { scratch_mode }, deadline)?;
    let mut report = ResetReport::default();
    report.add("processes", check_processes(sandbox, fresh, deadline)?);
    if read_proc(fresh.pid, "mountinfo")? != fresh.mounts {
        return Err(doubt("its mounts are not those of a fresh one"));
    }
    let mounts = fresh.mounts.split(|&byte| byte == b'\n').count() - 1;
    report.add("mounts", format!("the same {mounts}"));
    let dirs = look_at_dirs(sandbox, deadline)?;
    for ((path, fresh), now) in DIRS.iter().zip(&fresh.dirs).zip(&dirs) {
        if fresh != now {
            return Err(doubt(&format!("{path} is not as in a fresh one: {now:?} instead of {fresh:?}")));
        }
    }
    report.add("files", "/scratch, /tmp, /dev/shm and /dev/mqueue are empty");
    let now = descriptors(fresh.pid);
    if now != fresh.descriptors {
        let (fresh, what) = (&fresh.descriptors, "its init's descriptors are not those of a fresh one");
        return Err(doubt(&format!("{what}: {now:?} instead of {fresh:?}")));
    }
    let seen = match now {
        Descriptors::Kinds(kinds) => format!("the same {} of the same kinds", kinds.len()),
        Descriptors::Count(count) => format!("the same {count}; their kinds are hidden from this user"),
        Descriptors::Unseen => "not seen: hidden from this user".to_owned(),
    };
    report.add("descriptors", seen);
    report.add("ipc", "no System V objects; counted by its init, because they cannot be seen from outside");
    report.add("memory", check_memory(sandbox, fresh, deadline)?);
    report.duration = started.elapsed();
    Ok(report)
}

/// Only the init is alive.
fn check_processes(sandbox: &Inner, fresh: &Fresh, deadline: Instant) -> Result<String> {
    let pid = fresh.pid;
    // Whoever loses its parent becomes the init's child, so that an init without children is alone.
    let children = read_proc(pid, &format!("task/{pid}/children"));
    if children.as_ref().is_ok_and(|children| !children.is_empty()) {
        return Err(doubt("a process beside its init is alive"));
    }
    let cgroups = sandbox
        .cgroups
        .await_alone(pid, deadline)
        .map_err(|errno| fault::os(Phase::Use, "its cgroups cannot be read", errno))?
        .ok_or_else(|| doubt("a process beside its init is in its cgroup"))?;
    match (children, cgroups) {
        (Ok(_), 0) => Ok("only init; it has no children".to_owned()),
        (Ok(_), count) => Ok(format!("only init; it has no children and is alone in {count} cgroups")),
        (Err(error), 0) => Err(error),
        (Err(_), count) => Ok(format!("only init; it is alone in {count} cgroups")),
    }
}

fn check_memory(sandbox: &Inner, fresh: &Fresh, deadline: Instant) -> Result<String> {
    let Some(before) = fresh.memory else { return Ok("not counted on this host".to_owned()) };
    let mut sleep = Duration::from_millis(1);
    loop {
        let Some(now) = sandbox.cgroups.held_memory() else { return Err(doubt("its memory is not counted")) };
        if now <= before + MEMORY_SLACK {
            return Ok(format!("{now} bytes, {before} when fresh"));
        }
        if Instant::now() + sleep >= deadline {
            return Err(doubt(&format!("it holds {now} bytes of memory, {before} when fresh")));
        }
        // The counts may be up to two seconds old.
        std::thread::sleep(sleep);
        sleep *= 2;
    }
}

/// The state of the directories that the sandbox can write to, all of which must be empty.
fn look_at_dirs(sandbox: &Inner, deadline: Instant) -> Result<Vec<DirState>> {
    let look = |path: &&str| {
        let request = ToInit::Open { path: path.as_bytes().to_vec(), directory: true };
        let dir = ask(sandbox, &request, deadline)?.ok_or_else(|| doubt("its init opened nothing"))?;
        let own = *path != "/scratch" || sandbox.disk_scratch.is_none();
        let os = |errno| fault::os(Phase::Use, &format!("{path} cannot be examined"), errno);
        if !is_empty(&dir).map_err(os)? {
            return Err(doubt(&format!("{path} is not empty")));
        }
        dir_state(&dir, own).map_err(os)
    };
    DIRS.iter().map(look).collect()
}

fn is_empty(dir: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        let name = entry?;
        let name = name.file_name();
        if name != c"." && name != c".." {
            return Ok(false);
        }
    }
    Ok(true)
}

fn dir_state(dir: &OwnedFd, own: bool) -> Result<DirState, Errno> {
    let stat = rustix::fs::fstat(dir)?;
    let mut attributes = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(dir, &mut attributes[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    attributes.truncate(length);
    attributes.shrink_to_fit();
    let used = match own {
        true => {
            let stat = rustix::fs::fstatfs(dir)?;
            Some([stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree])
        }
        false => None,
    };
    let [mode, uid, gid] = [stat.st_mode, stat.st_uid, stat.st_gid].map(u64::from);
    Ok(DirState { identity: [stat.st_dev, stat.st_ino, mode, uid, gid], attributes, used })
}

/// What an init has open.
fn descriptors(pid: u32) -> Descriptors {
    let dir = format!("/proc/{pid}/fd");
    let kinds = || -> std::io::Result<Vec<String>> {
        let mut kinds = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let target = fs::read_link(entry?.path())?.to_string_lossy().into_owned();
            // Sockets and pipes have their number behind a colon.
            kinds.push(target.split(':').next().unwrap_or_default().to_owned());
        }
        kinds.sort_unstable();
        Ok(kinds)
    };
    match kinds() {
        Ok(kinds) => Descriptors::Kinds(kinds),
        // Since 6.2 the directory's size is their number, for everybody; before, it is 0.
        Err(_) => match fs::metadata(&dir).map_or(0, |metadata| metadata.len()) {
            0 => Descriptors::Unseen,
            count => Descriptors::Count(count),
        },
    }
}

/// The number of the process behind a pidfd in this host's `/proc`.
fn init_pid(pidfd: &OwnedFd) -> Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = fs::read_to_string(&path).map_err(|error| unreadable(Path::new(&path), &error))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| doubt("its init cannot be seen in /proc"))
}

fn read_proc(pid: u32, name: &str) -> Result<Vec<u8>> {
    let path = format!("/proc/{pid}/{name}");
    fs::read(&path).map_err(|error| unreadable(Path::new(&path), &error))
}

/// Asks the init and waits until it is done with the request, not only until it has answered: then what it has open
/// is what it always has open.
fn ask(sandbox: &Inner, request: &ToInit, deadline: Instant) -> Result<Option<OwnedFd>> {
    let reply = sandbox.init.start(Phase::Use, request, &[])?;
    let hostile = |what: &str| fault::hostile(Phase::Use, sandbox.id, what);
    let wait = || match readable(&reply, Some(deadline)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(ErrorCode::Timeout, Phase::Use, "its init was not done in time")),
        Err(errno) => Err(fault::os(Phase::Use, "waiting for the answer failed", errno)),
    };
    wait()?;
    let fd = match sandboxset_keeper::receive_untrusted(&reply, 1) {
        Ok((FromInit::Opened, mut fds)) => fds.pop(),
        Ok((FromInit::Done, _)) => None,
        Ok((FromInit::Failed(failure), _)) => return Err(doubt(&fault::describe(&failure))),
        Ok(_) => return Err(hostile("an unexpected answer")),
        Err(error) => return Err(hostile(&error.to_string())),
    };
    wait()?;
    match sandboxset_keeper::receive_untrusted::<FromInit>(&reply, 0) {
        Err(FrameError::Closed) => Ok(fd),
        _ => Err(hostile("a second answer")),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    doubt(&format!("{} cannot be read: {error}", path.display()))
}

/// It cannot be said that the sandbox is as it was.
fn doubt(what: &str) -> Error {
    Error::new(ErrorCode::Internal, Phase::Use, what)
}
