//! Forking from a parent: the example fork server in C, beside the same process when it is cloned plainly.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Acquire, Config, Runtime, SandboxRef, SandboxSet, SandboxSpec};

use crate::density_rows::memory_of_each;
use crate::floor::round_trip;
use crate::linux_rows::{PATIENCE, Pace, TOO_MANY_FAILURES, close, end, get, text};
use crate::measure::{Arrivals, Failure, Samples};
use crate::report::{Row, Unit};

/// The rows of [`fork_c`], without their variants.
pub(crate) const FORK_C: [&str; 2] = ["linux.fork_c", "linux.fork_c_cold"];
/// The rows of [`large`].
pub(crate) const LARGE: [&str; 2] = ["linux.fork_c_200mb", "linux.fork_c_200mb_huge"];
/// The row of [`rate`].
pub(crate) const RATE: [&str; 1] = ["linux.fork_rate.t2"];
/// The row of [`density`].
pub(crate) const DENSITY: [&str; 1] = ["linux.density_forked"];

/// What the server of most rows prepares, in MiB, and the large one.
const SMALL: &str = "8";
const HUGE: &str = "200";

/// How many forked sandboxes there are at once in the row of memory.
const CHILDREN: usize = 100;

/// A directory with the compiled programs, removed when dropped.
struct Programs(PathBuf);

impl Programs {
    fn compile() -> Result<Self, Failure> {
        let dir = tempdir();
        std::fs::create_dir(&dir).map_err(text)?;
        let programs = Programs(dir);
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let examples = crate_dir.join("../../ffi/examples");
        for (source, name) in
            [(examples.join("zygote.c"), "zygote"), (crate_dir.join("src/clone_floor.c"), "clone_floor")]
        {
            let status = Command::new("cc")
                .args(["-O2", "-static", "-Wno-unused-function", "-I"])
                .arg(crate_dir.join("../../include"))
                .arg("-I")
                .arg(&examples)
                .arg(source)
                .arg("-o")
                .arg(programs.0.join(name))
                .stdin(Stdio::null())
                .status()
                .map_err(|error| format!("cc: {error}"))?;
            if !status.success() {
                return Err(format!("{name} does not compile"));
            }
        }
        Ok(programs)
    }

    fn floor(&self, megabytes: &str) -> Command {
        let mut command = Command::new(self.0.join("clone_floor"));
        command.arg(megabytes);
        command
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a directory may be made that nobody else has.
pub(crate) fn tempdir() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sandboxset-bench-fork-{}-{number}", std::process::id()))
}

/// The floor: the process that is forked, cloned where it is; from the request until the child has answered.
pub(crate) struct Clones(Child);

impl Clones {
    /// Starts what clones itself for each byte that it reads.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let clones = Clones(command.spawn().map_err(text)?);
        clones.one()?;
        Ok(clones)
    }

    pub(crate) fn one(&self) -> Result<(), Failure> {
        let (Some(to), Some(from)) = (&self.0.stdin, &self.0.stdout) else { return Err("no pipes".into()) };
        round_trip(to.as_fd(), from.as_fd()).map_err(text)
    }
}

impl Drop for Clones {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A set whose sandboxes are forks, and the set of their parent.
pub(crate) struct Forks {
    backend: LinuxBackend,
    /// Whether forks are prepared before they are wanted.
    prepares: bool,
    parents: SandboxSet,
    pub(crate) set: SandboxSet,
}

impl Forks {
    /// With the example in C as the parent.
    fn new(
        programs: &Programs,
        shells: Option<usize>,
        megabytes: &str,
        huge_pages: bool,
    ) -> Result<Self, Failure> {
        let mut runtime = Runtime::new(["/code/zygote", megabytes]);
        runtime.forks = true;
        if huge_pages {
            runtime.env.push(("SANDBOXSET_ZYGOTE_HUGE_PAGES".into(), "1".into()));
        }
        let mut spec = SandboxSpec {
            code_dir: Some(programs.0.clone()),
            runtime: Some(runtime),
            ..SandboxSpec::default()
        };
        spec.limits.memory_bytes = 1 << 30;
        Forks::of(shells, spec, SandboxSpec::default())
    }

    /// With the parent warm.
    pub(crate) fn of(
        shells: Option<usize>,
        parent: SandboxSpec,
        child: SandboxSpec,
    ) -> Result<Self, Failure> {
        let options = LinuxOptions { shells, ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).map_err(text)?;
        let config = Config { max_size: 1, ..Config::default() };
        let parents = SandboxSet::new(Arc::new(backend.clone()), parent, config).map_err(text)?;
        // Room for the sandboxes whose teardown is still going on.
        let config = Config { max_size: 2 * CHILDREN, parent: Some(parents.clone()), ..Config::default() };
        let set = SandboxSet::new(Arc::new(backend.clone()), child, config).map_err(text)?;
        let forks = Forks { backend, prepares: shells != Some(0), parents, set };
        end(&forks.set, &forks.get()?)?;
        Ok(forks)
    }

    pub(crate) fn get(&self) -> Result<SandboxRef, Failure> {
        get(&self.set, Acquire::FreshOnly)
    }

    /// Waits until a fork is prepared, if one is to be, and only then lets a measurement begin.
    pub(crate) fn await_ready(&self) -> Result<(), Failure> {
        let give_up_at = Instant::now() + 6 * PATIENCE;
        while self.prepares && self.backend.shells().map_err(text)?.ready == 0 {
            if Instant::now() >= give_up_at {
                return Err("no fork is ever prepared".into());
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        close(&self.set)?;
        close(&self.parents)
    }

    /// The children, and then their parents.
    pub(crate) fn into_sets(self) -> Vec<SandboxSet> {
        vec![self.set, self.parents]
    }
}

/// Row `linux.fork_c`: from the get on a set without a sandbox until its fork of a warm parent has said that it is
/// ready. In the tight variant it begins when a fork waits for it, in the spaced one when it comes. Row
/// `linux.fork_c_cold`: the same with nothing prepared. The floor is a plain clone of the same process, until the child
/// has answered.
pub(crate) fn fork_c(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let programs = Programs::compile()?;
    let sets = [Forks::new(&programs, None, SMALL, false)?, Forks::new(&programs, Some(0), SMALL, false)?];
    compare(FORK_C, &sets, Forks::get, &Clones::start(&mut programs.floor(SMALL))?, pace, quick)
}

/// Measures what `take` takes of two sets of forks in turn, beside the floor of both. In the tight variant nothing is
/// measured while either set prepares.
pub(crate) fn compare(
    families: [&str; 2],
    sets: &[Forks; 2],
    take: impl Fn(&Forks) -> Result<SandboxRef, Failure>,
    clones: &Clones,
    pace: Pace,
    quick: bool,
) -> Result<Vec<Row>, Failure> {
    let mut arrivals = Arrivals::new();
    let mut floor = Samples::new();
    let mut ours: [Samples; 2] = std::array::from_fn(|_| Samples::new());
    for _ in 0..pace.count(quick, 300) {
        pace.wait(&mut arrivals);
        floor.time(|| clones.one());
        for (forks, samples) in sets.iter().zip(&mut ours) {
            if pace == Pace::Tight {
                sets.iter().try_for_each(Forks::await_ready)?;
            }
            pace.wait(&mut arrivals);
            if let Some(sandbox) = samples.time(|| take(forks)) {
                end(&forks.set, &sandbox)?;
            }
        }
        if ours.iter().map(|samples| samples.failures).sum::<u64>() > TOO_MANY_FAILURES {
            break;
        }
    }
    sets.iter().try_for_each(Forks::close)?;
    Ok(families.into_iter().zip(ours).map(|(family, ours)| row(pace.row(family), ours, &floor)).collect())
}

fn row(name: String, ours: Samples, floor: &Samples) -> Row {
    let mut row = Row::new(name, Unit::Microseconds, ours);
    row.set_floor(Ok::<_, &Failure>(floor));
    row
}

/// Rows `linux.fork_c_200mb` and `linux.fork_c_200mb_huge`: the same as `linux.fork_c` of a parent that has prepared
/// 200 MiB, without and with huge pages. The floor of both is a plain clone of it without.
pub(crate) fn large(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let programs = Programs::compile()?;
    let sets = [false, true].map(|huge_pages| Forks::new(&programs, None, HUGE, huge_pages));
    let [small_pages, huge_pages] = sets;
    let (small_pages, huge_pages) = (small_pages?, huge_pages?);
    let clones = Clones::start(&mut programs.floor(HUGE))?;
    let mut arrivals = Arrivals::new();
    let [mut small, mut huge, mut floor] = std::array::from_fn(|_| Samples::new());
    for _ in 0..pace.count(quick, 100) {
        pace.wait(&mut arrivals);
        floor.time(|| clones.one());
        for (forks, samples) in [(&small_pages, &mut small), (&huge_pages, &mut huge)] {
            forks.await_ready()?;
            if let Some(sandbox) = samples.time(|| forks.get()) {
                end(&forks.set, &sandbox)?;
            }
        }
    }
    small_pages.close()?;
    huge_pages.close()?;
    Ok(LARGE
        .into_iter()
        .zip([small, huge])
        .map(|(family, ours)| row(pace.row(family), ours, &floor))
        .collect())
}

/// Row `linux.fork_rate.t2`: how long one fork takes on average while two threads fork and destroy as fast as they can,
/// which is more than can be prepared; a million divided by it is the forks per second. The floor is the mean time of as
/// many plain clones, one after the other, each until it has ended.
pub(crate) fn rate(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    const THREADS: usize = 2;
    let per_thread = if quick { 20 } else { 100 };
    let programs = Programs::compile()?;
    let forks = Forks::new(&programs, None, SMALL, false)?;
    let clones = Clones::start(&mut programs.floor(SMALL))?;
    let [mut ours, mut floor] = std::array::from_fn(|_| Samples::new());
    for _ in 0..if quick { 2 } else { 10 } {
        let all = (THREADS * per_thread) as u32;
        let start = Instant::now();
        (0..all).try_for_each(|_| clones.one())?;
        floor.record(start.elapsed(), all);
        let start = Instant::now();
        let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let one = || (0..per_thread).try_for_each(|_| forks.get()?.destroy("measured").map_err(text));
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err("a panic".into()))).collect()
        });
        match results.into_iter().collect::<Result<(), Failure>>() {
            Ok(()) => ours.record(start.elapsed(), all),
            Err(failure) => ours.fail(failure),
        }
    }
    forks.close()?;
    let mut row = Row::new(RATE[0], Unit::Microseconds, ours);
    row.set_floor(Ok::<_, &Failure>(&floor));
    Ok(vec![row])
}

/// Row `linux.density_forked`: how much more memory is in use for each paused, idle fork of a hundred, as in
/// `linux.density`; what they share with their parent is there once, and not counted.
pub(crate) fn density(_: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let programs = Programs::compile()?;
    let new_sets = || Ok(Forks::new(&programs, Some(0), SMALL, false)?.into_sets());
    memory_of_each(DENSITY[0], CHILDREN, if quick { 3 } else { 6 }, new_sets)
}
