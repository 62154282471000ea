//! Removes a tree with next to nothing to do it with, and says how much its memory grew: `remover HOW FDS PATH`,
//! where HOW is `ours` or, as the control, `std`, the standard library's way.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

/// What a thread is given to stand on.
const STACK: usize = 64 << 10;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [how, descriptors, path] = &args[..] else { return ExitCode::from(2) };
    let limit = descriptors.to_str().unwrap().parse().ok();
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let before = peak_kib();
    let ours = how == "ours";
    let path = path.clone();
    let work = move || if ours { remove(Path::new(&path)) } else { std::fs::remove_dir_all(&path) };
    let result = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
    match result {
        Ok(()) => {
            println!("{}", peak_kib() - before);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    let parent = File::open(path.parent().unwrap())?;
    let name = CString::new(path.file_name().unwrap().as_bytes())?;
    Ok(sandboxset_keeper::remove_tree(parent.as_fd(), &name)?)
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}
