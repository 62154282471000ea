//! `sandboxset_dir`.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStringExt;

use sandboxset::{DirEntry, Error, FileKind};

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::options::Plain;
use crate::text::to_c_string;

/// The kind of a file: a regular file.
pub const SANDBOXSET_FILE_REGULAR: u32 = 0;
/// The kind of a file: a directory.
pub const SANDBOXSET_FILE_DIRECTORY: u32 = 1;
/// The kind of a file: a symbolic link, which the host never follows.
pub const SANDBOXSET_FILE_SYMLINK: u32 = 2;
/// The kind of a file: a FIFO, socket or device.
pub const SANDBOXSET_FILE_OTHER: u32 = 3;

/// The entries of a directory in a sandbox, sorted by name. Immutable.
pub struct sandboxset_dir {
    _opaque: (),
}

handle!(sandboxset_dir, Vec<(CString, u32)>, b"ss_dirls");

/// Called once with the entries of a directory, NULL on an error. They are freed with sandboxset_dir_free.
pub type sandboxset_dir_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        dir: *mut sandboxset_dir,
        error: *mut sandboxset_error,
    ),
>;

/// One entry of a directory. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_dir_entry {
    /// sizeof(sandboxset_dir_entry).
    pub struct_size: usize,
    /// The name, which the sandbox chose: any bytes but '/' and NUL, then NUL. Borrowed from the sandboxset_dir.
    pub name: *const c_char,
    /// SANDBOXSET_FILE_*.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, integers and a raw pointer, padding spelled out.
unsafe impl Plain for sandboxset_dir_entry {
    const FIRST_SIZE: usize = 24;

    fn defaults() -> Self {
        sandboxset_dir_entry {
            struct_size: size_of::<Self>(),
            name: std::ptr::null(),
            kind: SANDBOXSET_FILE_OTHER,
            reserved: 0,
        }
    }
}

/// Answers how many entries there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_dir_count(
    dir: *const sandboxset_dir,
    out_count: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let dir = caller.borrow(dir, "dir")?;
        caller.out(out_count, "out_count")?.write(dir.len());
        Ok(())
    })
}

/// Fills `entry` with the entry at `index`, counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_dir_get_entry(
    dir: *const sandboxset_dir,
    index: usize,
    entry: *mut sandboxset_dir_entry,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let dir = caller.borrow(dir, "dir")?;
        let Some((name, kind)) = dir.get(index) else {
            return Err(Error::invalid("index", format_args!("{index} is not below {}", dir.len())));
        };
        let value = sandboxset_dir_entry { name: name.as_ptr(), kind: *kind, ..Plain::defaults() };
        caller.fill(entry, value, "entry")
    })
}

/// Frees the entries. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_dir_free(dir: *mut sandboxset_dir) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(dir, |_| {}) };
}

/// Makes the object that C gets.
pub(crate) fn into_raw(entries: Vec<DirEntry>) -> *mut sandboxset_dir {
    let convert = |entry: DirEntry| {
        let kind = match entry.kind {
            FileKind::File => SANDBOXSET_FILE_REGULAR,
            FileKind::Directory => SANDBOXSET_FILE_DIRECTORY,
            FileKind::Symlink => SANDBOXSET_FILE_SYMLINK,
            _ => SANDBOXSET_FILE_OTHER,
        };
        (to_c_string(entry.name.into_vec()), kind)
    };
    handle::into_raw(entries.into_iter().map(convert).collect())
}
