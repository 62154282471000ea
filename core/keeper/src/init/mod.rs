//! Pid 1 of a sandbox: a fork of the keeper that sets the sandbox up, then starts commands and reaps.
//!
//! It trusts the host's messages, because they come over a socket that no command ever holds. It never trusts what
//! runs beside it: it is undumpable, has no capabilities, and follows no link into `/proc`.

mod command;
mod confine;
mod dev;
mod files;
mod join;
mod landlock;
pub(crate) mod mounts;
pub(crate) mod network;
mod proc;
mod processes;
mod program;
mod reset;
mod root;
mod share;

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use sandboxset_keeper::{
    Create, FAILED_PREFIX, FORK_FD, FORK_FD_VARIABLE, Failure, FrameError, FromInit, LayerReport,
    LayerStatus, READY_LINE, Runtime, ToCommand, ToInit,
};
use serde::{Deserialize, Serialize};

use self::command::Commands;
pub(crate) use self::confine::become_inner_user;
use self::join::{Begin, Door};
pub(crate) use self::root::sources;
use crate::seccomp::Filters;
use crate::sys;

/// The namespaces that an init is cloned into. The cgroup namespace is made later, from inside the cgroups, and the
/// network namespace beside what else there is to do.
pub(crate) const NAMESPACES: u64 =
    (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
        as u64;

/// For whom an init is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// For nobody yet. It makes its network namespace, and is told what to become when it has entered its cgroups.
    Ahead,
    /// For somebody who waits. It is told at once what to become, and collects that while the keeper makes the cgroups;
    /// what it takes for that is not in them yet. Its network namespace is made by somebody else, and sent last.
    Awaited,
}

/// The exit code of an init whose runtime ended.
pub(crate) const EXIT_RUNTIME_ENDED: i32 = 70;
/// The exit code of an init that could not be set up; the failure was sent.
const EXIT_SETUP_FAILED: i32 = 71;

/// The most that a runtime may say at once of being ready, or why it will not be.
const MAX_READY_BYTES: usize = 512;

/// How late timers may be, in nanoseconds: what the kernel starts the first process with.
const TIMER_SLACK_NS: u64 = 50_000;

/// What an init tells its keeper while it sets the sandbox up. The last three end that.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// All is there but the runtime, which begins when the init is told to go on. Without a runtime this is the end.
    Furnished(Vec<LayerReport>),
    /// Its runtime will be a fork server. Carries its user namespace, its process id namespace and the socket to the
    /// fork server.
    Forkable,
    /// A process of the parent may join. Carries a pidfd to join through, and the socket to be joined on.
    Door,
    /// One has, and is to be asked to fork.
    Joined,
    /// It has. What it forked has its arguments and runs when the init is told to let it.
    Forked,
    /// The runtime is ready.
    Ready,
    /// It could not be set up.
    Failed(Failure),
    /// It could not be forked, for which the parent is to blame.
    NotForked(Failure),
}

struct Init<'a> {
    host: OwnedFd,
    /// The keeper's socket, until the runtime is ready.
    setup: Option<OwnedFd>,
    /// Where the runtime says that it is ready, until it did.
    ready: Option<OwnedFd>,
    ready_text: Vec<u8>,
    children: OwnedFd,
    commands: Commands<'a>,
}

/// The life of an init, first as a shell. Called in the fresh clone; never returns.
pub(crate) fn main(setup: OwnedFd, host: OwnedFd, filters: &Filters, memory_cgroup: bool, birth: Birth) -> ! {
    let code = match live(setup, host, filters, memory_cgroup, birth) {
        Ok(code) => code,
        Err(()) => EXIT_SETUP_FAILED,
    };
    sys::exit(code)
}

fn live(
    setup: OwnedFd,
    host: OwnedFd,
    filters: &Filters,
    memory_cgroup: bool,
    birth: Birth,
) -> Result<i32, ()> {
    let [setup, host] = keep_only([setup, host]).map_err(drop)?;
    let entrances = || sandboxset_keeper::receive::<usize>(&setup).map_err(drop);
    let hear = || sandboxset_keeper::receive::<Create>(&setup).map(|(create, _)| create).map_err(drop);
    let (create, material) = match birth {
        Birth::Ahead => {
            let made = network::make();
            // Nothing else happens before the keeper has mapped our user and made the cgroups.
            let entrances = entrances()?;
            let entered = made.and_then(|()| confine::enter(&setup, entrances));
            let create = hear()?;
            let material = entered.and_then(|()| root::collect(&create));
            (create, material)
        }
        Birth::Awaited => {
            let create = hear()?;
            let material = root::collect(&create);
            let entrances = entrances()?;
            let entered = material.and_then(|material| confine::enter(&setup, entrances).map(|()| material));
            (create, entered)
        }
    };
    let begun = material
        .and_then(|material| {
            let mut report = namespaces_report();
            root::build(&create, material, &mut report)?;
            match birth {
                Birth::Ahead => network::switch_on()?,
                Birth::Awaited => network::enter(&setup)?,
            }
            Init::set_up(host, &create, filters, memory_cgroup, report)
        })
        .map_err(News::Failed)
        .and_then(|(mut init, rules, report)| {
            let silent = |_| News::Failed(Failure { step: "talk to the keeper".into(), errno: 0 });
            sandboxset_keeper::send(&setup, &News::Furnished(report), &[]).map_err(silent)?;
            if create.runtime.is_some() {
                // It begins when somebody wants the sandbox.
                sandboxset_keeper::receive::<()>(&setup).map_err(silent)?;
                init.begin_runtime(&create, &setup, rules)?;
            }
            Ok(init)
        });
    let mut init = match begun {
        Ok(init) => init,
        Err(news) => {
            let _ = sandboxset_keeper::send(&setup, &news, &[]);
            return Err(());
        }
    };
    init.setup = init.ready.is_some().then_some(setup);
    drop(create);
    // What the set-up took and the keeper no longer had: a sandbox may wait for long.
    sys::trim_heap();
    Ok(init.serve())
}

/// Closes everything that the keeper had open except these, which get low numbers.
pub(crate) fn keep_only<const N: usize>(fds: [OwnedFd; N]) -> Result<[OwnedFd; N], Errno> {
    const FIRST: i32 = 3;
    let end = FIRST + N as i32;
    let mut above = Vec::with_capacity(N);
    for fd in &fds {
        above.push(sys::dup_above(fd, end)?);
    }
    for (number, fd) in (FIRST..).zip(&above) {
        sys::dup_to(fd, number)?;
    }
    // All of these are closed by number, together with what only the keeper knows of.
    std::mem::forget((fds, above));
    sys::close_from(end)?;
    let kept = std::array::from_fn(|index| sys::inherit(FIRST + index as i32));
    for fd in &kept {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(kept)
}

impl<'a> Init<'a> {
    /// Gives up every right, once all is there that takes one. Answers also what is to restrict a runtime that is
    /// forked, and what was reached.
    fn set_up(
        host: OwnedFd,
        create: &Create,
        filters: &'a Filters,
        memory_cgroup: bool,
        mut report: Vec<LayerReport>,
    ) -> Result<(Self, Option<OwnedFd>, Vec<LayerReport>), Failure> {
        let rules = confine::drop_privileges(create, memory_cgroup, &mut report)?;
        // Inherited from the host, as commands would inherit it from here.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS))
            .map_err(|errno| failure("set the timer slack", errno))?;
        let children = sys::child_signalfd().map_err(|errno| failure("watch children", errno))?;
        rustix::io::ioctl_fionbio(&host, true)
            .map_err(|errno| failure("prepare the host's socket", errno))?;
        let commands = Commands::new(confine::filters_system_calls(create).then_some(filters));
        let init = Init { host, setup: None, ready: None, ready_text: Vec::new(), children, commands };
        Ok((init, rules, report))
    }

    /// Starts the runtime, or lets one in that the parent forks; if there is to be one.
    fn begin_runtime(
        &mut self,
        create: &Create,
        setup: &OwnedFd,
        rules: Option<OwnedFd>,
    ) -> Result<(), News> {
        let Some(runtime) = &create.runtime else { return Ok(()) };
        let mut runtime = runtime.clone();
        let server = if runtime.forks { Some(offer_forks(setup, &mut runtime)?) } else { None };
        if create.parent.is_none() {
            let ready = self.commands.start_runtime(&runtime, server.as_ref()).map_err(News::Failed)?;
            self.ready = Some(ready);
            return Ok(());
        }
        let silent = |_| News::NotForked(Failure { step: "hear the keeper".into(), errno: 0 });
        let (door, pidfd, socket) = Door::open().map_err(News::Failed)?;
        sandboxset_keeper::send(setup, &News::Door, &[pidfd.as_fd(), socket.as_fd()]).map_err(silent)?;
        drop((pidfd, socket));
        let forker = door.admit(self.commands.filter_of(&runtime), rules).map_err(News::NotForked)?;
        let begin = Begin::new(&runtime, server).map_err(News::Failed)?;
        sandboxset_keeper::send(setup, &News::Joined, &[]).map_err(silent)?;
        let child = forker.adopt().map_err(News::NotForked)?;
        sandboxset_keeper::send(setup, &News::Forked, &[]).map_err(silent)?;
        // That may be long before somebody wants the sandbox.
        child.rest_until(setup).map_err(News::NotForked)?;
        sandboxset_keeper::receive::<()>(setup).map_err(silent)?;
        let (pid, ready) = child.begin(&begin).map_err(News::NotForked)?;
        self.commands.adopt_runtime(pid, runtime.forks);
        self.ready = Some(ready);
        Ok(())
    }

    /// Serves until the host closes its socket or the runtime ends; answers the exit code.
    fn serve(&mut self) -> i32 {
        loop {
            let (spoken, host, children, ready) = {
                let mut fds =
                    vec![PollFd::new(&self.host, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
                let has_ready =
                    self.ready.as_ref().map(|ready| fds.push(PollFd::new(ready, PollFlags::IN))).is_some();
                let first = fds.len();
                fds.extend(self.commands.sockets().map(|socket| PollFd::new(socket, PollFlags::IN)));
                match rustix::event::poll(&mut fds, None) {
                    Ok(_) => {}
                    Err(Errno::INTR) => continue,
                    Err(_) => return EXIT_SETUP_FAILED,
                }
                let spoken: Vec<usize> =
                    (first..fds.len()).filter(|&i| !fds[i].revents().is_empty()).map(|i| i - first).collect();
                let is_ready = |index: usize| !fds[index].revents().is_empty();
                (spoken, is_ready(0), is_ready(1), has_ready && is_ready(2))
            };
            // From the last to the first, because ending a command removes it from the list.
            for index in spoken.into_iter().rev() {
                self.command_message(index);
            }
            if ready && !self.read_ready() {
                return EXIT_RUNTIME_ENDED;
            }
            if children && !self.reap() {
                return EXIT_RUNTIME_ENDED;
            }
            if host && !self.host_spoke() {
                return 0;
            }
        }
    }

    /// Reads what the runtime says; false if it ended its line without being ready.
    fn read_ready(&mut self) -> bool {
        let Some(ready) = &self.ready else { return true };
        let mut buffer = [0; MAX_READY_BYTES];
        let count = rustix::io::read(ready, &mut buffer).unwrap_or(0);
        self.ready_text.extend_from_slice(&buffer[..count]);
        if self.ready_text.starts_with(READY_LINE) {
            self.ready = None;
            if let Some(setup) = self.setup.take() {
                let _ = sandboxset_keeper::send(&setup, &News::Ready, &[]);
            }
            return true;
        }
        let hopeful = count > 0 && READY_LINE.starts_with(&self.ready_text);
        if !hopeful {
            let said = self.ready_text.strip_prefix(FAILED_PREFIX).map(String::from_utf8_lossy);
            let said = said.map(|reason| reason.trim_end().to_owned());
            self.will_not_be_ready(|| {
                said.unwrap_or_else(|| command::with_last_words("it did not say READY"))
            });
        }
        hopeful
    }

    /// Tells the keeper why, if the set-up is not over.
    fn will_not_be_ready(&mut self, reason: impl FnOnce() -> String) {
        let Some(setup) = self.setup.take() else { return };
        let failure = Failure { step: format!("start the runtime: {}", reason()), errno: 0 };
        let _ = sandboxset_keeper::send(&setup, &News::Failed(failure), &[]);
    }

    /// Reaps every ended child; false if the runtime was one.
    fn reap(&mut self) -> bool {
        let mut buffer = [0; 512];
        while rustix::io::read(&self.children, &mut buffer).is_ok() {}
        while let Some(ended) = sys::reap() {
            if self.commands.is_runtime(ended.pid) {
                let end = match ended.exit_code {
                    Some(code) => format!("it exited with code {code}"),
                    None => format!("signal {} ended it", ended.signal.unwrap_or(0)),
                };
                self.will_not_be_ready(|| command::with_last_words(&end));
                return false;
            }
            self.commands.ended(&ended);
        }
        true
    }

    fn command_message(&mut self, index: usize) {
        let Some(socket) = self.commands.sockets().nth(index) else { return };
        match sandboxset_keeper::receive::<ToCommand>(socket) {
            Ok((message, _)) => self.commands.control(index, &message),
            Err(FrameError::WouldBlock) => {}
            // The holder abandoned the command.
            Err(_) => self.commands.abandon(index),
        }
    }

    /// Serves every waiting request; false if the host is gone.
    fn host_spoke(&mut self) -> bool {
        loop {
            match sandboxset_keeper::receive::<ToInit>(&self.host) {
                Ok((request, fds)) => self.request(request, fds),
                Err(FrameError::WouldBlock) => return true,
                Err(_) => return false,
            }
        }
    }

    fn request(&mut self, request: ToInit, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let Some(reply) = fds.next() else { return };
        let result = match request {
            ToInit::Exec(exec) => return self.commands.start(*exec, reply, fds),
            ToInit::Connect => files::connect().map(Some),
            ToInit::OpenMounts => files::open_mounts().map(Some),
            ToInit::Open { path, directory } => files::open(&path, directory).map(Some),
            ToInit::Write { path, mode, parents } => {
                let Some(contents) = fds.next() else { return };
                return files::in_child(reply, || files::write(&path, mode, parents, &contents));
            }
            ToInit::Remove { path } => return files::in_child(reply, || files::remove(&path)),
            ToInit::Reset { scratch_mode } => {
                return reset::reset(&mut self.commands, scratch_mode, &reply);
            }
            ToInit::Stop => self.commands.stop_all().map(|()| None),
            ToInit::Continue => self.commands.continue_all().map(|()| None),
        };
        let _ = match result {
            Ok(Some(fd)) => sandboxset_keeper::send(&reply, &FromInit::Opened, &[fd.as_fd()]),
            Ok(None) => sandboxset_keeper::send(&reply, &FromInit::Done, &[]),
            Err(failure) => sandboxset_keeper::send(&reply, &FromInit::Failed(failure), &[]),
        };
    }
}

/// Gives the keeper what it needs to make sandboxes below this one. Answers where the fork server hears of them.
fn offer_forks(setup: &OwnedFd, runtime: &mut Runtime) -> Result<OwnedFd, News> {
    let step = |errno| News::Failed(failure("prepare to be forked", errno));
    let open = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, format!("/proc/self/ns/{name}"), flags, Mode::empty()).map_err(step)
    };
    let (user, pid) = (open("user")?, open("pid")?);
    let (keepers, servers) = crate::keeper::message_pair().map_err(step)?;
    let fds = [user.as_fd(), pid.as_fd(), keepers.as_fd()];
    sandboxset_keeper::send(setup, &News::Forkable, &fds)
        .map_err(|_| News::Failed(Failure { step: "prepare to be forked".into(), errno: 0 }))?;
    runtime.env.push(format!("{FORK_FD_VARIABLE}={FORK_FD}").into_bytes());
    Ok(servers)
}

fn namespaces_report() -> Vec<LayerReport> {
    ["user", "mount", "pid", "ipc", "uts", "cgroup", "net"]
        .map(|name| layer(&format!("namespace.{name}"), LayerStatus::Active, "own"))
        .into()
}

fn layer(name: &str, status: LayerStatus, detail: &str) -> LayerReport {
    LayerReport { name: name.to_owned(), status, detail: detail.to_owned() }
}

pub(crate) fn failure(step: &str, errno: Errno) -> Failure {
    Failure { step: step.to_owned(), errno: errno.raw_os_error() }
}
