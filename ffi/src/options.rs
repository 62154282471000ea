//! Structs that carry their own size, so that fields can be appended without breaking old callers.

use sandboxset::{Error, Result};

/// A struct that C fills or reads: `struct_size` first, then fields for which every bit pattern is valid.
///
/// # Safety
/// `repr(C)`, without implicit padding, begins with `struct_size: usize`, and holds only integers, floats and
/// raw pointers.
pub(crate) unsafe trait Plain: Copy {
    /// Its size in the first release that had it.
    const FIRST_SIZE: usize;

    /// What fields mean that an older caller does not know; `struct_size` is that of the whole struct.
    fn defaults() -> Self;
}

/// No struct of ours comes near; a larger size is garbage, and must not send us reading through memory.
const MAX_SIZE: usize = 4096;

/// A copy of the caller's struct. Missing fields take their defaults; unknown ones must be zero.
///
/// # Safety
/// `pointer` may be read for as many bytes as its first field says.
pub(crate) unsafe fn read<T: Plain>(pointer: *const T, parameter: &str) -> Result<T> {
    // SAFETY: the first field, by the contract of `Plain`.
    let size = unsafe { checked_size(pointer.cast(), T::FIRST_SIZE, parameter) }?;
    let known = size.min(size_of::<T>());
    if size > known {
        // SAFETY: the caller vouches for `size` bytes.
        let rest = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Error::invalid(
                format!("{parameter}.struct_size"),
                "the struct has fields that this version of the library does not know, and they are set",
            ));
        }
    }
    let mut value = T::defaults();
    // SAFETY: `known` bytes are inside both structs, and every bit pattern is valid by the contract of `Plain`.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
    Ok(value)
}

/// Fills the caller's struct as far as it reaches, and zeroes what it has beyond ours. Its size stays.
///
/// # Safety
/// `pointer` may be written for as many bytes as its first field says.
pub(crate) unsafe fn fill<T: Plain>(pointer: *mut T, value: T, parameter: &str) -> Result<()> {
    // SAFETY: the first field, by the contract of `Plain`.
    let size = unsafe { checked_size(pointer.cast_const().cast(), T::FIRST_SIZE, parameter) }?;
    // SAFETY: the caller vouches for `size` bytes.
    unsafe { write(pointer, value, size) };
    Ok(())
}

/// Fills a struct of `size` bytes with the defaults. Does nothing for NULL or a size too small for the size field.
///
/// # Safety
/// `pointer` is NULL or may be written for `size` bytes.
pub(crate) unsafe fn init<T: Plain>(pointer: *mut T, size: usize) {
    if pointer.is_null() || size < size_of::<usize>() {
        return;
    }
    // SAFETY: not NULL, so writable for `size` bytes by the contract of this function.
    unsafe { write(pointer, T::defaults(), size) };
}

/// # Safety
/// `pointer` may be written for `size` bytes, at least those of the size field.
unsafe fn write<T: Plain>(pointer: *mut T, value: T, size: usize) {
    let known = size.min(size_of::<T>());
    let bytes = pointer.cast::<u8>();
    // SAFETY: `known` bytes are inside both structs, the rest is inside the caller's, and the size field is first.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), bytes, known);
        std::ptr::write_bytes(bytes.add(known), 0, size - known);
        pointer.cast::<usize>().write_unaligned(size);
    }
}

/// # Safety
/// `size_field` may be read.
unsafe fn checked_size(size_field: *const usize, first_size: usize, parameter: &str) -> Result<usize> {
    // SAFETY: readable by the contract of this function.
    let size = unsafe { size_field.read_unaligned() };
    if (first_size..=MAX_SIZE).contains(&size) {
        return Ok(size);
    }
    Err(Error::invalid(
        format!("{parameter}.struct_size"),
        format_args!("{size} is not between {first_size} and {MAX_SIZE}; set it to the struct's sizeof"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct that began with one field and got a second.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Grown {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: repr(C), size first, integers, no padding.
    unsafe impl Plain for Grown {
        const FIRST_SIZE: usize = 16;

        fn defaults() -> Self {
            Grown { struct_size: size_of::<Self>(), first: 1, second: 2 }
        }
    }

    #[test]
    fn an_older_caller_gets_the_default_of_what_it_does_not_know() {
        let older: [usize; 2] = [16, 10];
        // SAFETY: 16 bytes, as the first field says.
        let read = unsafe { read::<Grown>(older.as_ptr().cast(), "grown") }.unwrap();
        assert_eq!((read.first, read.second), (10, 2));
    }

    #[test]
    fn a_newer_caller_may_set_only_what_we_know() {
        let mut newer: [usize; 4] = [32, 10, 20, 0];
        // SAFETY: 32 bytes, as the first field says.
        let known = unsafe { read::<Grown>(newer.as_ptr().cast(), "grown") }.unwrap();
        assert_eq!((known.first, known.second), (10, 20));
        newer[3] = 1;
        // SAFETY: as above.
        let error = unsafe { read::<Grown>(newer.as_ptr().cast(), "grown") }.unwrap_err();
        assert_eq!(error.field(), Some("grown.struct_size"));
    }

    #[test]
    fn nothing_is_written_beyond_the_callers_size() {
        let mut older: [usize; 3] = [16, 10, 99];
        // SAFETY: at least 16 bytes.
        unsafe { fill(older.as_mut_ptr().cast(), Grown { first: 5, ..Grown::defaults() }, "grown") }.unwrap();
        assert_eq!(older, [16, 5, 99]);
        // SAFETY: as above.
        unsafe { init::<Grown>(older.as_mut_ptr().cast(), 16) };
        assert_eq!(older, [16, 1, 99]);
        // SAFETY: a size that cannot even hold the size field is left alone.
        unsafe { init::<Grown>(older.as_mut_ptr().cast(), 4) };
        assert_eq!(older, [16, 1, 99]);
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_read() {
        for size in [0, 15, MAX_SIZE + 1, usize::MAX] {
            // SAFETY: only the size field is read of an absurd size.
            let error = unsafe { read::<Grown>((&raw const size).cast(), "grown") }.unwrap_err();
            assert_eq!(error.field(), Some("grown.struct_size"), "{size}");
        }
    }
}
