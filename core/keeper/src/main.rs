//! The keeper: the parent of every sandbox of one host process, and the init inside each.
//!
//! It is started with a `SOCK_SEQPACKET` socket to its host as descriptor 3 and lives exactly as long as that host.
//! It has one thread, reads nothing of its environment, and never execs: an init is a fork of it.

mod init;
mod keeper;
mod mounter;
mod seccomp;
mod sys;
mod zygote;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};

/// The descriptor that the host passes.
const HOST_SOCKET: i32 = 3;

fn main() {
    // Own session: Ctrl-C at the host's terminal reaches the host, which decides; not us.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    sys::block_all_signals();
    // Inits and commands inherit these, and the keeper what the host ignores. Of an init its namespace keeps all signals
    // away that it does not handle.
    sys::reset_dispositions();
    allow_many_descriptors();
    let host = sys::inherit(HOST_SOCKET);
    let _ = rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::CLOEXEC);
    let code = match keeper::run(host) {
        Ok(()) => 0,
        // There is nobody to tell: the host is gone or broke the protocol, and stdio is not ours.
        Err(_) => 1,
    };
    sys::exit(code);
}

/// There are several for each sandbox, of which there may be more than the host's own limit was made for. Inits get
/// the limit of their sandbox.
fn allow_many_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
