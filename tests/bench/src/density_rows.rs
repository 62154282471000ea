//! The row of memory: what a sandbox costs that waits.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Config, SandboxSet, SandboxSpec};
use std::sync::Arc;

use crate::floor::{own_v1_cgroup, own_v2_cgroup};
use crate::linux_rows::{PATIENCE, Pace, close, text};
use crate::measure::{Failure, Samples};
use crate::report::{Row, Unit};

/// The row of [`density`].
pub(crate) const DENSITY: [&str; 1] = ["linux.density"];

/// How many sandboxes there are at once.
const SANDBOXES: usize = 200;
/// How long the kernel is left alone before a look, to free what it frees in the background.
const SETTLE: Duration = Duration::from_millis(1500);

/// Row `linux.density`: how much more memory is in use for each paused, idle sandbox of two hundred: its init, page
/// tables, namespaces, mounts, cgroups and file systems, and our own share in this process and in the keeper. It is the
/// machine's figure, so that whoever else allocates at the same time is counted too: a few rounds, and the median.
///
/// The floor is as many processes that wait, in the same kinds of namespaces and cgroups, each with an empty root.
pub(crate) fn density(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let rounds = if quick { 3 } else { 8 };
    let new_sets = || {
        let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).map_err(text)?;
        let config = Config { max_size: SANDBOXES, ..Config::default() };
        let set = SandboxSet::new(Arc::new(backend), SandboxSpec::default(), config).map_err(text)?;
        // The keeper is there already.
        set.prewarm(1, PATIENCE).map_err(text)?;
        Ok(vec![set])
    };
    let mut rows = memory_of_each(DENSITY[0], SANDBOXES, rounds, new_sets)?;
    let floor = floor(rounds);
    rows.iter_mut().for_each(|row| row.set_floor(floor.as_ref()));
    Ok(rows)
}

/// Samples of the floor, whose first round is not counted either.
fn floor(rounds: usize) -> Result<Samples, Failure> {
    let mut samples = Samples::new();
    for round in 0..rounds {
        let mut idle = Idle::start()?;
        std::thread::sleep(SETTLE);
        let before = used()?;
        idle.fill()?;
        std::thread::sleep(SETTLE);
        let each = used()?.saturating_sub(before) / SANDBOXES as u64;
        match idle.end() {
            Ok(()) if round > 0 => samples.record(Duration::from_nanos(each), 1),
            Ok(()) => {}
            Err(failure) => samples.fail(failure),
        }
    }
    Ok(samples)
}

/// The program of `density_floor.c`, with the cgroups that it makes others in; removed when dropped.
struct Idle {
    process: Child,
    program: PathBuf,
    cgroups: Vec<PathBuf>,
}

impl Idle {
    fn start() -> Result<Self, Failure> {
        let name = format!("sandboxset-bench-density-{}", std::process::id());
        let program = std::env::temp_dir().join(&name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/density_floor.c");
        let compiled =
            Command::new("cc").args(["-O2", "-static"]).arg(source).arg("-o").arg(&program).status();
        if !compiled.map_err(|error| format!("cc: {error}"))?.success() {
            return Err("the floor does not compile".into());
        }
        let v1 = ["memory", "pids", "cpu"].into_iter().filter_map(own_v1_cgroup);
        let bases: Vec<PathBuf> = std::iter::once(own_v2_cgroup().map_err(text)?).chain(v1).collect();
        let cgroups: Vec<PathBuf> = bases.iter().map(|base| base.join(&name)).collect();
        cgroups.iter().try_for_each(std::fs::create_dir).map_err(text)?;
        let mut command = Command::new(&program);
        command.arg(SANDBOXES.to_string()).args(&cgroups).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Idle { process: command.spawn().map_err(text)?, program, cgroups })
    }

    /// Has all of them made.
    fn fill(&mut self) -> Result<(), Failure> {
        let (Some(input), Some(output)) = (&mut self.process.stdin, &mut self.process.stdout) else {
            return Err("the floor has no pipes".into());
        };
        input.write_all(b"1").map_err(text)?;
        output.read_exact(&mut [0]).map_err(text)
    }

    /// Ends all of them. Fails if one was not what it should have been.
    fn end(mut self) -> Result<(), Failure> {
        drop(self.process.stdin.take());
        match self.process.wait().map_err(text)?.success() {
            true => Ok(()),
            false => Err("processes of the floor ended early".into()),
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // They die with it, if it could not end by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.program);
        for cgroup in &self.cgroups {
            for number in 0..SANDBOXES {
                let _ = std::fs::remove_dir(cgroup.join(number.to_string()));
            }
            let _ = std::fs::remove_dir(cgroup);
        }
    }
}

/// How much more memory is in use for each of so many idle sandboxes. Each round has sets of its own, of
/// which the first is filled; they are closed in their order.
pub(crate) fn memory_of_each(
    row: &'static str,
    sandboxes: usize,
    rounds: usize,
    new_sets: impl Fn() -> Result<Vec<SandboxSet>, Failure>,
) -> Result<Vec<Row>, Failure> {
    let mut samples = Samples::new();
    for round in 0..rounds {
        let sets = new_sets()?;
        let [set, ..] = &sets[..] else { return Err("no set to fill".into()) };
        let there = set.stats().idle;
        let each = more(sandboxes - there, || set.prewarm(sandboxes, PATIENCE * 6).map_err(text))?;
        let idle = set.stats().idle;
        if idle != sandboxes {
            samples.fail(format!("{idle} of {sandboxes} sandboxes are idle"));
        } else if round > 0 {
            // The first round is not counted: caches that the kernel keeps grow in it.
            samples.record(each, 1);
        }
        sets.iter().try_for_each(close)?;
    }
    Ok(vec![Row::new(row, Unit::Kibibytes, samples)])
}

/// How much more memory is in use for each of so many, after what makes them. It is a number of bytes, as a sample is one.
pub(crate) fn more<T>(count: usize, make: impl FnOnce() -> Result<T, Failure>) -> Result<Duration, Failure> {
    std::thread::sleep(SETTLE);
    let before = used()?;
    make()?;
    std::thread::sleep(SETTLE);
    Ok(Duration::from_nanos(used()?.saturating_sub(before) / count as u64))
}

/// What is in use, in bytes, by the kinds of `/proc/meminfo`. `MemAvailable` will not do: it does not count what each
/// processor keeps for itself of the memory that was freed last (`count` in `/proc/zoneinfo`, here some 80 MB), so that
/// who allocates next seems to cost as much less.
fn used() -> Result<u64, Failure> {
    const KINDS: [&str; 6] = ["AnonPages", "Shmem", "Slab", "KernelStack", "PageTables", "Percpu"];
    let text = std::fs::read_to_string("/proc/meminfo").map_err(text)?;
    let kibibytes = |kind: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
        let value = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        value.ok_or_else(|| format!("no {kind} in /proc/meminfo"))
    };
    KINDS.iter().map(|kind| kibibytes(kind)).sum::<Result<u64, Failure>>().map(|sum| sum * 1024)
}
