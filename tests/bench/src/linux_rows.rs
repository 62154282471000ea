//! The rows of the Linux backend, each beside its raw floor and, where it is installed, bubblewrap.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Acquire, Backend, Bind, Command, Config, EventKind, GetOptions, IsolationReport, Reuse, Runtime,
    SandboxRef, SandboxSet, SandboxSpec,
};

use crate::echo_runtime::Channel;
use crate::floor::{Echo, Program};
use crate::measure::{Arrivals, Failure, Samples};
use crate::peers::{bubblewrap, bubblewrap_true};
use crate::report::{Row, Unit};

/// A directory for the pipes, removed when dropped.
struct ChannelDir(PathBuf);

impl ChannelDir {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sandboxset-bench-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let dir = ChannelDir(path);
        // The sandbox's user may be nobody of this host.
        rustix::fs::chmod(&dir.0, rustix::fs::Mode::from_raw_mode(0o711))?;
        Ok(dir)
    }
}

impl Drop for ChannelDir {
    fn drop(&mut self) {
        for name in ["request", "answer"] {
            let _ = std::fs::remove_file(self.0.join(name));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// How the calls of one measurement arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One after the other.
    Tight,
    /// 5 to 30 ms apart, as calls of a service do: tight loops hide what waits for the kernel's grace periods.
    Spaced,
}

/// The rows of [`warm`], without their variants.
pub(crate) const WARM: [&str; 3] = ["linux.get_warm", "linux.put", "linux.call_warm"];
/// The row of [`exec`].
pub(crate) const EXEC: [&str; 1] = ["linux.exec_true"];
/// The row of [`reset`].
pub(crate) const RESET: [&str; 1] = ["linux.reset"];

/// Nothing here takes that long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// After so many failures a measurement is given up, so that a broken host does not take hours.
pub(crate) const TOO_MANY_FAILURES: u64 = 10;

/// The floor once more with two processes in the cgroup, as a sandbox has its init and the runtime: each process
/// more costs the kernel itself.
const RAW_PAIR: &str = "raw_two_processes";

/// The raw floor of the warm rows: some processes in a cgroup.
struct Floor {
    echo: Result<Echo, Failure>,
    thaws: Samples,
    freezes: Samples,
}

impl Floor {
    /// Starts the processes and freezes them, as a sandbox is that waits.
    fn new(processes: usize) -> Self {
        let start = || {
            let echo = Echo::start(processes)?;
            echo.cgroup().freeze()?;
            Ok(echo)
        };
        let echo = start().map_err(|error: std::io::Error| error.to_string());
        Floor { echo, thaws: Samples::new(), freezes: Samples::new() }
    }

    fn measure(&mut self, pace: Pace, arrivals: &mut Arrivals) {
        let Ok(echo) = &self.echo else { return };
        pace.wait(arrivals);
        self.thaws.time(|| echo.cgroup().thaw().and_then(|()| echo.round_trip()).map_err(text));
        pace.wait(arrivals);
        self.freezes.time(|| echo.cgroup().freeze().map_err(text));
    }
}

impl Pace {
    fn suffix(self) -> &'static str {
        match self {
            Pace::Tight => "",
            Pace::Spaced => ".spaced",
        }
    }

    pub(crate) fn wait(self, arrivals: &mut Arrivals) {
        if self == Pace::Spaced {
            arrivals.wait();
        }
    }

    pub(crate) fn count(self, quick: bool, tight: usize) -> usize {
        let full = if self == Pace::Spaced { 200 } else { tight };
        if quick { full / 10 } else { full }
    }

    /// The name of the row of a family at this pace.
    pub(crate) fn row(self, family: &str) -> String {
        format!("{family}{}", self.suffix())
    }
}

/// What isolation the measured sandboxes have.
pub(crate) fn isolation() -> Result<IsolationReport, Failure> {
    Ok(LinuxBackend::new(LinuxOptions::default()).map_err(text)?.isolation_report())
}

/// Rows `linux.get_warm`, `linux.put` and `linux.call_warm`: from the get of a paused idle sandbox until the process
/// in it has answered a byte over a pipe that stays open, and the put that pauses it. `call_warm` is what a user writes:
/// get, call (which connects anew), put.
pub(crate) fn warm(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let dir = ChannelDir::new().map_err(text)?;
    let channel = Channel::make(&dir.0).map_err(text)?;
    let set = new_set(echo_spec(Some(&dir.0))?, 1)?;
    let called = new_set(echo_spec(None)?, 1)?;
    let sandbox = get(&set, Acquire::Any)?;
    channel.round_trip().map_err(text)?;
    put(&sandbox)?;
    check_that_put_pauses(&set)?;
    put(&get(&called, Acquire::Any)?)?;

    let (mut floor, mut pair) = (Floor::new(1), Floor::new(2));
    let mut arrivals = Arrivals::new();
    let [mut get_ours, mut put_ours, mut call_ours] = std::array::from_fn(|_| Samples::new());
    for _ in 0..pace.count(quick, 3000) {
        floor.measure(pace, &mut arrivals);
        pair.measure(pace, &mut arrivals);
        pace.wait(&mut arrivals);
        let answered = get_ours.time(|| {
            let sandbox = get(&set, Acquire::Any)?;
            channel.round_trip().map_err(text)?;
            Ok(sandbox)
        });
        pace.wait(&mut arrivals);
        if let Some(sandbox) = answered {
            put_ours.time(|| put(&sandbox));
        }
        pace.wait(&mut arrivals);
        call_ours.time(|| {
            let sandbox = get(&called, Acquire::Any)?;
            let answer = sandbox.call(b"x", PATIENCE, None).map_err(text)?;
            if answer == b"x" { Ok(()) } else { Err("the answer is another".into()) }
            // Dropping the ref puts it, which is part of the measured call.
        });
        if get_ours.failures + call_ours.failures > TOO_MANY_FAILURES {
            break;
        }
    }
    close(&set)?;
    close(&called)?;
    let mut get_row = Row::new(pace.row("linux.get_warm"), Unit::Microseconds, get_ours);
    get_row.set_floor(floor.echo.as_ref().map(|_| &floor.thaws));
    let mut put_row = Row::new(pace.row("linux.put"), Unit::Microseconds, put_ours);
    put_row.set_floor(floor.echo.as_ref().map(|_| &floor.freezes));
    if pair.echo.is_ok() {
        get_row.add_peer(RAW_PAIR, &pair.thaws);
        put_row.add_peer(RAW_PAIR, &pair.freezes);
    }
    let call_row = Row::new(pace.row("linux.call_warm"), Unit::Microseconds, call_ours);
    Ok(vec![get_row, put_row, call_row])
}

/// Row `linux.exec_true`: a program in a sandbox that is held, until its outcome is known. The floor is the same
/// program on the host.
pub(crate) fn exec(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let set = new_set(SandboxSpec::default(), 1)?;
    let sandbox = get(&set, Acquire::Any)?;
    let floor = Program::new(&["/usr/bin/true"]).map_err(text)?;
    let bwrap = bubblewrap_program()?;
    let mut arrivals = Arrivals::new();
    let [mut ours, mut on_host, mut peer] = std::array::from_fn(|_| Samples::new());
    for _ in 0..pace.count(quick, 500) {
        pace.wait(&mut arrivals);
        on_host.time(|| floor.spawn_and_wait().map_err(text));
        if let Some(bwrap) = &bwrap {
            pace.wait(&mut arrivals);
            peer.time(|| bwrap.spawn_and_wait().map_err(text));
        }
        pace.wait(&mut arrivals);
        ours.time(|| exec_true(&sandbox));
        if ours.failures > TOO_MANY_FAILURES {
            break;
        }
    }
    sandbox.destroy("measured").map_err(text)?;
    close(&set)?;
    let mut row = Row::new(pace.row("linux.exec_true"), Unit::Microseconds, ours);
    row.set_floor(Ok(&on_host));
    if bwrap.is_some() {
        row.add_peer("bwrap", &peer);
    }
    Ok(vec![row])
}

/// Row `linux.reset`: from the put of a sandbox, in which a program wrote a file, until the next holder has it and it is
/// verified to be as new. The peer is the same without a reset, which pauses and unpauses.
pub(crate) fn reset(pace: Pace, quick: bool) -> Result<Vec<Row>, Failure> {
    let set_of = |reuse| {
        let backend = LinuxBackend::new(LinuxOptions::default()).map_err(text)?;
        let config = Config { max_size: 1, reuse, ..Config::default() };
        SandboxSet::new(Arc::new(backend), SandboxSpec::default(), config).map_err(text)
    };
    let sets = [set_of(Reuse::Reset)?, set_of(Reuse::Keep)?];
    let mut samples = [Samples::new(), Samples::new()];
    let mut arrivals = Arrivals::new();
    let mut held = [get(&sets[0], Acquire::Any)?, get(&sets[1], Acquire::Any)?];
    for _ in 0..pace.count(quick, 300) {
        for index in 0..2 {
            let used = held[index].exec(&Command::new(["/usr/bin/touch", "/scratch/file"])).map_err(text)?;
            if !used.success() {
                return Err(format!("touch ended with {:?}", used.outcome));
            }
            pace.wait(&mut arrivals);
            let again = samples[index].time(|| {
                put(&held[index])?;
                get(&sets[index], Acquire::ReuseOnly)
            });
            held[index] = again.map_or_else(|| get(&sets[index], Acquire::Any), Ok)?;
        }
        if samples[0].failures + samples[1].failures > TOO_MANY_FAILURES {
            break;
        }
    }
    for (set, sandbox) in sets.iter().zip(&held) {
        sandbox.destroy("measured").map_err(text)?;
        close(set)?;
    }
    let [ours, keep] = samples;
    let mut row = Row::new(pace.row(RESET[0]), Unit::Microseconds, ours);
    row.add_peer("reuse_keep", &keep);
    Ok(vec![row])
}

pub(crate) fn new_set(spec: SandboxSpec, max_size: usize) -> Result<SandboxSet, Failure> {
    let backend = LinuxBackend::new(LinuxOptions::default()).map_err(text)?;
    let config = Config { max_size, ..Config::default() };
    SandboxSet::new(Arc::new(backend), spec, config).map_err(text)
}

/// Sandboxes whose runtime is this program, as an echo.
fn echo_spec(channel: Option<&Path>) -> Result<SandboxSpec, Failure> {
    let program = std::env::current_exe().map_err(text)?;
    let mut binds = vec![Bind { source: program, target: "/opt/echo".into(), writable: false }];
    let mut args = vec!["/opt/echo", crate::ECHO_RUNTIME];
    if let Some(channel) = channel {
        binds.push(Bind { source: channel.into(), target: "/opt/channel".into(), writable: true });
        args.push("/opt/channel");
    }
    Ok(SandboxSpec { binds, runtime: Some(Runtime::new(args)), ..SandboxSpec::default() })
}

/// A sandbox that is not paused by its put would make both warm rows look better than they are.
fn check_that_put_pauses(set: &SandboxSet) -> Result<(), Failure> {
    let events = set.events(64).map_err(text)?;
    let sandbox = get(set, Acquire::Any)?;
    put(&sandbox)?;
    let mut seen = Vec::new();
    while !seen.contains(&EventKind::Pause) {
        match events.next(PATIENCE) {
            Some(event) => seen.push(event.kind),
            None => return Err(format!("a put did not pause the sandbox: {seen:?}")),
        }
    }
    if !seen.contains(&EventKind::Unpause) {
        return Err(format!("a get did not unpause the sandbox: {seen:?}"));
    }
    Ok(())
}

pub(crate) fn get(set: &SandboxSet, acquire: Acquire) -> Result<SandboxRef, Failure> {
    let options = GetOptions { timeout: Some(PATIENCE), acquire, ..GetOptions::default() };
    set.get_or_create_unpaused(&options).map_err(text)
}

pub(crate) fn put(sandbox: &SandboxRef) -> Result<(), Failure> {
    sandbox.put().map_err(text)
}

pub(crate) fn exec_true(sandbox: &SandboxRef) -> Result<(), Failure> {
    let output = sandbox.exec(&Command::new(["/usr/bin/true"])).map_err(text)?;
    if output.success() { Ok(()) } else { Err(format!("true ended with {:?}", output.outcome)) }
}

pub(crate) fn close(set: &SandboxSet) -> Result<(), Failure> {
    let report = set.close(PATIENCE).map_err(text)?;
    if report.survivors.is_empty() { Ok(()) } else { Err(format!("left behind: {:?}", report.survivors)) }
}

/// Destroys a sandbox and waits until it is gone, so that no teardown of ours runs in the next measurement.
pub(crate) fn end(set: &SandboxSet, sandbox: &SandboxRef) -> Result<(), Failure> {
    const CAPACITY: usize = 64;
    let events = set.events(CAPACITY).map_err(text)?;
    sandbox.destroy("measured").map_err(text)?;
    let give_up_at = Instant::now() + PATIENCE;
    while let Some(event) = events.next(give_up_at.saturating_duration_since(Instant::now())) {
        if event.sandbox_id == sandbox.id() && matches!(event.kind, EventKind::Destroy(_)) {
            return Ok(());
        }
    }
    Err("a sandbox is never destroyed".into())
}

pub(crate) fn bubblewrap_program() -> Result<Option<Program>, Failure> {
    bubblewrap().map(|bwrap| bubblewrap_true(bwrap).map_err(text)).transpose()
}

pub(crate) fn text(error: impl std::fmt::Display) -> Failure {
    error.to_string()
}
