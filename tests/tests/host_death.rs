//! However the host process ends, nothing of it is left, within one second and without anybody's help.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sandboxset_tests::census::{Census, lines, temporary_dir};
use sandboxset_tests::chaos::{PHASES, Victim, VictimOptions, jitter};
use sandboxset_tests::machine::{Random, User, ordinary_user, percentiles, seed, setting};

/// What is promised.
const PROMISED: Duration = Duration::from_secs(1);
/// What fails the test: on a machine that is busy with other things only a hang or a leak takes this long.
const BOUND: Duration = Duration::from_secs(10);

/// The rounds compete for the machine with nothing of ours, so that the times mean something.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Rounds {
    name: &'static str,
    user: Option<User>,
    random: Random,
    times: Vec<Duration>,
}

impl Rounds {
    fn new(name: &'static str, user: Option<User>) -> Self {
        Rounds { name, user, random: Random::new(seed()), times: Vec::new() }
    }

    /// Kills one victim at a moment chosen by `moment`, and counts what is left of it until nothing is.
    fn round(&mut self, on_disk: bool, what: &str, moment: impl Fn(&mut Victim, &mut Random)) {
        let base = temporary_dir("host-death");
        if let Some(user) = self.user {
            std::os::unix::fs::chown(base.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let options = VictimOptions {
            program: Path::new(env!("CARGO_BIN_EXE_victim")),
            scratch_base: on_disk.then_some(base.path()),
            user: self.user,
            seed: self.random.number(),
        };
        let mut victim = Victim::start(&options);
        moment(&mut victim, &mut self.random);
        jitter(&mut self.random, Duration::from_millis(5));
        let (scope, killed) = victim.kill(false);
        let result = scope.settle(&Census::default(), BOUND);
        let elapsed = killed.elapsed();
        if let Err(leaks) = result {
            panic!("{}, {what}, seed {}: after {elapsed:?}\n{}", self.name, options.seed, lines(&leaks));
        }
        self.times.push(elapsed);
    }

    fn report(mut self) {
        let in_time = self.times.iter().filter(|time| **time <= PROMISED).count();
        let rounds = self.times.len();
        println!(
            "{}: {} clean-up; {in_time} of {rounds} within {PROMISED:?}; residue 0",
            self.name,
            percentiles(&mut self.times)
        );
    }
}

#[test]
fn killed_in_each_phase() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_HOST_DEATHS", 100);
    let mut all = Rounds::new("host killed in each phase", None);
    for round in 0..rounds {
        let phase = PHASES[round as usize % PHASES.len()];
        all.round(round % 3 == 0, phase, |victim, random| victim.await_phase(phase, 1 + random.below(5)));
    }
    all.report();
}

#[test]
fn killed_at_random_moments() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_HOST_DEATHS", 100);
    let mut all = Rounds::new("host killed at random moments", None);
    for round in 0..rounds {
        all.round(round % 3 == 0, "random", |victim, random| victim.await_lines(random.below(60)));
    }
    all.report();
}

#[test]
fn killed_as_an_ordinary_user() {
    let _alone = alone();
    let Some(user) = ordinary_user() else {
        println!("SKIPPED: only root can become another user; the other tests ran as this ordinary user");
        return;
    };
    let rounds = setting("SANDBOXSET_HOST_DEATHS_ORDINARY", 20);
    let mut all = Rounds::new("host of an ordinary user killed", Some(user));
    for round in 0..rounds {
        let phase = PHASES[round as usize % PHASES.len()];
        all.round(round % 3 == 0, phase, |victim, random| victim.await_phase(phase, 1 + random.below(5)));
    }
    all.report();
}

/// The negative control: while the victim lives, the same census does see it.
#[test]
fn a_living_host_has_something_to_leave() {
    let _alone = alone();
    let base = temporary_dir("host-death");
    let options = VictimOptions {
        program: Path::new(env!("CARGO_BIN_EXE_victim")),
        scratch_base: Some(base.path()),
        user: None,
        seed: seed(),
    };
    let mut victim = Victim::start(&options);
    victim.await_phase("exec", 2);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let census = victim.scope().take();
        // An init, and a keeper that is ordinary_user's child.
        if census.processes.len() >= 2 && !census.dirs.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "{census:?}");
    }
    assert_eq!(victim.scope().keepers().len(), 1);
    let (scope, _) = victim.kill(false);
    scope.assert_settles(&Census::default());
}
