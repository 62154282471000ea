//! Turning the kernel's and the init's refusals into errors of this crate.

use rustix::io::Errno;
use sandboxset_keeper::{BRING_STEP, Failure, MOUNT_STEP};

use super::doctor;
use crate::{Error, ErrorCode, Phase, SandboxId};

/// A request to the kernel that it refused.
pub(super) fn os(phase: Phase, what: &str, errno: Errno) -> Error {
    Error::new(code_of(errno), phase, what).with_source(std::io::Error::from(errno))
}

/// The error for a sandbox that is no more.
pub(super) fn dead(phase: Phase, id: SandboxId, cause: &str) -> Error {
    Error::new(ErrorCode::SandboxDead, phase, format!("the sandbox is dead: {cause}")).with_sandbox(id)
}

/// An init that did something that ours never does: something in the sandbox has taken it over.
pub(super) fn hostile(phase: Phase, id: SandboxId, what: &str) -> Error {
    dead(phase, id, &format!("its init does not behave: {what}"))
}

/// A failed operation on a file of the sandbox.
pub(super) fn file(path: &std::path::Path, failure: &Failure) -> Error {
    let text = format!("{}: {}", path.display(), describe(failure));
    match errno(failure) {
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::ISDIR
        | Errno::LOOP
        | Errno::NAMETOOLONG
        | Errno::INVAL
        | Errno::NXIO
        | Errno::NOTEMPTY
        | Errno::EXIST
        | Errno::BUSY => Error::invalid("path", text).with_phase(Phase::Files),
        errno => Error::new(code_of(errno), Phase::Files, text),
    }
}

/// A command that could not be started.
pub(super) fn exec(program: &std::ffi::OsStr, failure: &Failure) -> Error {
    let text = format!("cannot run {}: {}", program.display(), describe(failure));
    let field = if failure.step.contains("working directory") { "cwd" } else { "args" };
    match errno(failure) {
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::ISDIR
        | Errno::LOOP
        | Errno::NAMETOOLONG
        | Errno::NOEXEC
        | Errno::TOOBIG
        | Errno::INVAL
        | Errno::LIBBAD => Error::invalid(field, text).with_phase(Phase::Exec),
        errno => Error::new(code_of(errno), Phase::Exec, text),
    }
}

/// Something that cannot be mounted where the caller wants it, for a reason that lies in the root: a link, a file
/// where a directory should be, nothing where nothing can be made.
pub(super) fn target(field: &str, step: &str, failure: &Failure) -> Option<Error> {
    let refused = matches!(
        errno(failure),
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::ROFS
    );
    (refused && failure.step.starts_with(step)).then(|| Error::invalid(field, describe(failure)))
}

/// A sandbox that could not be made.
pub(super) fn create(id: SandboxId, failure: &Failure) -> Error {
    for (field, step) in [("binds.target", MOUNT_STEP), ("runtime.brings", BRING_STEP)] {
        if let Some(error) = target(field, step, failure) {
            return error.with_phase(Phase::Create).with_sandbox(id);
        }
    }
    let mut code = match errno(failure) {
        Errno::TIMEDOUT => ErrorCode::Timeout,
        _ => ErrorCode::CreateFailed,
    };
    let mut message = format!("the sandbox could not be made: {}", describe(failure));
    if let Some(feature) = doctor::missing_feature(failure) {
        // What the host lacks it will lack the next time too.
        if feature.permanent {
            code = ErrorCode::Unsupported;
        }
        message += &format!("; {}; `sandboxset doctor` says how to fix it", feature.detail);
    }
    Error::new(code, Phase::Create, message).with_sandbox(id)
}

/// A sandbox that could not be forked, because of its parent.
pub(super) fn fork(id: SandboxId, failure: &Failure) -> Error {
    let message = format!("the parent could not be forked: {}", describe(failure));
    Error::new(ErrorCode::ForkFailed, Phase::Fork, message).with_sandbox(id)
}

/// A sandbox that was made, and ended before anybody had it. A fork may have ended with its parent.
pub(super) fn ended(phase: Phase, id: SandboxId, cause: &str) -> Error {
    let code = if phase == Phase::Fork { ErrorCode::ForkFailed } else { ErrorCode::CreateFailed };
    let message = format!("the sandbox ended before it could be handed out: {cause}");
    Error::new(code, phase, message).with_sandbox(id)
}

/// The step and the kernel's own text.
pub(super) fn describe(failure: &Failure) -> String {
    match failure.errno {
        0 => failure.step.clone(),
        errno => format!("{}: {}", failure.step, std::io::Error::from_raw_os_error(errno)),
    }
}

/// The kernel's error number. One that is none, or that no kernel gives, is EIO: an init can send any number.
pub(super) fn errno(failure: &Failure) -> Errno {
    Errno::from_io_error(&std::io::Error::from_raw_os_error(failure.errno)).unwrap_or(Errno::IO)
}

/// What an error number means where it says nothing about the caller's own arguments.
pub(super) fn code_of(errno: Errno) -> ErrorCode {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorCode::PermissionDenied,
        Errno::NOSPC
        | Errno::DQUOT
        | Errno::NOMEM
        | Errno::AGAIN
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOBUFS => ErrorCode::NoCapacity,
        Errno::FBIG | Errno::OVERFLOW => ErrorCode::TooBig,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorCode::Unsupported,
        Errno::TIMEDOUT => ErrorCode::Timeout,
        _ => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn any_number_is_survived() {
        for number in [0, -1, 4096, i32::MIN, i32::MAX] {
            let failure = Failure { step: "do it".into(), errno: number };
            assert_eq!(create(SandboxId::next(), &failure).code(), ErrorCode::CreateFailed);
            assert_eq!(file(Path::new("/a"), &failure).code(), ErrorCode::Internal);
            assert_eq!(exec("a".as_ref(), &failure).code(), ErrorCode::Internal);
        }
    }

    #[test]
    fn file_errors_name_the_path_and_say_what_the_kernel_said() {
        let failed = |errno: Errno| {
            file(Path::new("/a"), &Failure { step: "open the file".into(), errno: errno.raw_os_error() })
        };
        let missing = failed(Errno::NOENT);
        assert_eq!((missing.code(), missing.field()), (ErrorCode::InvalidArgument, Some("path")));
        assert!(missing.message().contains("/a") && missing.message().contains("No such file"));
        assert_eq!(failed(Errno::NOSPC).code(), ErrorCode::NoCapacity);
        assert_eq!(failed(Errno::ROFS).code(), ErrorCode::PermissionDenied);
        assert_eq!(missing.phase(), Phase::Files);
    }
}
