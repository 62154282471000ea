//! Using up what belongs to all: each has a number that must not be reached.

use std::fs;
use std::io::Write;
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
