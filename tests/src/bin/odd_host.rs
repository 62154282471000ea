//! A host program that does what a host may do, though nobody would expect it: `odd_host WHAT`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::WaitOptions;
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, GetOptions, Outcome, OutputStream, SandboxRef, SandboxSet, SandboxSpec,
};
use sandboxset_keeper::Owner;

/// Ends only what hangs.
const HANG: Duration = Duration::from_secs(60);

fn main() {
    let what = std::env::args().nth(1).unwrap();
    println!("owner {}", Owner::current().unwrap());
    match what.as_str() {
        "counts" => counts(false),
        "reaps" => counts(true),
        "restarts" => restarts(),
        _ => leaves(&what),
    }
}

fn new_set() -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    SandboxSet::new(backend, SandboxSpec::default(), Config::default()).unwrap()
}

fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

fn sh(script: &str) -> Command {
    let mut command = Command::new(["sh", "-c", script]);
    command.timeout = HANG;
    command
}

/// Ends of commands are told right, whatever became of this process's own children, and none of ours is among them.
fn counts(reaps: bool) {
    if reaps {
        // It waits for any child at all, and must never get one that it did not start.
        std::thread::spawn(|| {
            loop {
                match rustix::process::wait(WaitOptions::empty()) {
                    Err(Errno::CHILD) => std::thread::yield_now(),
                    other => panic!("got a stranger: {other:?}"),
                }
            }
        });
    }
    let set = new_set();
    for round in 0..3 {
        let sandbox = get(&set);
        for code in 0..20 {
            let output = sandbox.exec(&sh(&format!("exit {code}"))).unwrap();
            assert_eq!(output.outcome, Outcome::Exited(code), "round {round}");
        }
        let output = sandbox.exec(&sh("kill -SEGV $$")).unwrap();
        assert_eq!(output.outcome, Outcome::Signaled(11), "round {round}");
        sandbox.destroy("done").unwrap();
    }
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop(set);
    println!("finished");
}

/// Several keepers live and end, and none of them stays behind as a zombie, though this process is who inherits
/// them when it is the first one of a container.
fn restarts() {
    for _ in 0..3 {
        let set = new_set();
        assert!(get(&set).exec(&sh("exit 0")).unwrap().success());
        set.close(HANG).unwrap();
        drop(set);
    }
    let until = std::time::Instant::now() + HANG;
    loop {
        // Left are this process and the one that is listed as having no parent here.
        let tasks = sandboxset_tests::kernel::tasks();
        let others: Vec<_> = tasks.values().filter(|task| task.pid != std::process::id()).collect();
        if others.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < until, "left: {others:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("finished as process {}", std::process::id());
}

/// Ends, or becomes something else, in the middle of everything.
fn leaves(how: &str) {
    let set = new_set();
    let (idle, busy, _held) = (get(&set), get(&set), get(&set));
    idle.put().unwrap();
    let process = busy.spawn(&sh("setsid sleep 600 & echo started; sleep 600")).unwrap();
    let mut buffer = [0; 16];
    assert!(process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap() > 0);
    println!("busy");
    match how {
        "returns" => {}
        "waits" => loop {
            std::thread::park();
        },
        "exits" => std::process::exit(0),
        "exits elsewhere" => {
            std::thread::spawn(|| std::process::exit(0)).join().unwrap();
        }
        "aborts" => std::process::abort(),
        "panics" => panic!("as it was told"),
        "becomes another program" => {
            panic!("{}", std::process::Command::new("sleep").arg("600").exec())
        }
        other => panic!("{other}"),
    }
}
