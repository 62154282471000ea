//! Starting keepers: one for each program, and another when it ended.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::PidfdFlags;
use sandboxset_keeper::{FrameError, FromKeeper, Hello, Owner, ToKeeper, VERSION};

use super::link::Link;
use super::{Keeper, unavailable};
use crate::backend::linux::wait::readable;
use crate::backend::linux::{cgroup, fault, program};
use crate::{Error, ErrorCode, Phase, Result};

/// How long the keeper may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// How long a send may wait for a keeper that is busy.
const SEND: Duration = Duration::from_secs(5);
/// Keepers in a row that may end before they made a sandbox, within [`FRUITLESS_WITHIN`].
const FRUITLESS_STARTS: usize = 5;
const FRUITLESS_WITHIN: Duration = Duration::from_secs(60);

/// The keepers of this process, by program; normally one at most.
static KEEPERS: Mutex<Option<Keepers>> = Mutex::new(None);

#[derive(Default)]
struct Keepers {
    running: HashMap<Option<PathBuf>, Weak<Keeper>>,
    /// When keepers ended, or failed to start, without having made a sandbox.
    fruitless: HashMap<Option<PathBuf>, Vec<Instant>>,
}

impl Keeper {
    /// The running keeper of this program, or a new one.
    pub(in crate::backend::linux) fn get(
        program: Option<&PathBuf>,
        deadline: Instant,
    ) -> Result<Arc<Keeper>> {
        // Held while a keeper starts: who else needs one has to wait for it anyway, until its own deadline.
        let Some(mut keepers) = KEEPERS.try_lock_until(deadline) else {
            return Err(Error::new(ErrorCode::Timeout, Phase::Create, "the keeper was not started in time"));
        };
        let keepers = keepers.get_or_insert_default();
        let key = program.cloned();
        let fruitless = keepers.fruitless.entry(key.clone()).or_default();
        if let Some(keeper) = keepers.running.get(&key).and_then(Weak::upgrade) {
            if keeper.serves() {
                return Ok(keeper);
            }
            if !keeper.0.fruitful.load(Ordering::Relaxed) {
                fruitless.push(Instant::now());
            }
        }
        keepers.running.remove(&key);
        fruitless.retain(|when| when.elapsed() < FRUITLESS_WITHIN);
        if fruitless.len() >= FRUITLESS_STARTS {
            let message =
                format!("{FRUITLESS_STARTS} keepers ended within a minute without making a sandbox");
            return Err(unavailable(message));
        }
        match Keeper::start(program, deadline) {
            Ok(keeper) => {
                let keeper = Arc::new(keeper);
                keepers.running.insert(key, Arc::downgrade(&keeper));
                Ok(keeper)
            }
            Err(error) => {
                // When the host has too little of something now, the keeper is not to blame.
                if error.code() != ErrorCode::NoCapacity {
                    fruitless.push(Instant::now());
                }
                Err(error)
            }
        }
    }

    fn start(program: Option<&PathBuf>, deadline: Instant) -> Result<Keeper> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(refused("no socket for the keeper"))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND))
            .map_err(refused("the keeper's socket takes no time limit"))?;
        let plan = cgroup::detect();
        let tag = new_tag()?;
        let pidfd = program::run(program.map(PathBuf::as_path), &theirs).map_err(|error| match error {
            program::ProgramError::Start(errno) => refused(not_started(&error))(errno),
            error => unavailable(not_started(&error)).with_source(error),
        })?;
        drop(theirs);
        // From here on the drop of the keeper ends it and removes what it made.
        let keeper = Keeper(Arc::new(Link::new(socket, pidfd, tag, plan)));
        keeper.greet(deadline)?;
        let listening = Arc::clone(&keeper.0);
        if crate::threads::run(Box::new(move || listening.listen())).is_err() {
            return Err(Error::new(ErrorCode::NoCapacity, Phase::Create, "no thread could be started"));
        }
        Ok(keeper)
    }

    /// Tells the keeper for whom it works, and waits until it is ready to.
    fn greet(&self, deadline: Instant) -> Result<()> {
        let link = &self.0;
        let host = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(refused("no pidfd of this process"))?;
        let hello = Hello { version: VERSION, owner: link.tag.clone(), cgroups: link.plan.clone() };
        let no_hello = |error| match error {
            FrameError::Os(errno) => refused("the keeper did not say hello")(errno),
            error => unavailable("the keeper did not say hello").with_source(error),
        };
        sandboxset_keeper::send(&link.socket, &ToKeeper::Hello(hello), &[host.as_fd()]).map_err(no_hello)?;
        let until = deadline.min(Instant::now() + HELLO);
        if !readable(&link.socket, Some(until)).map_err(refused("waiting for the keeper failed"))? {
            return Err(unavailable("the keeper did not say hello in time"));
        }
        match sandboxset_keeper::receive(&link.socket).map_err(no_hello)? {
            (FromKeeper::Hello { version: VERSION, cgroup_faults }, _) => {
                let _ = link.faults.set(cgroup_faults);
                Ok(())
            }
            (FromKeeper::Hello { version, .. }, _) => {
                Err(unavailable(format!("the keeper speaks version {version}, not {VERSION}")))
            }
            _ => Err(unavailable("the keeper did not begin with hello")),
        }
    }
}

/// The identity of this process, and something that tells apart its keepers, also those of a second copy of this
/// library in the same process.
fn new_tag() -> Result<String> {
    let owner = Owner::current().map_err(|error| {
        refused("this process has no identity")(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    let mut random = [0u8; 4];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(refused("no random bytes"))?;
    Ok(format!("{owner}-{:08x}", u32::from_ne_bytes(random)))
}

/// Points to where the reason of the host is explained.
fn not_started(error: &program::ProgramError) -> &'static str {
    match error {
        program::ProgramError::Open { .. } => "the keeper could not be started",
        _ => "the keeper could not be started; `sandboxset doctor` says how to fix it",
    }
}

/// What the kernel refused: `NO_CAPACITY` if there is too little of something now.
fn refused(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| match fault::os(Phase::Create, what, errno) {
        error if error.code() == ErrorCode::NoCapacity => error,
        _ => unavailable(what).with_source(std::io::Error::from(errno)),
    }
}
