//! The rows of new sandboxes: from nothing, from a shell that is ready, and many at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Acquire, Config, SandboxRef, SandboxSet, SandboxSpec};

use crate::floor::{Cgroup, Echo, NAMESPACES, clone_and_wait};
use crate::linux_rows::{
    PATIENCE, Pace, TOO_MANY_FAILURES, bubblewrap_program, close, end, exec_true, get, text,
};
use crate::measure::{Arrivals, Failure, Samples};
use crate::report::{Row, Unit};

/// The rows of [`create`], without their variants.
pub(crate) const CREATE: [&str; 4] =
    ["linux.create", "linux.create_first", "linux.create_shell", "linux.create_exec_true"];
/// The rows of [`burst`].
pub(crate) const BURST: [&str; 2] = ["linux.burst", "linux.burst.cold"];

/// How many sandboxes a burst asks for.
const BURST_SIZE: usize = 100;

/// A set that makes a new sandbox for every get, and its backend.
struct Maker {
    backend: LinuxBackend,
    set: SandboxSet,
}

impl Maker {
    /// With room for so many sandboxes and for those whose teardown is still going on.
    fn new(shells: Option<usize>, size: usize) -> Result<Self, Failure> {
        let options = LinuxOptions { shells, ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).map_err(text)?;
        let config = Config { max_size: size, ..Config::default() };
        let set = SandboxSet::new(Arc::new(backend.clone()), SandboxSpec::default(), config).map_err(text)?;
        Ok(Maker { backend, set })
    }

    fn get(&self) -> Result<SandboxRef, Failure> {
        get(&self.set, Acquire::FreshOnly)
    }

    /// Waits until so many shells are ready, and so many bare ones, and only then lets a measurement begin.
    fn await_shells(&self, ready: usize, bare: usize) -> Result<(), Failure> {
        // They are prepared at leisure, and a busy machine has little of it.
        let give_up_at = Instant::now() + 6 * PATIENCE;
        loop {
            let shells = self.backend.shells().map_err(text)?;
            if shells.ready >= ready && shells.bare >= bare {
                return Ok(());
            }
            if Instant::now() >= give_up_at {
                return Err(format!("there are never {ready} shells and {bare} bare ones: {shells:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Row `linux.create`: a sandbox from nothing, with no shell there to be taken, until it can be used. Row
/// `linux.create_first`: with the default options, the first of its kind; so only bare shells are there, which lack all
/// that a spec says. Row `linux.create_shell`: one like earlier ones, begun when a shell is ready. Row
/// `linux.create_exec_true`: the latter, and then until a program in it has ended, which is what bubblewrap does.
///
/// The floor of the first is the bare clone of a process with the same namespaces, that of the others a round trip to
/// another process.
pub(crate) fn create(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let (cold, ready) = (Maker::new(Some(0), 64)?, Maker::new(None, 64)?);
    end(&ready.set, &ready.get()?)?;
    let cgroup = Cgroup::new().map_err(text);
    let echo = Echo::start(1).map_err(text);
    let bwrap = bubblewrap_program()?;
    let mut arrivals = Arrivals::new();
    let [mut create, mut first, mut from_shell, mut exec] = std::array::from_fn(|_| Samples::new());
    let [mut clone_floor, mut trip_floor, mut peer] = std::array::from_fn(|_| Samples::new());
    for round in 0..pace.count(quick, 300) {
        // Back and forth, because what one leaves to be torn down (the kernel takes down network namespaces in the
        // background, one after the other) slows whoever comes next.
        for turn in 0..7 {
            let turn = if round % 2 == 0 { turn } else { 6 - turn };
            if turn > 3 {
                ready.await_shells(1, 1)?;
            }
            // What is prepared for one backend is for no other.
            let another = if turn == 4 { Some(Maker::new(None, 1)?) } else { None };
            pace.wait(&mut arrivals);
            match turn {
                0 => drop(cgroup.as_ref().map(|cgroup| {
                    clone_floor.time(|| clone_and_wait(cgroup, NAMESPACES).map_err(text));
                })),
                1 => drop(echo.as_ref().map(|echo| trip_floor.time(|| echo.round_trip().map_err(text)))),
                2 => drop(bwrap.as_ref().map(|bwrap| peer.time(|| bwrap.spawn_and_wait().map_err(text)))),
                3 => {
                    if let Some(sandbox) = create.time(|| cold.get()) {
                        end(&cold.set, &sandbox)?;
                    }
                }
                4 => {
                    let Some(another) = another else { continue };
                    if let Some(sandbox) = first.time(|| another.get()) {
                        end(&another.set, &sandbox)?;
                    }
                    close(&another.set)?;
                }
                5 => {
                    if let Some(sandbox) = from_shell.time(|| ready.get()) {
                        end(&ready.set, &sandbox)?;
                    }
                }
                _ => {
                    let created = exec.time(|| {
                        let sandbox = ready.get()?;
                        exec_true(&sandbox)?;
                        Ok(sandbox)
                    });
                    if let Some(sandbox) = created {
                        end(&ready.set, &sandbox)?;
                    }
                }
            }
        }
        if create.failures + first.failures + from_shell.failures + exec.failures > TOO_MANY_FAILURES {
            break;
        }
    }
    close(&cold.set)?;
    close(&ready.set)?;
    let clone_floor = cgroup.as_ref().map(|_| &clone_floor);
    let trip_floor = echo.as_ref().map(|_| &trip_floor);
    let samples = [(create, clone_floor), (first, trip_floor), (from_shell, trip_floor), (exec, trip_floor)];
    let row = |(family, (ours, floor)): (&str, (Samples, Result<&Samples, &Failure>))| {
        let mut row = Row::new(pace.row(family), Unit::Microseconds, ours);
        row.set_floor(floor);
        if bwrap.is_some() {
            row.add_peer("bwrap", &peer);
        }
        row
    };
    Ok(CREATE.into_iter().zip(samples).map(row).collect())
}

/// Rows `linux.burst` and `linux.burst.cold`: a hundred gets one after the other on a set that has nothing, until the
/// last sandbox can be used; the mean of one. With as many shells asked for, and begun when they are ready; and without
/// any. The floor is a hundred bare clones.
pub(crate) fn burst(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let (ready, cold) = (Maker::new(Some(BURST_SIZE), 2 * BURST_SIZE)?, Maker::new(Some(0), 2 * BURST_SIZE)?);
    let cgroup = Cgroup::new().map_err(text);
    let [mut shells, mut none, mut clones] = std::array::from_fn(|_| Samples::new());
    end(&ready.set, &ready.get()?)?;
    for _ in 0..if quick { 2 } else { 10 } {
        if let Ok(cgroup) = &cgroup {
            let start = Instant::now();
            for _ in 0..BURST_SIZE {
                clone_and_wait(cgroup, NAMESPACES).map_err(text)?;
            }
            clones.record(start.elapsed(), BURST_SIZE as u32);
        }
        ready.await_shells(BURST_SIZE, 0)?;
        take_burst(&ready, &mut shells)?;
        take_burst(&cold, &mut none)?;
    }
    close(&ready.set)?;
    close(&cold.set)?;
    let rows = BURST.into_iter().zip([shells, none]).map(|(name, ours)| {
        let mut row = Row::new(name, Unit::Microseconds, ours);
        row.set_floor(cgroup.as_ref().map(|_| &clones));
        row
    });
    Ok(rows.collect())
}

fn take_burst(maker: &Maker, samples: &mut Samples) -> Result<(), Failure> {
    let start = Instant::now();
    let taken: Result<Vec<SandboxRef>, Failure> = (0..BURST_SIZE).map(|_| maker.get()).collect();
    let elapsed = start.elapsed();
    match taken {
        Ok(taken) => {
            samples.record(elapsed, BURST_SIZE as u32);
            taken.iter().try_for_each(|sandbox| end(&maker.set, sandbox))
        }
        Err(failure) => {
            samples.fail(failure);
            Ok(())
        }
    }
}
