//! Letting the runtime of a forked sandbox in: a fork of the parent's fork server.
//!
//! A process of the server joins this sandbox through the *door*, a process that does nothing and in whose memory
//! there is nothing, because who may join through a process may also read its memory. It is there only until the
//! process that joined has given up its rights, so that the parent can come in once and then no more.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{Failure, Runtime};

use super::command::{open_log, open_null};
use super::failure;
use crate::seccomp::Filter;
use crate::sys::{self, ChildStack};
use crate::zygote::{self, Message, Received};

/// A program that does nothing: an ELF header, a program header and three instructions, which wait for a signal for
/// ever. All signals are blocked when it starts.
const DOOR: [u8; 129] = [
    0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 64 bits, little-endian
    2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0,
    0, // an executable for x86-64, and where it begins
    64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // where the program header is
    0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, // sizes, and how many there are
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, // one segment, readable and executable, of the whole file
    0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, // its address
    129, 0, 0, 0, 0, 0, 0, 0, 129, 0, 0, 0, 0, 0, 0, 0, // its size
    0, 16, 0, 0, 0, 0, 0, 0, // its alignment
    0xb8, 34, 0, 0, 0, // mov eax, the number of pause
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp to the beginning
];

/// Open while a process of the parent may join.
pub(super) struct Door {
    pidfd: OwnedFd,
    /// Between us and who joins.
    socket: OwnedFd,
}

/// A process of the parent that joined and gave up its rights. It forks when its server is told to.
pub(super) struct Forker {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
}

/// What it forked: the runtime of this sandbox, which waits to be told what to be.
pub(super) struct Child {
    pid: i32,
    socket: OwnedFd,
}

/// What a child is told when it is wanted, gathered while there is time for it.
pub(super) struct Begin {
    /// The arguments and the variables, and how many of each there are.
    strings: OwnedFd,
    args: u32,
    vars: u32,
    stdin: OwnedFd,
    log: OwnedFd,
    server: Option<OwnedFd>,
}

impl Door {
    /// Opens the door. Answers what the parent's server needs, too: a pidfd of the door, and a socket to us.
    pub(super) fn open() -> Result<(Self, OwnedFd, OwnedFd), Failure> {
        let step = |errno| failure("open a door for the parent", errno);
        let program = door_program().map_err(step)?;
        let (executed, executing) = pipe_with(PipeFlags::CLOEXEC).map_err(step)?;
        let mut refused = None;
        let pid = sys::clone_sharing_memory(None, &mut ChildStack::new(), || {
            refused = Some(sys::execute_file(&program));
        });
        let pid = pid.map_err(step)?;
        if let Some(errno) = refused {
            return Err(step(errno));
        }
        // Until it has the program's memory, who would join through it is refused as who would look into ours.
        drop(executing);
        rustix::io::retry_on_intr(|| rustix::io::read(&executed, &mut [0])).map_err(step)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(step)?;
        let (socket, theirs) = crate::keeper::message_pair().map_err(step)?;
        sockopt::set_socket_passcred(&socket, true).map_err(step)?;
        let handed = pidfd.try_clone().map_err(|_| step(Errno::MFILE))?;
        Ok((Door { pidfd, socket }, handed, theirs))
    }

    /// Waits for a process to join, has it restrict itself, makes sure that it has no rights left, and closes the
    /// door behind it.
    pub(super) fn admit(self, filter: Option<&Filter>, rules: Option<OwnedFd>) -> Result<Forker, Failure> {
        let pid = sender(&hear(&self.socket, zygote::JOINED)?)?;
        let target = Pid::from_raw(pid).ok_or_else(|| refuse("a process without a number"))?;
        let pidfd = rustix::process::pidfd_open(target, PidfdFlags::empty())
            .map_err(|errno| failure("watch the joined process", errno))?;
        give_limits(target)?;
        let program = filter.map(Filter::bytes).unwrap_or_default();
        let rules: Vec<_> = rules.iter().map(AsFd::as_fd).collect();
        let message = Message { kind: zygote::HARDEN, body: &program, ..Message::default() };
        zygote::send(&self.socket, &message, &rules).map_err(|error| broken(&error))?;
        let hardened = hear(&self.socket, zygote::HARDENED)?;
        if sender(&hardened)? != pid {
            return Err(refuse("another process than the one that joined"));
        }
        let Door { pidfd: door, socket } = self;
        let step = |errno| failure("close the door", errno);
        rustix::process::pidfd_send_signal(&door, Signal::KILL).map_err(step)?;
        rustix::process::waitid(WaitId::PidFd(door.as_fd()), WaitIdOptions::EXITED).map_err(step)?;
        check_processes(pid)?;
        check_rights(pid)?;
        Ok(Forker { pid, pidfd, socket })
    }
}

impl Begin {
    /// `server` is where the child will be asked for forks in its turn.
    pub(super) fn new(runtime: &Runtime, server: Option<OwnedFd>) -> Result<Self, Failure> {
        let strings = runtime.args.iter().chain(&runtime.env);
        let strings: Vec<u8> = strings.flat_map(|string| string.iter().copied().chain([0])).collect();
        Ok(Begin {
            strings: sandboxset_keeper::sealed_memfd(&strings).map_err(|error| broken(&error))?,
            args: runtime.args.len() as u32,
            vars: runtime.env.len() as u32,
            stdin: open_null()?,
            log: open_log()?,
            server,
        })
    }
}

impl Forker {
    /// Waits for the child, and makes sure that it is ours and has no more rights than who forked it.
    pub(super) fn adopt(self) -> Result<Child, Failure> {
        let pid = sender(&hear(&self.socket, zygote::FORKED)?)?;
        if pid == self.pid {
            return Err(refuse("no new process"));
        }
        // Not before who forked it has ended: it shares the memory of the parent's server, which would die with it if
        // the child used up the memory of this sandbox.
        rustix::event::poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], None)
            .map_err(|errno| failure("wait for the joined process", errno))?;
        if field(&check_rights(pid)?, "PPid:") != "1" {
            return Err(refuse("a process that is not the init's child"));
        }
        Ok(Child { pid, socket: self.socket })
    }
}

impl Child {
    /// Waits until there is something to be heard on `setup`. A child that ends meanwhile, or says something that
    /// nobody asked for, is none.
    pub(super) fn rest_until(&self, setup: &OwnedFd) -> Result<(), Failure> {
        let mut fds = [PollFd::new(setup, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
            .map_err(|errno| failure("wait with the child", errno))?;
        match fds[0].revents().is_empty() {
            false => Ok(()),
            true => Err(refuse("a child that did not wait")),
        }
    }

    /// Tells the child what to be. Answers its process id and where it says that it is ready.
    pub(super) fn begin(self, begin: &Begin) -> Result<(i32, OwnedFd), Failure> {
        let mut fds = vec![begin.strings.as_fd(), begin.stdin.as_fd(), begin.log.as_fd()];
        fds.extend(begin.server.as_ref().map(AsFd::as_fd));
        let message =
            Message { kind: zygote::BEGIN, number: begin.args, count: begin.vars, ..Message::default() };
        zygote::send(&self.socket, &message, &fds).map_err(|error| broken(&error))?;
        Ok((self.pid, self.socket))
    }
}

fn door_program() -> Result<OwnedFd, Errno> {
    // Linux before 6.3 does not know the flag, and executes without it.
    const EXECUTABLE: MemfdFlags = MemfdFlags::from_bits_retain(0x10);
    let make = |flags| rustix::fs::memfd_create(c"door", flags);
    let writable = match make(MemfdFlags::CLOEXEC | EXECUTABLE) {
        Err(Errno::INVAL) => make(MemfdFlags::CLOEXEC),
        other => other,
    }?;
    rustix::io::write(&writable, &DOOR)?;
    // What is open for writing cannot be executed.
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", writable.as_raw_fd());
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Hears one message of the expected kind.
fn hear(socket: &OwnedFd, expected: u32) -> Result<Received, Failure> {
    let received = zygote::receive(socket).map_err(|error| broken(&error))?;
    match received.kind {
        kind if kind == expected => Ok(received),
        zygote::FAILED => Err(received.failure()),
        _ => Err(refuse("an unexpected message")),
    }
}

fn sender(received: &Received) -> Result<i32, Failure> {
    received.pid.ok_or_else(|| refuse("a message from nobody"))
}

/// Gives a process the limits that we have. It came with those of its parent, which can only be lowered.
fn give_limits(pid: Pid) -> Result<(), Failure> {
    let resources = [
        (Resource::Core, "core size"),
        (Resource::Nofile, "open_files"),
        (Resource::Nproc, "pids"),
        (Resource::Memlock, "locked memory"),
        (Resource::Msgqueue, "message queues"),
        (Resource::Sigpending, "pending signals"),
        (Resource::Rtprio, "priority"),
        (Resource::Nice, "priority"),
        (Resource::Fsize, "file_bytes"),
        (Resource::As, "memory_bytes"),
    ];
    for (resource, name) in resources {
        let limit = rustix::process::getrlimit(resource);
        match rustix::process::prlimit(Some(pid), resource, limit) {
            Ok(_) => {}
            Err(Errno::PERM) => {
                let step = format!("fork: the limit {name} is higher than the parent's");
                return Err(Failure { step, errno: 0 });
            }
            Err(errno) => return Err(failure(&format!("limit {name} of the joined process"), errno)),
        }
    }
    Ok(())
}

/// Nobody is here but us and the one that joined.
fn check_processes(joined: i32) -> Result<(), Failure> {
    let entries = fs::read_dir("/proc").map_err(|_| refuse("no /proc"))?;
    let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    match pids.find(|pid| ![1, joined].contains(pid)) {
        Some(_) => Err(refuse("more than one process")),
        None => Ok(()),
    }
}

/// It is the sandbox's user, with one thread, no capability and no way to get one. Answers what the kernel says of it.
fn check_rights(pid: i32) -> Result<String, Failure> {
    const NONE: &str = "0000000000000000";
    const USER: &str = "1000 1000 1000 1000";
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| refuse("a process that ended"))?;
    for (name, expected) in [
        ("Threads:", "1"),
        ("Uid:", USER),
        ("Gid:", USER),
        ("CapInh:", NONE),
        ("CapPrm:", NONE),
        ("CapEff:", NONE),
        ("CapBnd:", NONE),
        ("CapAmb:", NONE),
        ("NoNewPrivs:", "1"),
    ] {
        let found = field(&status, name);
        if found != expected {
            return Err(refuse(&format!("a process with {name} {found}")));
        }
    }
    Ok(status)
}

/// A field of `/proc/PID/status`, its words separated by one blank.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refuse(what: &str) -> Failure {
    Failure { step: format!("fork: the parent sent {what}"), errno: 0 }
}

fn broken(error: &sandboxset_keeper::FrameError) -> Failure {
    Failure { step: format!("fork: the joining process: {error}"), errno: 0 }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    const DOORS: u32 = 4000;

    #[test]
    fn a_door_is_a_program_of_its_own_when_it_is_opened() {
        // Who looks into a process keeps it from executing for a moment. The next door has likely the next number.
        let next = AtomicI32::new(1);
        let look = || {
            loop {
                match next.load(Ordering::Relaxed) {
                    0 => return,
                    pid => drop(fs::read(format!("/proc/{pid}/environ"))),
                }
            }
        };
        let late = std::thread::scope(|threads| {
            (0..2).for_each(|_| drop(threads.spawn(look)));
            let late = (0..DOORS).map(|_| is_late(&next)).collect::<Option<Vec<bool>>>();
            next.store(0, Ordering::Relaxed);
            late
        });
        let late = late.map(|late| late.into_iter().filter(|late| *late).count());
        assert_eq!(late, Some(0), "of {DOORS}");
    }

    /// Opens a door, and tells whether it still is what opened it.
    fn is_late(next: &AtomicI32) -> Option<bool> {
        let (door, handed, _) = Door::open().ok()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", handed.as_raw_fd())).ok()?;
        let pid = field(&info, "Pid:");
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        next.store(pid.parse::<i32>().ok()? + 1, Ordering::Relaxed);
        rustix::process::pidfd_send_signal(&door.pidfd, Signal::KILL).ok()?;
        rustix::process::waitid(WaitId::PidFd(door.pidfd.as_fd()), WaitIdOptions::EXITED).ok()?;
        Some(!program.to_string_lossy().starts_with("/memfd:door"))
    }
}
