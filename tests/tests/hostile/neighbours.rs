//! One sandbox uses up all it can get while others are served. What the others feel of it, `make bench` measures as
//! `linux.neighbour.*`; here it only counts that they are served, and that the bad one can be ended.

use std::path::Path;
use std::time::{Duration, Instant};

use sandboxset::{Command, EventKind, Limits, SandboxRef, SandboxSpec};
use sandboxset_tests::attacks::{ATTACKS, Attack, STARTED};
use sandboxset_tests::machine::percentiles;

use crate::support::{Guarded, HANG, run};

/// How many programs each neighbour runs beside each attack.
const EXECS: u32 = 20;
const NEIGHBOURS: usize = 2;
/// What is promised of the end of a sandbox; the machine may be busy with something else, so it is only printed.
const PROMISED: Duration = Duration::from_secs(1);

#[test]
fn neighbours_are_served_beside_every_attack_and_the_attacker_can_be_ended() {
    let limits = Limits { memory_bytes: 128 << 20, pids: 32, ..Limits::default() };
    let set = Guarded::new(SandboxSpec { limits, ..SandboxSpec::default() });
    let neighbours: Vec<SandboxRef> = (0..NEIGHBOURS).map(|_| set.get()).collect();
    let mut quiet = exec_all(&neighbours);
    println!("quiet: exec {}", percentiles(&mut quiet));
    for attack in &ATTACKS {
        let attacker = set.get();
        let process = start(&attacker, attack);
        let mut felt = exec_all(&neighbours);
        // The control: all the while it was at it.
        assert!(process.wait(Duration::ZERO, None).is_err(), "{} ended by itself", attack.name);
        let usage = attacker.usage().unwrap();
        let events = set.events(1000).unwrap();
        let id = attacker.id();
        let asked = Instant::now();
        attacker.destroy("it attacks").unwrap();
        let is_end = |kind: &EventKind| matches!(kind, EventKind::Destroy(_));
        while !events.next(HANG).is_some_and(|event| event.sandbox_id == id && is_end(&event.kind)) {
            assert!(asked.elapsed() < HANG, "{} is not ended", attack.name);
        }
        let ended = asked.elapsed();
        println!(
            "{}: neighbours' exec {}; ended in {ended:.1?}, within {PROMISED:?}: {}; it used {:.1?} of CPU",
            attack.name,
            percentiles(&mut felt),
            ended <= PROMISED,
            usage.cpu
        );
    }
    // They are none the worse for it.
    let mut after = exec_all(&neighbours);
    println!("after: exec {}", percentiles(&mut after));
    for neighbour in neighbours {
        neighbour.put().unwrap();
    }
}

/// All neighbours run programs at the same time, and each of them ends well.
fn exec_all(neighbours: &[SandboxRef]) -> Vec<Duration> {
    let exec = |neighbour: &SandboxRef| {
        let start = Instant::now();
        assert_eq!(run(neighbour, &["echo", "served"]).stdout.text(), "served\n");
        start.elapsed()
    };
    std::thread::scope(|threads| {
        let work = |neighbour| move || (0..EXECS).map(|_| exec(neighbour)).collect::<Vec<_>>();
        let running: Vec<_> = neighbours.iter().map(|neighbour| threads.spawn(work(neighbour))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn start(sandbox: &SandboxRef, attack: &Attack) -> sandboxset::Process {
    let mut command = Command::new(attack.args());
    command.timeout = HANG * 10;
    let process = sandbox.spawn(&command).unwrap();
    let until = Instant::now() + HANG;
    while sandbox.read_file(Path::new(STARTED), 1).is_err() {
        assert!(Instant::now() < until, "{} does not start", attack.name);
        std::thread::yield_now();
    }
    process
}
