//! Using up what belongs to all: each has a number that must not be reached.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::{address, call, fork, map_and_touch, wait};
use crate::{Verdict, argument, number};

/// `fork-bomb LIMIT`: so many children at once are too many.
pub(crate) fn fork_bomb(arguments: &[String]) -> Verdict {
    let (limit, mut children) = (number(arguments, 0), Vec::new());
    while children.len() < limit {
        match fork() {
            Ok(None) => loop {
                let _ = call(libc::SYS_ppoll, &[0, 0, 0, 0, 0]);
            },
            Ok(Some(child)) => children.push(child),
            Err(errno) => {
                println!("refused: {errno} after {}", children.len());
                break;
            }
        }
    }
    for &child in &children {
        let _ = call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]);
        wait(child);
    }
    Verdict::holds(&format!("{} of {limit} children", children.len()), children.len() < limit)
}

/// `memory MEBIBYTES`: so much memory is too much. Whoever gets that far has escaped; who is killed for it has not.
pub(crate) fn memory(arguments: &[String]) -> Verdict {
    for mebibyte in 0..number(arguments, 0) {
        if let Err(errno) = map_and_touch(1 << 20) {
            println!("refused: {errno} after {mebibyte} MiB");
            return Verdict::Blocked;
        }
    }
    Verdict::holds("all the memory", false)
}

/// `descriptors LIMIT`: so many descriptors are too many, also after raising what may be raised.
pub(crate) fn descriptors(arguments: &[String]) -> Verdict {
    let limit = number(arguments, 0);
    let mut wanted = [limit as u64 + 16; 2];
    for hard in [wanted[1], 1024] {
        wanted[1] = hard;
        wanted[0] = wanted[0].min(hard);
        let set = call(libc::SYS_prlimit64, &[0, libc::RLIMIT_NOFILE as usize, address(&wanted), 0]);
        println!("limit {wanted:?}: {set:?}");
        if set.is_ok() {
            break;
        }
    }
    let mut open = 0;
    while open < limit && call(libc::SYS_dup, &[1]).is_ok() {
        open += 1;
    }
    Verdict::holds(&format!("{open} of {limit} descriptors"), open < limit)
}

/// `tmpfs-bytes BYTES DIR…`: so many bytes are too many.
pub(crate) fn tmpfs_bytes(arguments: &[String]) -> Verdict {
    let limit = number(arguments, 0);
    Verdict::worst(arguments[1..].iter().map(|dir| {
        let path = Path::new(dir).join("probe-bytes");
        let mut written = 0;
        if let Ok(mut file) = fs::File::create(&path) {
            while written < limit && file.write_all(&[7; 65536]).is_ok() {
                written += 65536;
            }
        }
        let _ = fs::remove_file(&path);
        Verdict::holds(&format!("{written} of {limit} bytes in {dir}"), written < limit)
    }))
}

/// `tmpfs-inodes COUNT DIR…`: so many files are too many.
pub(crate) fn tmpfs_inodes(arguments: &[String]) -> Verdict {
    let limit = number(arguments, 0);
    Verdict::worst(arguments[1..].iter().map(|dir| {
        let name = |index: usize| Path::new(dir).join(format!("probe-{index}"));
        let made = (0..limit).take_while(|&index| fs::File::create(name(index)).is_ok()).count();
        for index in 0..made {
            let _ = fs::remove_file(name(index));
        }
        Verdict::holds(&format!("{made} of {limit} files in {}", argument(arguments, 1)), made < limit)
    }))
}

/// `ptys LIMIT`: so many terminals are too many.
pub(crate) fn ptys(arguments: &[String]) -> Verdict {
    let (limit, path) = (number(arguments, 0), c"/dev/ptmx".to_bytes_with_nul());
    let flags = (libc::O_RDWR | libc::O_NOCTTY) as usize;
    let open = || call(libc::SYS_openat, &[libc::AT_FDCWD as usize, address(path), flags]);
    let count = (0..limit).take_while(|_| open().is_ok()).count();
    Verdict::holds(&format!("{count} of {limit} terminals"), count < limit)
}

/// `inotify-instances LIMIT`: so many are too many.
pub(crate) fn inotify_instances(arguments: &[String]) -> Verdict {
    let limit = number(arguments, 0);
    let count = instances(limit).len();
    Verdict::holds(&format!("{count} of {limit} instances"), count < limit)
}

/// `inotify-watches LIMIT DIR`: so many watches on what is in a directory are too many, however many instances share
/// them.
pub(crate) fn inotify_watches(arguments: &[String]) -> Verdict {
    /// Few enough instances to be had.
    const INSTANCES: usize = 7;
    let limit = number(arguments, 0);
    let mut paths = vec![Path::new(argument(arguments, 1)).to_owned()];
    let mut next = 0;
    while paths.len() <= 2 * limit / INSTANCES && next < paths.len() {
        paths.extend(fs::read_dir(&paths[next]).into_iter().flatten().flatten().map(|entry| entry.path()));
        next += 1;
    }
    let mut count = 0;
    for queue in instances(INSTANCES) {
        let mut last = 0;
        for path in &paths {
            let path = [path.as_os_str().as_bytes(), b"\0"].concat();
            let events = (libc::IN_OPEN | libc::IN_DONT_FOLLOW) as usize;
            match call(libc::SYS_inotify_add_watch, &[queue as usize, address(&*path), events]) {
                // What is there under two names gets the number that it has already.
                Ok(watch) if watch > last => (last, count) = (watch, count + 1),
                Err(libc::ENOSPC) => {
                    return Verdict::holds(&format!("{count} of {limit} watches"), count < limit);
                }
                _ => {}
            }
        }
    }
    if count < limit {
        println!("only {count} watches could be tried");
        return Verdict::NotApplicable;
    }
    Verdict::holds(&format!("{count} of {limit} watches"), false)
}

fn instances(limit: usize) -> Vec<i64> {
    (0..limit).map_while(|_| call(libc::SYS_inotify_init1, &[0]).ok()).collect()
}

/// `queues LIMIT`: so many message queues of the usual size are too many.
pub(crate) fn queues(arguments: &[String]) -> Verdict {
    let limit = number(arguments, 0);
    // struct mq_attr: flags, messages, bytes of each; the rest is the kernel's.
    let attributes = [0i64, 10, 8192, 0, 0, 0, 0, 0];
    let flags = (libc::O_CREAT | libc::O_EXCL | libc::O_RDWR) as usize;
    let mut count = 0;
    while count < limit {
        let name = format!("probe-{}-{count}\0", std::process::id());
        let opened = call(libc::SYS_mq_open, &[address(name.as_bytes()), flags, 0o600, address(&attributes)]);
        // It lives as long as its descriptor does.
        let _ = call(libc::SYS_mq_unlink, &[address(name.as_bytes())]);
        if let Err(errno) = opened {
            println!("refused: {errno}");
            break;
        }
        count += 1;
    }
    Verdict::holds(&format!("{count} of {limit} queues"), count < limit)
}
