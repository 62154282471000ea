//! `sandboxset_backend` and the options of the Linux backend.

use std::ffi::c_char;
use std::sync::Arc;

use sandboxset::Backend;
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::backend::mock::MockBackend;

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::options::{self, Plain};
use crate::report::sandboxset_report;

/// Makes sandboxes: sandboxset_backend_linux_new for real ones, sandboxset_backend_mock_new for tests. Sets keep
/// what they need of it, so it may be freed before them. Thread-safe.
pub struct sandboxset_backend {
    _opaque: (),
}

/// A backend, and the mock itself if it is one, because only a mock can be scripted.
pub(crate) struct AnyBackend {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) mock: Option<MockBackend>,
}

handle!(sandboxset_backend, AnyBackend, b"ss_backe");

/// How a Linux backend works. Initialise it with sandboxset_linux_options_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_linux_options {
    /// sizeof(sandboxset_linux_options).
    pub struct_size: usize,
    /// A path: the keeper to run instead of the built-in one. NULL, the default: the built-in one, or what the
    /// environment variable SANDBOXSET_KEEPER names.
    pub keeper: *const c_char,
    /// An absolute path: the directory in which OCI images are unpacked, made if it is missing; nobody else may be
    /// able to write to it. NULL, the default: $XDG_CACHE_HOME/sandboxset/oci, or $HOME/.cache/sandboxset/oci.
    pub image_cache: *const c_char,
    /// Sandboxes to keep prepared for each spec once the first create of it has succeeded, 1024 at most. A create that
    /// finds one is many times faster; each holds some memory and a process. SANDBOXSET_SHELLS_ON_DEMAND, the default:
    /// as many as were lately asked for at once, none once a spec has not been used for minutes. With 0 every create
    /// starts from nothing.
    pub shells: u64,
}

/// Keep as many sandboxes prepared as were lately asked for at once.
pub const SANDBOXSET_SHELLS_ON_DEMAND: u64 = u64::MAX;

/// What the sandboxes of a backend can do. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_capabilities {
    /// sizeof(sandboxset_capabilities).
    pub struct_size: usize,
    /// 1 if they can be paused and unpaused.
    pub pause: u32,
    /// 1 if they can run commands.
    pub exec: u32,
    /// 1 if they can have a runtime to connect to.
    pub connect: u32,
    /// 1 if their files can be read, written, listed and removed.
    pub files: u32,
    /// 1 if they can be reset, for SANDBOXSET_REUSE_RESET.
    pub reset: u32,
    /// 1 if they can be forked, when their runtime can.
    pub fork: u32,
    /// 1 if they can be given secrets, files, binds and tighter limits when they are warm already.
    pub bind: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), size first, raw pointers, no padding.
unsafe impl Plain for sandboxset_linux_options {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        let null = std::ptr::null();
        sandboxset_linux_options {
            struct_size: size_of::<Self>(),
            keeper: null,
            image_cache: null,
            shells: SANDBOXSET_SHELLS_ON_DEMAND,
        }
    }
}

// SAFETY: repr(C), size first, integers, no padding.
unsafe impl Plain for sandboxset_capabilities {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        sandboxset_capabilities {
            struct_size: size_of::<Self>(),
            pause: 0,
            exec: 0,
            connect: 0,
            files: 0,
            reset: 0,
            fork: 0,
            bind: 0,
            reserved: 0,
        }
    }
}

/// Fills the options with their defaults. `struct_size` is sizeof(sandboxset_linux_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_linux_options_init(
    linux_options: *mut sandboxset_linux_options,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(linux_options, struct_size) };
}

/// Makes the backend of Linux namespaces and cgroups. It looks at the host, but starts no process yet.
/// `options` may be NULL for the defaults. Free it with sandboxset_backend_free.
/// Errors: SANDBOXSET_UNSUPPORTED if this host cannot isolate, with the reason.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_backend_linux_new(
    options: *const sandboxset_linux_options,
    out_backend: *mut *mut sandboxset_backend,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let out = caller.out(out_backend, "out_backend")?;
        let options = caller.options(options, "options")?;
        let mut linux = LinuxOptions::default();
        linux.keeper = caller.optional_path(options.keeper, "keeper")?;
        linux.image_cache = caller.optional_path(options.image_cache, "image_cache")?;
        if options.shells != SANDBOXSET_SHELLS_ON_DEMAND {
            linux.shells = Some(usize::try_from(options.shells).unwrap_or(usize::MAX));
        }
        let backend = Arc::new(LinuxBackend::new(linux)?);
        out.write(handle::into_raw(AnyBackend { backend, mock: None }));
        Ok(())
    })
}

/// Makes a backend whose sandboxes exist only in memory, for tests. It fails, hangs or dies exactly as scripted,
/// see sandboxset_mock_fault_at. Free it with sandboxset_backend_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_backend_mock_new(
    out_backend: *mut *mut sandboxset_backend,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let out = caller.out(out_backend, "out_backend")?;
        let mock = MockBackend::new();
        out.write(handle::into_raw(AnyBackend { backend: Arc::new(mock.clone()), mock: Some(mock) }));
        Ok(())
    })
}

/// Fills `capabilities`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_backend_get_capabilities(
    backend: *const sandboxset_backend,
    capabilities: *mut sandboxset_capabilities,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let answer = caller.borrow(backend, "backend")?.backend.capabilities();
        let value = sandboxset_capabilities {
            pause: answer.pause.into(),
            exec: answer.exec.into(),
            connect: answer.connect.into(),
            files: answer.files.into(),
            reset: answer.reset.into(),
            fork: answer.fork.into(),
            bind: answer.bind.into(),
            ..Plain::defaults()
        };
        caller.fill(capabilities, value, "capabilities")
    })
}

/// Reports what isolation the backend's sandboxes reach on this host. Free it with sandboxset_report_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_backend_isolation_report(
    backend: *const sandboxset_backend,
    out_report: *mut *mut sandboxset_report,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let backend = caller.borrow(backend, "backend")?;
        let out = caller.out(out_report, "out_report")?;
        out.write(crate::report::into_raw(&backend.backend.isolation_report()));
        Ok(())
    })
}

/// Frees the handle; sets made from it live on. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_backend_free(backend: *mut sandboxset_backend) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(backend, |_| {}) };
}
