//! The keeper as the host sees it: started once, shared by all backends and sandboxes, ended with the last.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{
    CgroupFd, CgroupPlan, Create, Failure, FrameError, FromKeeper, Hello, LayerReport, Owner, ToKeeper,
    VERSION,
};

use super::wait::{poll_until, readable};
use super::{ShellCounts, cgroup, fault, program};
use crate::{CancelToken, Error, ErrorCode, Phase, Result, SandboxId};

/// How long the keeper may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// How long a send may wait for a keeper that is busy.
const SEND: Duration = Duration::from_secs(5);
/// How long the end of the last handle waits for the keeper to be gone, and then for a killed one.
const END: Duration = Duration::from_secs(2);
/// How long cgroups are waited for, in the background, whose processes outlived a killed keeper. They have been
/// killed and end as soon as the kernel lets them; what lasts longer is removed by a later host's keeper.
const LATE_END: Duration = Duration::from_secs(60);
/// How long the keeper may take to count.
const COUNT: Duration = Duration::from_secs(10);
/// How long a parent may be kept running for what is prepared for its next forks. A busy keeper puts that off.
const SETTLE: Duration = Duration::from_secs(3);
/// Keepers in a row that may end before they made a sandbox, within [`FRUITLESS_WITHIN`].
const FRUITLESS_STARTS: usize = 5;
const FRUITLESS_WITHIN: Duration = Duration::from_secs(60);

/// A running keeper. Dropping the last handle ends it.
pub(super) struct Keeper(Arc<Link>);

/// What the thread that listens to the keeper shares with the handles.
struct Link {
    socket: OwnedFd,
    pidfd: OwnedFd,
    /// Part of the name of everything that this keeper makes.
    tag: String,
    plan: CgroupPlan,
    faults: OnceLock<Vec<String>>,
    dead: AtomicBool,
    /// Whether it owes an answer for longer than it may take. Who needs a keeper then gets another one; this one
    /// goes with its last sandbox.
    hangs: AtomicBool,
    /// Whether the end of the keeper is our own wish.
    ending: AtomicBool,
    fruitful: AtomicBool,
    expected: Mutex<Expected>,
}

/// Who waits for what from the keeper, by the id of the sandbox.
#[derive(Default)]
struct Expected {
    creates: HashMap<u64, Sender<Result<Created, Refusal>>>,
    removes: HashMap<u64, Sender<Option<String>>>,
    obituaries: HashMap<u64, Obituary>,
    settles: HashMap<u64, Vec<Sender<()>>>,
    /// In the order in which they asked.
    counts: VecDeque<Sender<ShellCounts>>,
}

/// Why there is no sandbox.
enum Refusal {
    Sandbox(Failure),
    /// Its parent is to blame.
    Parent(Failure),
}

/// Where the cause of a sandbox's death is written, once it is known.
pub(super) type Obituary = Arc<OnceLock<String>>;

/// A sandbox as the keeper hands it over.
pub(super) struct Created {
    pub(super) pidfd: OwnedFd,
    pub(super) socket: OwnedFd,
    /// The name of its cgroup directories.
    pub(super) name: String,
    pub(super) cgroups: Vec<(CgroupFd, OwnedFd)>,
    pub(super) report: Vec<LayerReport>,
    pub(super) obituary: Obituary,
}

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
    pub(super) fn get(program: Option<&PathBuf>, deadline: Instant) -> Result<Arc<Keeper>> {
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
        let keeper = Keeper(Arc::new(Link {
            socket,
            pidfd,
            tag,
            plan,
            faults: OnceLock::new(),
            dead: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            fruitful: AtomicBool::new(false),
            expected: Mutex::default(),
        }));
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

    /// Whether it ended.
    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// Whether new sandboxes may be asked of it.
    pub(super) fn serves(&self) -> bool {
        !self.is_dead() && !self.0.hangs.load(Ordering::Relaxed)
    }

    /// Whether it ended, or will before the deadline: its socket closes a moment before it is gone, and only then
    /// are its sandboxes nobody's.
    pub(super) fn is_dead_by(&self, deadline: Instant) -> bool {
        self.is_dead() || readable(&self.0.pidfd, Some(deadline)).unwrap_or(false)
    }

    /// Why cgroups that were planned cannot be used.
    pub(super) fn faults(&self) -> &[String] {
        self.0.faults.get().map_or(&[], Vec::as_slice)
    }

    /// What the names of everything it makes begin with.
    pub(super) fn tag(&self) -> &str {
        &self.0.tag
    }

    /// The directories in which it makes the cgroups of a sandbox.
    pub(super) fn cgroups_of(&self, name: &str) -> Vec<PathBuf> {
        cgroup::owner_dirs(&self.0.plan, &self.0.tag).into_iter().map(|dir| dir.join(name)).collect()
    }

    /// Makes a sandbox. On an error nothing of it is left, or is about to be removed.
    pub(super) fn create(&self, name: SandboxId, create: Create, deadline: Instant) -> Result<Created> {
        let id = create.id;
        let (sender, receiver) = bounded(1);
        {
            let mut expected = self.0.expected.lock();
            expected.creates.insert(id, sender);
            expected.obituaries.insert(id, Obituary::default());
        }
        let answer = self.send(&ToKeeper::Create(Box::new(create))).and_then(|()| {
            self.await_answer(&receiver, deadline, |expected| expected.creates.remove(&id).is_some())
        });
        match answer {
            Ok(Ok(created)) => {
                self.0.fruitful.store(true, Ordering::Relaxed);
                Ok(created)
            }
            Ok(Err(refusal)) => {
                self.0.forget(id);
                Err(match refusal {
                    Refusal::Sandbox(failure) => fault::create(name, &failure),
                    Refusal::Parent(failure) => fault::fork(name, &failure),
                })
            }
            Err(error) => {
                self.0.forget(id);
                // Removes it also if it was made, or is being made, after all.
                let _ = self.send(&ToKeeper::Remove { id });
                Err(error)
            }
        }
    }

    /// Has a sandbox removed; answers what could not be.
    pub(super) fn remove(&self, id: u64, deadline: Instant) -> Result<Option<String>> {
        let (sender, receiver) = bounded(1);
        self.0.expected.lock().removes.insert(id, sender);
        let answer = self.send(&ToKeeper::Remove { id }).and_then(|()| {
            self.await_answer(&receiver, deadline, |expected| expected.removes.remove(&id).is_some())
        });
        if matches!(answer, Ok(None)) {
            self.0.expected.lock().obituaries.remove(&id);
        }
        answer.map_err(|error| error.with_phase(Phase::Destroy))
    }

    /// Waits until what is prepared for the next forks of a sandbox is, but not long, and not when it is cancelled.
    pub(super) fn settle(&self, id: u64, cancel: &CancelToken) {
        let (sender, receiver) = bounded(2);
        let interrupt = sender.clone();
        let _registration = cancel.on_cancel(move || {
            let _ = interrupt.try_send(());
        });
        self.0.expected.lock().settles.entry(id).or_default().push(sender);
        if self.send(&ToKeeper::Settle { id }).is_ok() {
            let _ = receiver.recv_timeout(SETTLE);
        }
        self.0.expected.lock().settles.remove(&id);
    }

    /// How many shells wait for the creates of a backend.
    pub(super) fn count_shells(&self, backend: u64) -> Result<ShellCounts> {
        let (sender, receiver) = bounded(1);
        let asked = {
            // Locked until it is sent, because answers are told apart by their order only.
            let mut expected = self.0.expected.lock();
            expected.counts.push_back(sender);
            self.send(&ToKeeper::CountShells { backend }).inspect_err(|_| _ = expected.counts.pop_back())
        };
        let answer = asked.and_then(|()| self.await_answer(&receiver, Instant::now() + COUNT, |_| false));
        answer.map_err(|error| error.with_phase(Phase::Use))
    }

    /// No more creates of this backend will come.
    pub(super) fn forget_backend(&self, backend: u64) {
        let _ = self.send(&ToKeeper::Forget { backend });
    }

    /// Has a sandbox removed without waiting for it.
    pub(super) fn abandon(&self, id: u64) {
        self.0.forget(id);
        let _ = self.send(&ToKeeper::Remove { id });
    }

    fn send(&self, message: &ToKeeper) -> Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors.
    pub(super) fn send_with(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> Result<()> {
        // Checked after the caller registered what it expects: the listening thread first says that the keeper is
        // dead and then drops what is expected, so that nobody waits for a dead keeper.
        if self.is_dead() {
            return Err(unavailable("the keeper died"));
        }
        match sandboxset_keeper::send(&self.0.socket, message, fds) {
            Err(FrameError::Closed) => {
                // The listening thread has yet to see it; this one knows.
                self.0.dead.store(true, Ordering::Release);
                Err(unavailable("the keeper died"))
            }
            other => other.map_err(|error| unavailable("the keeper does not listen").with_source(error)),
        }
    }

    fn await_answer<T>(
        &self,
        receiver: &Receiver<T>,
        deadline: Instant,
        give_up: impl FnOnce(&mut Expected) -> bool,
    ) -> Result<T> {
        match receiver.recv_deadline(deadline) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(unavailable("the keeper died")),
            Err(RecvTimeoutError::Timeout) => {
                give_up(&mut self.0.expected.lock());
                // It has a deadline of its own for each create, before ours, and a removal is a moment's work.
                self.0.hangs.store(true, Ordering::Relaxed);
                // The answer may have come in just now.
                receiver.try_recv().map_err(|_| {
                    Error::new(ErrorCode::Timeout, Phase::Create, "the keeper did not answer in time")
                })
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // In a forked child the keeper, the thread and the sandboxes are the parent's.
        if crate::in_forked_child() {
            return;
        }
        let link = &self.0;
        link.ending.store(true, Ordering::Release);
        // Ends the keeper, also while a forked child of the host holds a copy of the socket.
        let _ = rustix::net::shutdown(&link.socket, Shutdown::Both);
        let mut deadline = Instant::now() + END;
        if !readable(&link.pidfd, Some(deadline)).unwrap_or(false) {
            // It hangs, or was stopped. Its sandboxes die with it, and we do the rest of what it should have done.
            let _ = rustix::process::pidfd_send_signal(&link.pidfd, Signal::KILL);
            deadline += END;
            let _ = readable(&link.pidfd, Some(deadline));
        }
        link.reap();
        // Nothing is left, unless it was killed.
        if cgroup::remove_owner(&link.plan, &link.tag, deadline).is_ok() {
            return;
        }
        let link = Arc::clone(link);
        let later = move || {
            if let Err(errno) = cgroup::remove_owner(&link.plan, &link.tag, Instant::now() + LATE_END) {
                tracing::warn!(tag = link.tag, %errno, "cgroups of an ended keeper cannot be removed");
            }
        };
        if crate::threads::run(Box::new(later)).is_err() {
            tracing::warn!("no thread to remove the cgroups of an ended keeper");
        }
    }
}

impl Link {
    /// Hands the keeper's messages to who expects them, until the keeper ends.
    fn listen(&self) {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
            if poll_until(&mut fds, None).is_err() {
                break;
            }
            // What a keeper said before it ended is still heard.
            if !fds[0].revents().is_empty() {
                match sandboxset_keeper::receive(&self.socket) {
                    Ok((message, fds)) => self.dispatch(message, fds),
                    Err(FrameError::WouldBlock) => {}
                    Err(_) => break,
                }
            } else if !fds[1].revents().is_empty() {
                break;
            }
        }
        self.end();
    }

    fn dispatch(&self, message: FromKeeper, fds: Vec<OwnedFd>) {
        self.hangs.store(false, Ordering::Relaxed);
        match message {
            FromKeeper::Created { id, name, cgroups, report } => {
                self.created(id, name, &cgroups, report, fds);
            }
            FromKeeper::CreateFailed { id, failure } => {
                let sender = self.expected.lock().creates.remove(&id);
                let _ = sender.map(|sender| sender.send(Err(Refusal::Sandbox(failure))));
            }
            FromKeeper::ForkFailed { id, failure } => {
                let sender = self.expected.lock().creates.remove(&id);
                let _ = sender.map(|sender| sender.send(Err(Refusal::Parent(failure))));
            }
            FromKeeper::Removed { id, leftovers } => {
                let sender = self.expected.lock().removes.remove(&id);
                let _ = sender.map(|sender| sender.send(leftovers));
            }
            FromKeeper::Died { id, cause } => {
                let obituary = self.expected.lock().obituaries.get(&id).cloned();
                let _ = obituary.map(|obituary| obituary.set(cause));
            }
            FromKeeper::Settled { id } => {
                let senders = self.expected.lock().settles.remove(&id);
                for sender in senders.into_iter().flatten() {
                    let _ = sender.try_send(());
                }
            }
            FromKeeper::Shells { ready, bare } => {
                let sender = self.expected.lock().counts.pop_front();
                let counts = ShellCounts { ready: ready as usize, bare: bare as usize };
                let _ = sender.map(|sender| sender.send(counts));
            }
            FromKeeper::Hello { .. } => {}
        }
    }

    fn created(
        &self,
        id: u64,
        name: String,
        kinds: &[CgroupFd],
        report: Vec<LayerReport>,
        fds: Vec<OwnedFd>,
    ) {
        let (sender, obituary) = {
            let mut expected = self.expected.lock();
            (expected.creates.remove(&id), expected.obituaries.get(&id).cloned())
        };
        // Whoever gave up has asked for its removal already.
        let (Some(sender), Some(obituary)) = (sender, obituary) else { return };
        let complete = fds.len() == kinds.len() + 2;
        let mut fds = fds.into_iter();
        let answer = match (fds.next(), fds.next()) {
            (Some(pidfd), Some(socket)) if complete => Ok(Created {
                pidfd,
                socket,
                name,
                cgroups: kinds.iter().copied().zip(fds).collect(),
                report,
                obituary,
            }),
            // The kernel drops descriptors when the receiving process may have no more.
            _ => Err(Refusal::Sandbox(Failure {
                step: "receive the descriptors of the sandbox".into(),
                errno: Errno::MFILE.raw_os_error(),
            })),
        };
        let _ = sender.send(answer);
    }

    fn end(&self) {
        self.dead.store(true, Ordering::Release);
        let expected = std::mem::take(&mut *self.expected.lock());
        for obituary in expected.obituaries.values() {
            let _ = obituary.set("its keeper died".into());
        }
        if !self.ending.load(Ordering::Acquire) {
            tracing::warn!("the keeper died; its sandboxes are gone with it");
            let _ = readable(&self.pidfd, Some(Instant::now() + END));
            self.reap();
        }
    }

    /// The keeper is nobody's child but the system's; as the first process of a container this process stands for
    /// the system, and would have a zombie for every keeper. Elsewhere this does nothing.
    fn reap(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
    }

    fn forget(&self, id: u64) {
        let mut expected = self.expected.lock();
        expected.creates.remove(&id);
        expected.obituaries.remove(&id);
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

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BackendUnavailable, Phase::Create, message)
}
