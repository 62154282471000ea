//! A file system in memory: a writable tree of directories and regular files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::{DirEntry, Error, ErrorCode, FileKind, Phase, Result};

/// All files of one sandbox, by absolute path. Writing a file makes the directories above it.
pub(super) struct Files {
    nodes: BTreeMap<PathBuf, Node>,
}

enum Node {
    Directory,
    File(Vec<u8>),
}

impl Default for Files {
    fn default() -> Self {
        let directories = ["/", "/scratch", "/tmp"].map(|path| (PathBuf::from(path), Node::Directory));
        Files { nodes: directories.into() }
    }
}

impl Files {
    pub(super) fn read(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        match self.nodes.get(&absolute(path)) {
            None => Err(wrong(path, "does not exist")),
            Some(Node::Directory) => Err(wrong(path, "is a directory")),
            Some(Node::File(bytes)) if bytes.len() as u64 > max_bytes => {
                Err(too_big(path, format_args!("has {} bytes, more than {max_bytes}", bytes.len())))
            }
            Some(Node::File(bytes)) => Ok(bytes.clone()),
        }
    }

    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let target = absolute(path);
        if let Some(Node::Directory) = self.nodes.get(&target) {
            return Err(wrong(path, "is a directory"));
        }
        for parent in target.ancestors().skip(1) {
            if let Some(Node::File(_)) = self.nodes.get(parent) {
                return Err(wrong(path, "lies below a file"));
            }
        }
        for parent in target.ancestors().skip(1) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Directory);
        }
        self.nodes.insert(target, Node::File(bytes.to_vec()));
        Ok(())
    }

    /// Makes a directory, and those above it.
    pub(super) fn make_dir(&mut self, path: &Path) {
        for dir in absolute(path).ancestors() {
            self.nodes.entry(dir.to_owned()).or_insert(Node::Directory);
        }
    }

    pub(super) fn list(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        let directory = absolute(path);
        match self.nodes.get(&directory) {
            None => return Err(wrong(path, "does not exist")),
            Some(Node::File(_)) => return Err(wrong(path, "is not a directory")),
            Some(Node::Directory) => {}
        }
        let mut entries: Vec<DirEntry> = self
            .nodes
            .iter()
            .filter(|(path, _)| path.parent() == Some(&directory))
            .map(|(path, node)| DirEntry {
                name: path.file_name().map(OsString::from).unwrap_or_default(),
                kind: match node {
                    Node::Directory => FileKind::Directory,
                    Node::File(_) => FileKind::File,
                },
            })
            .collect();
        if entries.len() > max_entries {
            return Err(too_big(
                path,
                format_args!("has {} entries, more than {max_entries}", entries.len()),
            ));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        let target = absolute(path);
        if [Path::new("/"), Path::new("/scratch"), Path::new("/tmp")].contains(&target.as_path()) {
            return Err(wrong(path, "cannot be removed"));
        }
        if !self.nodes.contains_key(&target) {
            return Err(wrong(path, "does not exist"));
        }
        self.nodes.retain(|path, _| !path.starts_with(&target));
        Ok(())
    }
}

/// Relative paths start at the scratch dir. `.` and double slashes are dropped, so that each file has one name.
fn absolute(path: &Path) -> PathBuf {
    let joined = Path::new("/scratch").join(path);
    joined.components().filter(|component| *component != Component::CurDir).collect()
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::invalid("path", format_args!("{} {what}", path.display())).with_phase(Phase::Files)
}

fn too_big(path: &Path, what: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorCode::TooBig, Phase::Files, format!("{} {what}", path.display()))
}
