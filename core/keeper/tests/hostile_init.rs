//! What a hostile init may send: frames that are random, broken, too long, or carry descriptors that nobody asked for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use sandboxset_keeper::*;

const FRAMES: u64 = 20_000;

/// Held by each test, because one of them counts the descriptors of the process, which are those of the other too.
static ALONE: Mutex<()> = Mutex::new(());

/// Repeatable randomness: splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// Sends bytes as they are, with so many descriptors.
fn send_raw(socket: &OwnedFd, bytes: &[u8], fds: usize) {
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds: Vec<BorrowedFd<'_>> = std::iter::repeat_n(null.as_fd(), fds).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Honest messages to start from.
fn honest() -> Vec<Vec<u8>> {
    let failure = Failure { step: "do something".into(), errno: 5 };
    [FromInit::Done, FromInit::Opened, FromInit::Failed(failure)]
        .iter()
        .map(|message| {
            let (ours, theirs) = pair();
            send(&theirs, message, &[]).unwrap();
            let mut bytes = vec![0; 64 << 10];
            let (length, _) =
                rustix::net::recv(&ours, &mut bytes[..], rustix::net::RecvFlags::empty()).unwrap();
            bytes.truncate(length);
            bytes
        })
        .collect()
}

#[test]
fn no_frame_of_an_init_does_more_than_fail() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut state =
        u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {state}");
    let (honest, (ours, theirs)) = (honest(), pair());
    let before = open_descriptors();
    let (mut accepted, mut refused) = (0u64, 0u64);
    for _ in 0..FRAMES {
        let random = next(&mut state);
        let mut bytes = match random % 4 {
            // Noise of every length, some with the first byte of a frame.
            0 => (0..random % 300).map(|_| next(&mut state) as u8).collect(),
            1 => [vec![0], (0..random % 64).map(|_| next(&mut state) as u8).collect()].concat(),
            // A length that promises the rest of the memory.
            2 => [vec![0, (random >> 8) as u8 % 8], vec![0xff; 9], vec![0x7f; 3]].concat(),
            _ => honest[(random >> 8) as usize % honest.len()].clone(),
        };
        if random % 4 == 3 {
            for _ in 0..(random >> 16) % 3 {
                let at = next(&mut state) as usize % bytes.len();
                bytes[at] = next(&mut state) as u8;
            }
        }
        // An empty datagram is the end of the connection to a reader.
        bytes.extend(bytes.is_empty().then_some(9));
        send_raw(&theirs, &bytes, (random >> 32) as usize % 12);
        match receive_untrusted::<FromInit>(&ours, 1) {
            Ok((_, fds)) => {
                assert!(fds.len() <= 1);
                accepted += 1;
            }
            Err(FrameError::Malformed(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // The control: an honest one among them is understood.
    send(&theirs, &FromInit::Done, &[]).unwrap();
    assert!(matches!(receive_untrusted::<FromInit>(&ours, 1), Ok((FromInit::Done, _))));
    println!("{FRAMES} frames: {accepted} accepted, {refused} refused");
    assert!(accepted > 0 && refused > FRAMES / 2);
    assert_eq!(open_descriptors(), before, "descriptors that nobody asked for stay open");
}

/// What is too long is not read in part, and a message that lies elsewhere is not fetched for an init.
#[test]
fn long_frames_and_memfds_of_an_init_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, theirs) = pair();
    send_raw(&theirs, &vec![0; 100 << 10], 0);
    assert!(matches!(receive_untrusted::<FromInit>(&ours, 1), Err(FrameError::Malformed(_))));
    send_raw(&theirs, &[1], 1);
    assert!(matches!(receive_untrusted::<FromInit>(&ours, 1), Err(FrameError::Malformed(_))));
    send(&theirs, &FromInit::Done, &[]).unwrap();
    assert!(receive_untrusted::<FromInit>(&ours, 0).is_ok());
}
