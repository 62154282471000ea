//! The row of memory: what a sandbox costs that waits.

use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Config, SandboxSet, SandboxSpec};
use std::sync::Arc;

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
pub(crate) fn density(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let new_sets = || {
        let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).map_err(text)?;
        let config = Config { max_size: SANDBOXES, ..Config::default() };
        let set = SandboxSet::new(Arc::new(backend), SandboxSpec::default(), config).map_err(text)?;
        // The keeper is there already.
        set.prewarm(1, PATIENCE).map_err(text)?;
        Ok(vec![set])
    };
    memory_of_each(DENSITY[0], SANDBOXES, if quick { 3 } else { 8 }, new_sets)
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
