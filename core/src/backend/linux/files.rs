//! The files of a sandbox.
//!
//! Every path is resolved by the sandbox's init, inside, where a planted link leads nowhere but inside. The host
//! gets a descriptor and looks at what it really is before it uses it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType};
use sandboxset_keeper::{FromInit, RUNTIME_LOG, ToInit};

use super::fault;
use super::init::{ANSWER, Patience};
use super::sandbox::Inner;
use crate::{DirEntry, Error, ErrorCode, FileKind, LateFile, Phase, Result};

/// Reads a whole regular file.
pub(super) fn read(sandbox: &Inner, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let (file, size) = open_file(sandbox, path)?;
    let too_big = || {
        Error::new(
            ErrorCode::TooBig,
            Phase::Files,
            format!("{} is longer than {max_bytes} bytes", path.display()),
        )
    };
    // The size is a hint only: the file may be growing, sparse, or have no size, as those of /proc.
    if size > max_bytes {
        return Err(too_big());
    }
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| io_error(path, &error))?;
    if bytes.len() as u64 > max_bytes { Err(too_big()) } else { Ok(bytes) }
}

/// Reads the last bytes of a regular file; one that is not there is empty.
pub(super) fn read_tail(sandbox: &Inner, path: &Path, max_bytes: usize) -> Result<Vec<u8>> {
    let (mut file, size) = match open_file(sandbox, path) {
        Err(error) if error.code() == ErrorCode::InvalidArgument && path == Path::new(RUNTIME_LOG) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let max_bytes = max_bytes as u64;
    file.seek(SeekFrom::Start(size.saturating_sub(max_bytes))).map_err(|error| io_error(path, &error))?;
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes).map_err(|error| io_error(path, &error))?;
    Ok(bytes)
}

/// Creates or replaces a regular file.
pub(super) fn write(sandbox: &Inner, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write_file(sandbox, path, bytes, mode, false)
}

/// The same for one that is bound late, with the directories above it.
pub(super) fn write_late(sandbox: &Inner, file: &LateFile) -> Result<()> {
    write_file(sandbox, &file.path, &file.bytes, file.mode, true)
        .map_err(|error| error.with_phase(Phase::Bind))
}

fn write_file(sandbox: &Inner, path: &Path, bytes: &[u8], mode: u32, parents: bool) -> Result<()> {
    let contents = sandboxset_keeper::sealed_memfd(bytes).map_err(|error| {
        Error::new(ErrorCode::NoCapacity, Phase::Files, "the contents do not fit in memory")
            .with_source(error)
    })?;
    let request = ToInit::Write { path: path.as_os_str().as_bytes().to_vec(), mode, parents };
    done(sandbox, path, &request, &[contents.as_fd()])
}

/// Removes a file or a whole directory.
pub(super) fn remove(sandbox: &Inner, path: &Path) -> Result<()> {
    done(sandbox, path, &ToInit::Remove { path: path.as_os_str().as_bytes().to_vec() }, &[])
}

/// The entries of a directory, sorted by name.
pub(super) fn list(sandbox: &Inner, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
    let dir = open(sandbox, path, true)?;
    let os = |errno| fault::os(Phase::Files, &format!("{} cannot be listed", path.display()), errno);
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&dir).map_err(os)?.st_mode);
    if kind != FileType::Directory {
        return Err(fault::hostile(Phase::Files, sandbox.id, "it opened no directory"));
    }
    let mut entries = Vec::new();
    for entry in Dir::read_from(&dir).map_err(os)? {
        let entry = entry.map_err(os)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entries.len() == max_entries {
            let message = format!("{} has more than {max_entries} entries", path.display());
            return Err(Error::new(ErrorCode::TooBig, Phase::Files, message));
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => FileType::Unknown,
            },
            kind => kind,
        };
        let name = std::ffi::OsString::from_vec(name.to_bytes().to_vec());
        entries.push(DirEntry { name, kind: file_kind(kind) });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn file_kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

/// A regular file and its size.
fn open_file(sandbox: &Inner, path: &Path) -> Result<(File, u64)> {
    let file = open(sandbox, path, false)?;
    let stat = rustix::fs::fstat(&file)
        .map_err(|errno| fault::os(Phase::Files, &format!("{} cannot be examined", path.display()), errno))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0))),
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::Symlink => "a symbolic link",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something unknown",
    };
    Err(Error::invalid("path", format!("{} is {kind}, not a regular file", path.display()))
        .with_phase(Phase::Files))
}

fn open(sandbox: &Inner, path: &Path, directory: bool) -> Result<OwnedFd> {
    let request = ToInit::Open { path: path.as_os_str().as_bytes().to_vec(), directory };
    match ask(sandbox, &request, &[])? {
        (FromInit::Opened, Some(fd)) => Ok(fd),
        (FromInit::Failed(failure), _) => Err(fault::file(path, &failure).with_sandbox(sandbox.id)),
        _ => Err(fault::hostile(Phase::Files, sandbox.id, "an unexpected answer")),
    }
}

fn done(sandbox: &Inner, path: &Path, request: &ToInit, fds: &[BorrowedFd<'_>]) -> Result<()> {
    match ask(sandbox, request, fds)? {
        (FromInit::Done, _) => Ok(()),
        (FromInit::Failed(failure), _) => Err(fault::file(path, &failure).with_sandbox(sandbox.id)),
        _ => Err(fault::hostile(Phase::Files, sandbox.id, "an unexpected answer")),
    }
}

fn ask(sandbox: &Inner, request: &ToInit, fds: &[BorrowedFd<'_>]) -> Result<(FromInit, Option<OwnedFd>)> {
    let patience = Patience { deadline: Instant::now() + ANSWER, cancel: None };
    sandbox.init.ask(Phase::Files, request, fds, &patience)
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{} cannot be read: {error}", path.display());
    Error::new(ErrorCode::InvalidArgument, Phase::Files, message)
}
