//! What every host process tries in its world, and must find as the table says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions, doctor};
use sandboxset::{
    Backend, BackendProcess, BackendSandbox, Command, CreateRequest, ErrorCode, LayerStatus, Limits, Outcome,
    Output, OutputStream, SandboxId, SandboxSpec, ScratchDirs,
};
use sandboxset_tests::census::{Census, Scope};
use sandboxset_tests::worlds::{Actor, Means, World};

use crate::deaths;

/// Long enough that only a hang reaches it, in a machine that is emulated.
pub(crate) const HANG: Duration = Duration::from_secs(60);
/// What counts as silence. A process that runs speaks every 5 ms; one that does not get to it for so long would only
/// be taken for a paused one too early.
const SILENCE: Duration = Duration::from_millis(300);
/// More than it takes to read what was said before a pause.
const READS: usize = 20;
const PIDS: u32 = 12;

/// A host process.
pub(crate) struct Host {
    pub(crate) actor: &'static Actor,
    pub(crate) backend: LinuxBackend,
    pub(crate) scope: Scope,
    before: Census,
    /// In which cgroups it was born.
    membership: String,
}

/// Goes through all checks, whether or not those before it held.
pub(crate) fn run(world: &str, actor: &str) {
    let scope = Scope::own();
    let before = scope.take();
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let mut host =
        Host { actor: World::named(world).actor(actor), backend, scope, before, membership: membership() };
    for name in host.actor.checks {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check(&mut host, name)));
        let result = if result.is_ok() { "ok" } else { "FAILED" };
        println!("RESULT {actor} {name} {result} {} ms", started.elapsed().as_millis());
    }
}

fn check(host: &mut Host, name: &str) {
    match name {
        "report" => report(host),
        "doctor" => tell(host),
        "exec" => exec(host),
        "memory" => memory(host),
        "pids" => pids(host),
        "cpu" => cpu(host),
        "kill_bomb" => kill_bomb(host),
        "pause" => pause(host),
        "reset" => reset(host),
        "destroy_bomb" => destroy_bomb(host),
        "destroy_paused" => destroy_paused(host),
        "keeper_killed" => deaths::keeper_killed(host),
        "host_killed" => deaths::host_killed(host),
        "host_and_keeper_killed" => deaths::host_and_keeper_killed(host),
        "nothing_moved" => assert_eq!(membership(), host.membership),
        "nothing_left" => nothing_left(host),
        _ => panic!("there is no check {name}"),
    }
}

/// A sandbox with these limits.
pub(crate) fn create(backend: &LinuxBackend, limits: Limits) -> Box<dyn BackendSandbox> {
    let request = CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec { limits, ..SandboxSpec::default() }),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + HANG,
    };
    backend.create(&request).unwrap()
}

pub(crate) fn limits() -> Limits {
    Limits { pids: PIDS, ..Limits::default() }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(args);
    command.timeout = HANG;
    command
}

fn exec_in(sandbox: &dyn BackendSandbox, args: &[&str]) -> Output {
    sandbox.exec(&command(args)).unwrap()
}

/// What a command said, which is one number.
fn number(output: &Output) -> u64 {
    assert_eq!(output.outcome, Outcome::Exited(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout.bytes).trim().parse().unwrap()
}

fn membership() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap()
}

/// The report says by what means each thing is done, before the first sandbox and after it.
fn report(host: &mut Host) {
    let actor = host.actor;
    let expect = |when: &str, backend: &LinuxBackend| {
        let report = backend.isolation_report();
        for (name, means) in [
            ("cgroup.freeze", actor.freeze),
            ("memory", actor.memory),
            ("pids", actor.pids),
            ("cpu", actor.cpu),
        ] {
            let layer = report.layer(name).unwrap();
            let status = match means {
                Means::V2 | Means::V1 => LayerStatus::Active,
                Means::Weaker if name == "cpu" => LayerStatus::Missing,
                Means::Weaker => LayerStatus::Degraded,
            };
            assert_eq!(layer.status, status, "{when}: {layer:?}");
            let how = match means {
                Means::V2 => "cgroup v2",
                Means::V1 => "cgroup v1",
                Means::Weaker => "no writable",
            };
            assert!(layer.detail.starts_with(how), "{when}: {layer:?}");
        }
    };
    expect("before the first sandbox", &host.backend);
    create(&host.backend, limits()).destroy().unwrap();
    expect("after it", &host.backend);
    // All that has nothing to do with cgroups is there in every world. Debian's kernel has overlays in a module,
    // which the guest has not.
    let report = host.backend.isolation_report();
    let overlays = std::fs::read_to_string("/proc/filesystems").unwrap().contains("\toverlay\n");
    let by_cgroups = ["cgroup.freeze", "cgroup.kill", "memory", "pids", "cpu"];
    for layer in report.layers.iter().filter(|layer| !by_cgroups.contains(&&*layer.name)) {
        let older = match &*layer.name {
            "landlock" => layer.detail.contains("older interface"),
            "root.overlay" => !overlays && layer.detail.contains("(No such device"),
            _ => false,
        };
        assert!(layer.status == LayerStatus::Active || older, "{layer:?}");
    }
}

fn tell(host: &mut Host) {
    let found = doctor();
    let cgroups = found.check("cgroup").unwrap();
    assert!(cgroups.detail.starts_with(host.actor.cgroups), "{cgroups:?}");
    assert_eq!(host.actor.fix.is_empty(), cgroups.fix.is_empty(), "{cgroups:?}");
    assert!(cgroups.fix.contains(host.actor.fix), "{cgroups:?}");
    assert!(found.can_make_sandboxes(), "{}", found.to_table());
}

fn exec(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    assert_eq!(number(&exec_in(&*sandbox, &["id"])), 1000);
    assert_eq!(exec_in(&*sandbox, &["true"]).outcome, Outcome::Exited(0));
    sandbox.destroy().unwrap();
}

/// Too much memory is an outcome; the same program with less is not.
fn memory(host: &mut Host) {
    let sandbox = create(&host.backend, Limits { memory_bytes: 32 << 20, ..limits() });
    assert_eq!(number(&exec_in(&*sandbox, &["hog", "8"])), 8);
    let outcome = exec_in(&*sandbox, &["hog", "48"]).outcome;
    match host.actor.memory {
        // Without a cgroup the process is refused the memory, and aborts.
        Means::Weaker => assert_eq!(outcome, Outcome::Signaled(6)),
        Means::V1 | Means::V2 => assert_eq!(outcome, Outcome::OutOfMemory),
    }
    assert_eq!(number(&exec_in(&*sandbox, &["hog", "8"])), 8);
    sandbox.destroy().unwrap();
    // The control: it is our limit that was reached, not the machine's.
    let sandbox = create(&host.backend, limits());
    assert_eq!(number(&exec_in(&*sandbox, &["hog", "48"])), 48);
    sandbox.destroy().unwrap();
}

fn pids(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    let had = number(&exec_in(&*sandbox, &["forks", "20"]));
    assert!(had > 0 && had < u64::from(PIDS), "{had} children");
    sandbox.destroy().unwrap();
    let sandbox = create(&host.backend, Limits { pids: 30, ..Limits::default() });
    assert_eq!(number(&exec_in(&*sandbox, &["forks", "20"])), 20);
    sandbox.destroy().unwrap();
}

/// A fifth of a processor makes 200 ms of work last a second. That time is only printed: what tells, whatever else the
/// machine does, is the kernel's count of how often it made somebody wait.
fn cpu(host: &mut Host) {
    let burn = |cpus: Option<f64>| {
        let sandbox = create(&host.backend, Limits { cpus, ..limits() });
        let took = number(&exec_in(&*sandbox, &["burn", "200"]));
        let throttled = throttled(&host.scope);
        sandbox.destroy().unwrap();
        (took, throttled)
    };
    // In this order, because shells are furnished with the limits of the last create, and wait for their share too.
    let (unlimited, limited) = (burn(None), burn(Some(0.2)));
    println!("milliseconds and waits: {limited:?} at a fifth of a processor, else {unlimited:?}");
    assert_eq!(unlimited.1, 0);
    match host.actor.cpu {
        Means::Weaker => assert_eq!(limited.1, 0),
        Means::V1 | Means::V2 => assert!(limited.1 > 0),
    }
}

/// How often a process of ours had to wait for its share of a processor.
fn throttled(scope: &Scope) -> u64 {
    let count = |dir: &PathBuf| {
        let text = std::fs::read_to_string(dir.join("cpu.stat")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok())
    };
    scope.take().cgroups.iter().filter_map(count).sum()
}

/// Whether a process says anything, for so long.
fn speaks(process: &dyn BackendProcess, patience: Duration) -> bool {
    let mut buffer = vec![0; 1 << 16];
    match process.read(OutputStream::Stdout, &mut buffer, patience) {
        Ok(length) => length > 0,
        Err(error) if error.code() == ErrorCode::Timeout => false,
        Err(error) => panic!("{error}"),
    }
}

fn tick(sandbox: &dyn BackendSandbox) -> Box<dyn BackendProcess> {
    let process = sandbox.spawn(&command(&["tick"])).unwrap();
    assert!(speaks(&*process, HANG));
    process
}

fn pause(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    let process = tick(&*sandbox);
    for _ in 0..2 {
        // The control: while it runs it goes on speaking.
        assert!((0..READS).all(|_| speaks(&*process, HANG)));
        sandbox.pause().unwrap();
        assert!((0..READS).any(|_| !speaks(&*process, SILENCE)), "a paused sandbox goes on");
        assert!(!speaks(&*process, SILENCE));
        sandbox.unpause().unwrap();
    }
    assert!(speaks(&*process, HANG));
    drop(process);
    assert_eq!(exec_in(&*sandbox, &["true"]).outcome, Outcome::Exited(0));
    sandbox.destroy().unwrap();
}

/// A bomb that is killed leaves nothing but room for others.
fn kill_bomb(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    let had = number(&exec_in(&*sandbox, &["forks", "20"]));
    let process = bomb(&*sandbox);
    process.kill().unwrap();
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(9));
    assert_eq!(number(&exec_in(&*sandbox, &["forks", "20"])), had);
    sandbox.destroy().unwrap();
}

/// What was left in a sandbox is gone after a reset, as its own report says.
fn reset(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    sandbox.prepare_reset().unwrap();
    let file = Path::new("left");
    sandbox.write_file(file, b"left", 0o600).unwrap();
    assert_eq!(sandbox.read_file(file, 100).unwrap(), b"left");
    let process = tick(&*sandbox);
    sandbox.reset(Instant::now() + HANG).unwrap();
    assert!(sandbox.read_file(file, 100).is_err());
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(9));
    assert_eq!(exec_in(&*sandbox, &["true"]).outcome, Outcome::Exited(0));
    sandbox.destroy().unwrap();
}

/// Starts a bomb and waits until it has used up all processes.
pub(crate) fn bomb(sandbox: &dyn BackendSandbox) -> Box<dyn BackendProcess> {
    let process = sandbox.spawn(&command(&["bomb"])).unwrap();
    assert!(speaks(&*process, HANG));
    process
}

fn destroy_bomb(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    let process = bomb(&*sandbox);
    let there = host.scope.take();
    assert!(there.processes.len() > 8, "{there:?}");
    assert_eq!(there.cgroups.is_empty(), !host.actor.has_cgroups(), "{:?}", there.cgroups);
    sandbox.destroy().unwrap();
    drop(process);
    // The bomb with its pause: as many processes that do not run.
    let sandbox = create(&host.backend, limits());
    let process = bomb(&*sandbox);
    sandbox.pause().unwrap();
    sandbox.destroy().unwrap();
    drop(process);
}

fn destroy_paused(host: &mut Host) {
    let sandbox = create(&host.backend, limits());
    let process = tick(&*sandbox);
    sandbox.pause().unwrap();
    sandbox.destroy().unwrap();
    drop(process);
    // Without a destroy, by going out of scope.
    let sandbox = create(&host.backend, limits());
    sandbox.pause().unwrap();
    drop(sandbox);
}

fn nothing_left(host: &mut Host) {
    // The keeper goes with the last backend.
    host.backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    // Threads that wait for nothing stay a while; they are of this process and go with it.
    let mut before = host.before.clone();
    let now = host.scope.take();
    (before.descriptors, before.threads) = (now.descriptors, now.threads);
    host.scope.assert_settles(&before);
}
