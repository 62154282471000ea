//! What an evil init does with the requests of the host.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use sandboxset_keeper::{Failure, FromInit, ToInit, receive, send};
use sandboxset_tests::evil::{Begin, Evil};

/// Later than anybody who asked with a short timeout wants to know.
const LATE: Duration = Duration::from_secs(2);
const LIE: FromInit =
    FromInit::Ended { exit_code: Some(0), signal: Some(9), cpu_us: u64::MAX, peak_memory_bytes: u64::MAX };

/// Answers the host's requests until nobody asks any more. The real init is at the other end of `real`.
pub(crate) fn serve(evil: Evil, begin: Begin, host: OwnedFd, real: OwnedFd) {
    let (mut real, mut kept) = (Some(real), Vec::new());
    let mut has_begun = begin != Begin::AtReset;
    loop {
        if evil == Evil::Deaf && has_begun {
            // Until this program ends.
            std::thread::park();
            continue;
        }
        let Ok((request, mut fds)) = receive::<ToInit>(&host) else { return };
        if fds.is_empty() {
            return;
        }
        has_begun |= matches!(request, ToInit::Reset { .. });
        if let Some(real) = real.as_ref().filter(|_| !has_begun) {
            let all: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            let _ = send(real, &request, &all);
            continue;
        }
        let reply = fds.remove(0);
        match evil {
            Evil::Deaf => kept.push((reply, fds)),
            Evil::Silent => kept.push((reply, fds)),
            Evil::Leaves => return,
            Evil::LeavesMidway => {
                say(&reply, &FromInit::Started);
                return;
            }
            // With its socket closed an init ends, and the sandbox with it.
            Evil::Dies => drop(real.take()),
            // Each in its own time, so that the next request is not held up by it.
            _ => drop(std::thread::spawn(move || answer(evil, &request, &reply, fds))),
        }
    }
}

fn answer(evil: Evil, request: &ToInit, reply: &OwnedFd, fds: Vec<OwnedFd>) {
    let is_exec = matches!(request, ToInit::Exec(_));
    match evil {
        Evil::Late => {
            std::thread::sleep(LATE);
            say(reply, if is_exec { &FromInit::Started } else { &FromInit::Done });
            std::thread::sleep(LATE);
            say(reply, &LIE);
        }
        Evil::Mistakes => say(reply, if is_exec { &FromInit::Opened } else { &FromInit::Started }),
        Evil::ForgetsDescriptors => say(reply, &FromInit::Opened),
        Evil::TooManyDescriptors => say_with(reply, &FromInit::Opened, &[reply.as_fd(); 7]),
        Evil::Pipe => {
            let (read, write) = std::io::pipe().unwrap();
            say_with(reply, &FromInit::Opened, &[read.as_fd()]);
            await_end(reply);
            drop(write);
        }
        Evil::DatagramSocket => {
            let kind = SocketType::DGRAM;
            let (ours, theirs) =
                rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
            say_with(reply, &FromInit::Opened, &[theirs.as_fd()]);
            await_end(reply);
            drop(ours);
        }
        Evil::HostDirectory => open_and_say(reply, "/etc"),
        Evil::HostMounts => open_and_say(reply, "/proc/self/ns/mnt"),
        Evil::LiesAboutEnds => {
            say(reply, &FromInit::Started);
            say(reply, &LIE);
            // Its streams stay open, as if it ran on.
            await_end(reply);
        }
        Evil::BeginsTwice => {
            say(reply, &FromInit::Started);
            say(reply, &FromInit::Started);
            await_end(reply);
        }
        Evil::FailsOddly => {
            let step = "\u{1b}]0;taken over\u{7}\r\n".repeat(500);
            say(reply, &FromInit::Failed(Failure { step, errno: i32::MIN }));
        }
        Evil::Floods => while send(reply, &FromInit::Started, &[]).is_ok() {},
        Evil::TooLong => raw(reply, &vec![0; 100 << 10], &[]),
        Evil::ByFile => raw(reply, &[1], &[sandboxset_keeper::sealed_memfd(&[4]).unwrap().as_fd()]),
        Evil::HalfFrames => raw(reply, &[0, 2, 1], &[]),
        Evil::Noise => raw(reply, &[0xa5; 333], &[]),
        Evil::EmptyFrames => {
            raw(reply, &[], &[]);
            await_end(reply);
        }
        Evil::AnswersTwice => {
            let file =
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let first = if is_exec { FromInit::Started } else { FromInit::Done };
            say(reply, &first);
            say_with(reply, &FromInit::Opened, &[file.as_fd()]);
            await_end(reply);
        }
        Evil::HangsUp | Evil::Silent | Evil::Deaf | Evil::Leaves | Evil::LeavesMidway | Evil::Dies => {}
    }
    drop(fds);
}

fn open_and_say(reply: &OwnedFd, path: &str) {
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    say_with(reply, &FromInit::Opened, &[fd.as_fd()]);
}

/// The host may be gone.
fn say(reply: &OwnedFd, message: &FromInit) {
    let _ = send(reply, message, &[]);
}

fn say_with(reply: &OwnedFd, message: &FromInit, fds: &[BorrowedFd<'_>]) {
    let _ = send(reply, message, fds);
}

/// Waits until the host has closed its end, whatever else it says.
fn await_end(reply: &OwnedFd) {
    while receive::<sandboxset_keeper::ToCommand>(reply).is_ok() {}
}

fn raw(reply: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    let _ = rustix::net::sendmsg(reply, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}
