//! A host program that uses a sandbox set on several threads until it is killed, and says what it is about to do.
//!
//! `victim SEED [SCRATCH_BASE]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Acquire, Backend, Command, Config, ErrorCode, GetOptions, Result, SandboxRef, SandboxSet, SandboxSpec,
    ScratchDirs,
};
use sandboxset_keeper::Owner;
use sandboxset_tests::machine::Random;

const THREADS: u64 = 3;
const MAX_SIZE: usize = 4;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let seed: u64 = args.next().unwrap().to_str().unwrap().parse().unwrap();
    let scratch_dirs = args.next().map_or(ScratchDirs::Tmpfs, |base| ScratchDirs::Disk(base.into()));
    say(&format!("owner {}", Owner::current().unwrap()));

    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let new_set = move || {
        let config = Config { max_size: MAX_SIZE, scratch_dirs: scratch_dirs.clone(), ..Config::default() };
        SandboxSet::new(Arc::clone(&backend), SandboxSpec::default(), config).unwrap()
    };
    let current = RwLock::new(new_set());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let current = &current;
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_add(thread));
                loop {
                    let set = current.read().unwrap().clone();
                    tolerate(use_one(&set, &mut random));
                }
            });
        }
        let mut random = Random::new(seed.wrapping_add(THREADS));
        loop {
            std::thread::sleep(Duration::from_millis(20 + random.below(100)));
            let old = std::mem::replace(&mut *current.write().unwrap(), new_set());
            say("phase close");
            old.close(Duration::from_secs(1)).unwrap();
        }
    });
}

/// Takes one sandbox, works in it, and gives it back or destroys it.
fn use_one(set: &SandboxSet, random: &mut Random) -> Result<()> {
    let fresh = random.below(3) == 0;
    say(if fresh { "phase create" } else { "phase unpause" });
    let acquire = if fresh { Acquire::FreshOnly } else { Acquire::Any };
    let sandbox = set.get_or_create_unpaused(&GetOptions { acquire, ..GetOptions::default() })?;
    match random.below(3) {
        0 => exec(&sandbox, random)?,
        1 => files(&sandbox)?,
        _ => {}
    }
    if random.below(4) == 0 {
        say("phase destroy");
        sandbox.destroy("the victim wishes so")
    } else {
        say("phase pause");
        sandbox.put()
    }
}

fn exec(sandbox: &SandboxRef, random: &mut Random) -> Result<()> {
    say("phase exec");
    // Half of them leave a process in another session behind, which must not outlive the host either.
    let script = if random.below(2) == 0 { "sleep 0.02" } else { "setsid sleep 60 & sleep 0.01" };
    sandbox.exec(&Command::new(["sh", "-c", script])).map(drop)
}

fn files(sandbox: &SandboxRef) -> Result<()> {
    say("phase files");
    sandbox.write_file(Path::new("file"), &[7; 10_000], 0o600)?;
    assert_eq!(sandbox.read_file(Path::new("file"), 1 << 20)?, [7; 10_000]);
    sandbox.remove(Path::new("file"))
}

/// What a close meanwhile does to callers is expected; anything else ends the victim with a message.
fn tolerate(result: Result<()>) {
    let Err(error) = result else { return };
    let expected = [ErrorCode::Closed, ErrorCode::StaleRef, ErrorCode::SandboxDead];
    if !expected.contains(&error.code()) {
        say(&format!("error {error:?}"));
        std::process::exit(2);
    }
}

/// One write per line, so that the lines of several threads do not mix.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}
