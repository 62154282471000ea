//! Versions.

use std::ffi::c_char;

/// The version of this header: breaking changes.
pub const SANDBOXSET_VERSION_MAJOR: u32 = 0;
/// The version of this header: additions.
pub const SANDBOXSET_VERSION_MINOR: u32 = 1;
/// The version of this header: repairs.
pub const SANDBOXSET_VERSION_PATCH: u32 = 0;
/// The version of this header as one number that grows: major * 1000000 + minor * 1000 + patch.
pub const SANDBOXSET_VERSION_NUMBER: u32 = 1000;

const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library that is loaded, for example "0.1.0". A static string. Works in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn sandboxset_version() -> *const c_char {
    TEXT.as_ptr().cast()
}

/// The version of the library that is loaded, as SANDBOXSET_VERSION_NUMBER; compare the two to find a program
/// that was compiled for a newer library than it runs with. Works in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn sandboxset_version_number() -> u32 {
    SANDBOXSET_VERSION_NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macros_are_the_version_of_the_workspace() {
        let macros =
            format!("{SANDBOXSET_VERSION_MAJOR}.{SANDBOXSET_VERSION_MINOR}.{SANDBOXSET_VERSION_PATCH}");
        assert_eq!(macros, env!("CARGO_PKG_VERSION"));
        assert_eq!(
            SANDBOXSET_VERSION_NUMBER,
            SANDBOXSET_VERSION_MAJOR * 1_000_000 + SANDBOXSET_VERSION_MINOR * 1000 + SANDBOXSET_VERSION_PATCH
        );
    }
}
