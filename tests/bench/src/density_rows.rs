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

/// Row `linux.density`: how much less memory the machine has available for each paused, idle sandbox of two hundred:
/// its init, page tables, namespaces, mounts, cgroups and file systems, and our own share in this process and in the
/// keeper. It is the machine's figure, so that whoever else allocates at the same time is counted too: a few rounds,
/// and the median.
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

/// How much less memory the machine has available for each of so many idle sandboxes. Each round has sets of its own, of
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
        std::thread::sleep(SETTLE);
        let before = available()?;
        set.prewarm(sandboxes, PATIENCE * 6).map_err(text)?;
        std::thread::sleep(SETTLE);
        let used = before.saturating_sub(available()?) / (sandboxes - there) as u64;
        let idle = set.stats().idle;
        if idle != sandboxes {
            samples.fail(format!("{idle} of {sandboxes} sandboxes are idle"));
        } else if round > 0 {
            // The first round is not counted: caches that the kernel keeps grow in it. A sample is a number of bytes here.
            samples.record(Duration::from_nanos(used), 1);
        }
        sets.iter().try_for_each(close)?;
    }
    Ok(vec![Row::new(row, Unit::Kibibytes, samples)])
}

/// `MemAvailable`, in bytes.
fn available() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.map(|kibibytes| kibibytes * 1024).ok_or_else(|| "no MemAvailable in /proc/meminfo".into())
}
