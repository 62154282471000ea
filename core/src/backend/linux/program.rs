//! The keeper's program: embedded in this library, or given by the user.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::sys;
use super::wait::readable;

/// The static program that the build made.
static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sandboxset-keeper"));

/// Why the keeper's program could not be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// The user's own program cannot be opened.
    #[error("cannot open the keeper {path}: {errno}")]
    Open { path: String, errno: Errno },
    /// Neither memory nor any directory is executable.
    #[error("cannot run the keeper: from memory (memfd): {memory}; from a private directory: {directory}")]
    Refused { memory: Errno, directory: String },
    /// The kernel refused the process.
    #[error("cannot start the keeper: {0}")]
    Start(#[from] Errno),
}

/// Starts the keeper with one end of its socket and returns its pidfd.
pub(super) fn run(program: Option<&Path>, socket: &OwnedFd) -> Result<OwnedFd, ProgramError> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let spawn = |file: &OwnedFd| sys::spawn_detached(file.as_fd(), socket.as_fd(), null.as_fd());
    if let Some(path) = program {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| ProgramError::Open { path: path.display().to_string(), errno })?;
        return Ok(spawn(&file)?);
    }
    match executable_memfd().and_then(|memfd| spawn(&memfd)) {
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::NOSYS)) => {
            from_private_directory(spawn)
                .map_err(|directory| ProgramError::Refused { memory: errno, directory })
        }
        other => Ok(other?),
    }
}

/// Starts the embedded keeper from memory, with a host that is gone already, so that it ends at once.
pub(super) fn try_memory() -> Result<(), Errno> {
    start_and_end(|spawn| executable_memfd().and_then(|memfd| spawn(&memfd)))?
}

/// The same from a private directory, which is what happens where memory is not executable.
pub(super) fn try_directory() -> Result<(), String> {
    start_and_end(|spawn| from_private_directory(spawn)).map_err(|errno| errno.to_string())?
}

/// Lets `start` start the keeper, and waits for its end.
fn start_and_end<E>(
    start: impl FnOnce(&dyn Fn(&OwnedFd) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, E>,
) -> Result<Result<(), E>, Errno> {
    /// It has nothing to do, so this is only reached if the machine hangs.
    const END: Duration = Duration::from_secs(10);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    drop(ours);
    let spawn = |file: &OwnedFd| sys::spawn_detached(file.as_fd(), theirs.as_fd(), null.as_fd());
    match start(&spawn) {
        Ok(pidfd) => {
            readable(&pidfd, Some(Instant::now() + END))?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// A sealed memfd that may be executed, also where new ones may not by default.
fn executable_memfd() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match rustix::fs::memfd_create(c"sandboxset-keeper", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag and let every memfd be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"sandboxset-keeper", flags)?,
        other => other?,
    };
    let mut file = File::from(memfd);
    file.write_all(EMBEDDED)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Runs the program from a file that nobody else can reach and that is unlinked when this returns.
fn from_private_directory(spawn: impl Fn(&OwnedFd) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, String> {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let bases = runtime_dir.into_iter().chain([std::env::temp_dir(), "/dev/shm".into(), "/var/tmp".into()]);
    let mut refusals = Vec::new();
    for base in bases {
        match private_file(&base).and_then(|file| spawn_when_not_busy(&file, &spawn)) {
            Ok(pidfd) => return Ok(pidfd),
            Err(errno) => refusals.push(format!("{}: {errno}", base.display())),
        }
    }
    Err(refusals.join(", "))
}

/// The program in a new file below `base`, already unlinked and open for reading only.
fn private_file(base: &Path) -> Result<OwnedFd, Errno> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let dir = base.join(format!("sandboxset-{:016x}", u64::from_ne_bytes(random)));
    rustix::fs::mkdir(&dir, Mode::RWXU)?;
    let path = dir.join("keeper");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let result = rustix::fs::open(&path, flags, Mode::RWXU).and_then(|file| {
        let mut file = File::from(file);
        file.write_all(EMBEDDED).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        drop(file);
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    });
    // Unlinked before it runs: the descriptor is enough, and nothing can be left behind.
    let _ = rustix::fs::unlink(&path);
    let _ = rustix::fs::rmdir(&dir);
    result
}

/// A process that another thread is forking right now may hold our writable descriptor until its exec, and a file
/// open for writing cannot be executed. The window is microseconds; it is waited out a bounded number of times.
fn spawn_when_not_busy(
    file: &OwnedFd,
    spawn: impl Fn(&OwnedFd) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    for _ in 0..100 {
        match spawn(file) {
            Err(Errno::TXTBSY) => std::thread::sleep(std::time::Duration::from_millis(1)),
            other => return other,
        }
    }
    Err(Errno::TXTBSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_program_is_a_static_executable() {
        assert_eq!(&EMBEDDED[..4], b"\x7fELF");
        assert_eq!(u16::from_le_bytes([EMBEDDED[16], EMBEDDED[17]]), 2, "ET_EXEC: not position independent");
    }

    #[test]
    fn a_private_file_leaves_nothing_in_its_directory() {
        let base = std::env::temp_dir().join(format!("program-{}", std::process::id()));
        std::fs::create_dir(&base).unwrap();
        let file = private_file(&base).unwrap();
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_size as usize, EMBEDDED.len());
        std::fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn every_way_of_starting_gives_a_process_of_which_the_host_is_not_the_parent() {
        // /bin/true as the program: what is tested is the start, not the keeper.
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let pidfd = run(Some(Path::new("/bin/true")), &theirs).unwrap();
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let limit = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "the process never ended");
        let wait = rustix::process::waitid(
            rustix::process::WaitId::PidFd(pidfd.as_fd()),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
        );
        assert!(matches!(wait, Err(Errno::CHILD)));
        drop(ours);
        assert!(matches!(run(Some(Path::new("/nonexistent")), &theirs), Err(ProgramError::Open { .. })));
        assert!(matches!(
            run(Some(Path::new("/etc/passwd")), &theirs),
            Err(ProgramError::Start(Errno::ACCESS))
        ));
    }
}
