//! What a host may send: any bytes at all, and requests that nobody would make. The keeper ends or answers, and leaves
//! nothing.
#![cfg(feature = "binary")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod host;

use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use sandboxset_keeper::*;

use crate::host::{Host, plain};

/// Ends only what hangs.
const HANG: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// What is sent to a keeper.
#[derive(Clone, Debug)]
enum Frame {
    /// A request, with so many descriptors of nothing.
    Request(Request, usize),
    /// A request of which a byte is another.
    Damaged(Request, usize, u8),
    /// The first so many bytes of a request.
    Cut(Request, usize),
    Noise(Vec<u8>),
    /// A message that lies in a file.
    InFile(Vec<u8>),
}

/// A [`ToKeeper`], which cannot be cloned.
#[derive(Clone, Debug)]
enum Request {
    Hello,
    Create(Box<Create>),
    Remove(u64),
    Bind(BindLate),
    Unbind(UnbindLate),
    CountShells(u64),
    Forget(u64),
}

impl Request {
    fn message(&self) -> ToKeeper {
        match self.clone() {
            Request::Hello => ToKeeper::Hello(Hello {
                version: VERSION,
                owner: String::new(),
                cgroups: CgroupPlan::default(),
            }),
            Request::Create(create) => ToKeeper::Create(create),
            Request::Remove(id) => ToKeeper::Remove { id },
            Request::Bind(bind) => ToKeeper::Bind(bind),
            Request::Unbind(unbind) => ToKeeper::Unbind(unbind),
            Request::CountShells(backend) => ToKeeper::CountShells { backend },
            Request::Forget(backend) => ToKeeper::Forget { backend },
        }
    }

    /// The bytes of it, if it is not so long that it lies in a file.
    fn bytes(&self) -> Vec<u8> {
        let (ours, theirs) = pair();
        send(&theirs, &self.message(), &[]).unwrap();
        let mut bytes = vec![0; MAX_INLINE];
        let (length, _) = recv(&ours, &mut bytes[..], RecvFlags::empty()).unwrap();
        bytes.truncate(length);
        bytes
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// Sends bytes as they are. The keeper may have gone.
fn send_raw(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    // An empty one would be the end of the connection.
    let bytes = if bytes.is_empty() { &[9] } else { bytes };
    let _ = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

impl Frame {
    fn send(&self, socket: &OwnedFd) {
        let null = std::fs::File::open("/dev/null").unwrap();
        match self {
            Frame::Request(request, fds) => {
                let fds = vec![null.as_fd(); *fds];
                let _ = sandboxset_keeper::send(socket, &request.message(), &fds);
            }
            Frame::Damaged(request, at, byte) => {
                let mut bytes = request.bytes();
                // Paths stay what they are: nothing must be made elsewhere.
                let at = at % 2;
                bytes[at] = *byte;
                send_raw(socket, &bytes, &[]);
            }
            Frame::Cut(request, length) => {
                let bytes = request.bytes();
                send_raw(socket, &bytes[..length % bytes.len()], &[]);
            }
            Frame::Noise(bytes) => send_raw(socket, bytes, &[]),
            Frame::InFile(bytes) => {
                send_raw(socket, &[1], &[sealed_memfd(bytes).unwrap().as_fd()]);
            }
        }
    }
}

/// The one test counts the descriptors of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A directory in which everything lies that a keeper may be told to make.
fn playground() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("host-frames-{}-{number}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn odd_path() -> BoxedStrategy<Bytes> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"/".to_vec()),
        Just(b"/../..".to_vec()),
        Just(b"relative".to_vec()),
        Just(b"/proc/self/fd/3".to_vec()),
        Just(vec![b'/'; 5000]),
        Just([b"/".as_slice(), &[b'x'; 300]].concat()),
        vec(any::<u8>(), 0..40),
        "/(usr|mnt|scratch|dev|tmp)/[a-z]{1,3}".prop_map(String::into_bytes),
    ]
    .boxed()
}

fn any_limits() -> BoxedStrategy<Limits> {
    let number =
        || prop_oneof![Just(0), Just(1), Just(1 << 20), Just(256 << 20), Just(u64::MAX), any::<u64>()];
    (
        number(),
        any::<u32>(),
        proptest::option::of(number()),
        number(),
        number(),
        number(),
        proptest::option::of(number()),
    )
        .prop_map(
            |(memory_bytes, pids, cpu_quota_us, scratch_bytes, scratch_inodes, open_files, file_bytes)| {
                Limits {
                    memory_bytes,
                    pids,
                    cpu_quota_us,
                    scratch_bytes,
                    scratch_inodes,
                    open_files,
                    file_bytes,
                }
            },
        )
        .boxed()
}

fn any_create(dir: PathBuf) -> BoxedStrategy<Create> {
    let below = move |name: &str| dir.join(name).as_os_str().as_bytes().to_vec();
    let root = prop_oneof![4 => Just(Root::Host), 1 => Just(Root::Directory(below("no-root")))];
    let scratch =
        prop_oneof![4 => Just(None), 1 => (0..3u8).prop_map(move |n| Some(below(&format!("scratch-{n}"))))];
    let limits = prop_oneof![2 => Just(plain(0).limits), 1 => any_limits()];
    let bind = (odd_path(), odd_path()).prop_map(|(source, target)| Bind { source, target, writable: false });
    let args = prop_oneof![Just(vec![b"/bin/true".to_vec()]), Just(Vec::new()), vec(odd_path(), 1..3)];
    let runtime = (args, vec(vec(any::<u8>(), 0..20), 0..3), any::<bool>())
        .prop_map(|(args, env, forks)| Runtime { args, env, forks });
    let shells =
        (any::<u64>(), proptest::option::of(0..3u32)).prop_map(|(backend, ready)| Shells { backend, ready });
    let deadline = prop_oneof![Just(0), Just(1), Just(5000), Just(u64::MAX)];
    let parent = prop_oneof![4 => Just(None), 1 => (0..4u64).prop_map(Some)];
    (0..4u64, root, scratch, limits, vec(bind, 0..2), proptest::option::of(runtime), shells, deadline, parent)
        .prop_map(|(id, root, disk_scratch, limits, binds, runtime, shells, deadline_ms, parent)| Create {
            parent_changed: id % 2 == 0,
            root,
            disk_scratch,
            limits,
            binds,
            runtime,
            shells,
            deadline_ms,
            parent,
            ..plain(id)
        })
        .boxed()
}

fn any_request(dir: PathBuf) -> BoxedStrategy<Request> {
    let ids = 0..4u64;
    let secret = (odd_path(), any::<u64>()).prop_map(|(name, length)| SecretFile { name, length });
    let bind = (ids.clone(), vec(secret, 0..2), vec((odd_path(), odd_path()), 0..2))
        .prop_map(|(id, secrets, binds)| BindLate { id, secrets, binds });
    let unbind = (ids.clone(), vec(odd_path(), 0..2), vec(odd_path(), 0..2))
        .prop_map(|(id, targets, made)| UnbindLate { id, targets, made });
    prop_oneof![
        8 => any_create(dir).prop_map(|create| Request::Create(Box::new(create))),
        4 => ids.prop_map(Request::Remove),
        2 => bind.prop_map(Request::Bind),
        2 => unbind.prop_map(Request::Unbind),
        2 => any::<u64>().prop_map(Request::CountShells),
        1 => any::<u64>().prop_map(Request::Forget),
    ]
    .boxed()
}

fn any_frame(dir: PathBuf) -> BoxedStrategy<Frame> {
    let request = move || any_request(dir.clone());
    prop_oneof![
        60 => (request(), 0..8usize).prop_map(|(request, fds)| Frame::Request(request, fds)),
        1 => (request(), any::<usize>(), any::<u8>()).prop_map(|(request, at, byte)| Frame::Damaged(request, at, byte)),
        1 => (request(), any::<usize>()).prop_map(|(request, length)| Frame::Cut(request, length)),
        1 => Just(Frame::Request(Request::Hello, 1)),
        1 => vec(any::<u8>(), 0..300).prop_map(Frame::Noise),
        1 => vec(any::<u8>(), 0..300).prop_map(Frame::InFile),
    ]
        .boxed()
}

/// Whether something comes, or the other end has closed, before everybody would call it a hang.
fn is_readable(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&HANG)).unwrap() > 0
}

/// How many keepers still made a sandbox, and how many broke off.
static SERVED: AtomicU32 = AtomicU32::new(0);
static BROKE_OFF: AtomicU32 = AtomicU32::new(0);

/// Sends the frames to a keeper. If it has not broken off it then makes a sandbox as ever, and it ends by itself when its
/// host is gone.
fn survives(frames: &[Frame]) -> Result<(), TestCaseError> {
    const HONEST: u64 = 0x5eed;
    let mut host = Host::start(CgroupPlan::default());
    for frame in frames {
        frame.send(&host.socket);
    }
    let mut broke_off = send(&host.socket, &ToKeeper::Create(Box::new(plain(HONEST))), &[]).is_err();
    let mut made = None;
    while !broke_off && made.is_none() {
        prop_assert!(is_readable(&host.socket), "it hangs");
        match receive::<FromKeeper>(&host.socket) {
            Ok((FromKeeper::Created { id: HONEST, .. }, fds)) => made = Some(fds),
            Ok((FromKeeper::CreateFailed { id: HONEST, failure }, _)) => {
                prop_assert!(false, "an honest create failed: {:?}", failure);
            }
            Ok(_) => {}
            Err(_) => broke_off = true,
        }
    }
    SERVED.fetch_add(u32::from(made.is_some()), Ordering::Relaxed);
    BROKE_OFF.fetch_add(u32::from(broke_off), Ordering::Relaxed);
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(&host.keeper),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    drop(host.socket);
    prop_assert!(is_readable(&pidfd), "it does not end");
    let status = host.keeper.wait().unwrap();
    // That its host broke the protocol, or not; no panic, and no signal.
    prop_assert!(matches!(status.code(), Some(0 | 1)), "{}", status);
    prop_assert!(!broke_off || status.code() == Some(1), "{}", status);
    Ok(())
}

#[test]
fn whatever_a_host_sends_its_keeper_answers_or_ends_and_leaves_nothing() {
    let _alone = alone();
    let dir = playground();
    let config = ProptestConfig {
        cases: 96,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(frames in vec(any_frame(dir.clone()), 1..12))| {
        survives(&frames)?;
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        prop_assert!(left.is_empty(), "{:?}", left);
    });
    std::fs::remove_dir(&dir).unwrap();
    let (served, broke_off) = (SERVED.load(Ordering::Relaxed), BROKE_OFF.load(Ordering::Relaxed));
    println!("{served} keepers served on, {broke_off} broke off");
    assert!(served > 0 && broke_off > 0, "all of one kind, so this shows little");
}

#[test]
fn no_bytes_of_a_host_do_more_than_fail() {
    let _alone = alone();
    let (ours, theirs) = pair();
    let null = std::fs::File::open("/dev/null").unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let dir = PathBuf::from(OsStr::from_bytes(b"/nowhere"));
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let before = open();
    proptest!(config, |(noise in vec(any::<u8>(), 1..300), request in any_request(dir), at in any::<usize>(),
                        byte in any::<u8>(), fds in 0..8usize)| {
        let mut damaged = request.bytes();
        let at = at % damaged.len();
        damaged[at] = byte;
        for bytes in [noise, damaged] {
            // What lies in a file comes with one; other descriptors are none that could be read to an end.
            send_raw(&theirs, &bytes, &vec![null.as_fd(); fds]);
            match receive::<ToKeeper>(&ours) {
                Ok((_, received)) => prop_assert!(received.len() <= fds),
                Err(FrameError::Malformed(_)) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    });
    // The control: an honest one among them is understood.
    send(&theirs, &ToKeeper::Remove { id: 7 }, &[]).unwrap();
    assert!(matches!(receive::<ToKeeper>(&ours), Ok((ToKeeper::Remove { id: 7 }, _))));
    assert_eq!(open(), before, "descriptors stay open");
}
