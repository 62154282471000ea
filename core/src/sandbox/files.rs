//! What listing a directory of a sandbox returns.

use std::ffi::OsString;

/// One entry of a directory in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, which the sandbox chose: it may hold any byte but `/` and NUL.
    pub name: OsString,
    /// What kind of file it is.
    pub kind: FileKind,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed by the host.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

impl FileKind {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::File => "file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Other => "other",
        }
    }
}
