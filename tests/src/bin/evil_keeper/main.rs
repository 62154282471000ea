//! Stands where the keeper should, runs a real one, and puts itself between the host and some inits: see
//! `sandboxset_tests::evil`.
#![allow(clippy::unwrap_used, reason = "a test program")]

mod behave;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sandboxset_keeper::{CgroupPlan, FromKeeper, ToKeeper, receive, send};
use sandboxset_tests::evil::{Begin, Evil, KEEPER, SCRIPT, parse};

/// The ids of the creates whose inits are to be evil.
type Chosen = Arc<Mutex<HashSet<u64>>>;

/// Where a host puts its keeper's socket.
const HOST_SOCKET: i32 = 3;

fn main() {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let host = pidfd_getfd(&own, HOST_SOCKET, PidfdGetfdFlags::empty()).unwrap();
    let program = std::env::current_exe().unwrap();
    let dir = program.parent().unwrap();
    let (evil, begin) = parse(&std::fs::read_to_string(dir.join(SCRIPT)).unwrap()).unwrap();
    let (keeper, mut child) = start(&dir.join(KEEPER));
    let chosen = Chosen::default();
    let (from_host, to_keeper) = (host.try_clone().unwrap(), keeper.try_clone().unwrap());
    let choose = Arc::clone(&chosen);
    std::thread::spawn(move || {
        pass_requests(&from_host, &to_keeper, &choose, begin);
        // The host is gone, and so the keeper will go.
        let _ = rustix::net::shutdown(&to_keeper, Shutdown::Both);
    });
    pass_answers(&keeper, &host, &chosen, evil, begin);
    let _ = child.wait();
}

/// Starts the real keeper; answers the socket to it.
fn start(keeper: &Path) -> (OwnedFd, Child) {
    let (ours, theirs) = pair();
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" 3<&0 </dev/null"])
        .arg(keeper)
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    (ours, child)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

fn pass_requests(host: &OwnedFd, keeper: &OwnedFd, chosen: &Chosen, begin: Begin) {
    // The first of each backend, and where that matters its first fork.
    let mut firsts = HashSet::new();
    while let Ok((mut request, fds)) = receive::<ToKeeper>(host) {
        if let ToKeeper::Hello(hello) = &mut request
            && begin == Begin::WithoutCgroups
        {
            hello.cgroups = CgroupPlan::default();
        }
        if let ToKeeper::Create(create) = &request
            && firsts
                .insert((create.shells.backend, begin == Begin::BeforeHandover && create.parent.is_some()))
        {
            chosen.lock().unwrap().insert(create.id);
        }
        if send(keeper, &request, &borrowed(&fds)).is_err() {
            return;
        }
    }
}

fn pass_answers(keeper: &OwnedFd, host: &OwnedFd, chosen: &Chosen, evil: Evil, begin: Begin) {
    // What the host is told of only when it is gone.
    let mut held = HashMap::new();
    while let Ok((mut answer, mut fds)) = receive::<FromKeeper>(keeper) {
        if let FromKeeper::Removed { id, .. } = &answer
            && let Some(created) = held.remove(id)
        {
            (answer, fds) = created;
        } else if let FromKeeper::Created { id, .. } = answer
            && chosen.lock().unwrap().remove(&id)
        {
            if begin == Begin::BeforeHandover {
                held.insert(id, (answer, fds));
                send(keeper, &ToKeeper::Remove { id }, &[]).unwrap();
                continue;
            }
            let (ours, theirs) = pair();
            // A pidfd of the init comes first.
            let real = std::mem::replace(&mut fds[1], theirs);
            std::thread::spawn(move || behave::serve(evil, begin, ours, real));
        }
        if send(host, &answer, &borrowed(&fds)).is_err() {
            return;
        }
    }
}
