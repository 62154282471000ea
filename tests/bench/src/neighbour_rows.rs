//! What a sandbox feels of a neighbour that uses up all it can get, and how long it takes to be rid of that one.

use std::path::Path;
use std::time::{Duration, Instant};

use sandboxset::{Acquire, Command, EventKind, EventStream, SandboxRef, SandboxSpec};
use sandboxset_tests::attacks::{Attack, STARTED};

use crate::floor::Program;
use crate::linux_rows::{PATIENCE, close, exec_true, get, new_set, text};
use crate::measure::{Failure, Samples};
use crate::report::{Row, Unit};

/// Rows `linux.neighbour.KIND`: the time of an exec beside the attack, and `linux.destroy.KIND`.
pub(crate) const NEIGHBOUR: &str = "linux.neighbour";
/// Row `linux.destroy`, of a sandbox in which nothing runs.
pub(crate) const DESTROY: &str = "linux.destroy";

/// What the tail of a row is compared with: that of the same calls beside an idle sandbox.
pub(crate) const QUIET_P99: &str = "quiet_p99";
/// What of it is the kernel's: the same two tails of a program that no sandbox has to do with, which the host starts.
const HOST_P99: &str = "host_p99";
const HOST_QUIET_P99: &str = "host_quiet_p99";

/// How often quiet and attack take turns.
const ROUNDS: usize = 10;
/// How many programs are run in each turn.
const EXECS: usize = 40;
/// How long each turn waits before it begins: an attack has all that it will get then, and what a create sets off in
/// the background, which is no part of either, is over.
const SETTLE: Duration = Duration::from_millis(100);

/// The times of the same program beside an attack, or beside an idle sandbox.
struct Beside {
    in_sandbox: Samples,
    on_host: Samples,
}

/// The rows of one attack. The floor of the neighbour's is the same beside an idle sandbox, in turns; that of the
/// destruction is the destruction of an idle one.
pub(crate) fn attacked(attack: &Attack, quick: bool) -> Result<Vec<Row>, Failure> {
    let set = new_set(SandboxSpec::default(), 8)?;
    let events = set.events(64).map_err(text)?;
    let neighbour = get(&set, Acquire::Any)?;
    let program = Program::new(&["/usr/bin/true"]).map_err(text)?;
    let [mut noisy, mut quiet] = std::array::from_fn(|_| Beside::new());
    let [mut destroy, mut destroy_idle] = std::array::from_fn(|_| Samples::new());
    for _ in 0..if quick { ROUNDS / 5 } else { ROUNDS } {
        let idle = get(&set, Acquire::FreshOnly)?;
        std::thread::sleep(SETTLE);
        quiet.sample(&neighbour, &program);
        destroy_idle.time(|| destroyed(&idle, &events));
        let attacker = get(&set, Acquire::FreshOnly)?;
        let process = start(&attacker, attack)?;
        std::thread::sleep(SETTLE);
        noisy.sample(&neighbour, &program);
        destroy.time(|| destroyed(&attacker, &events));
        drop(process);
    }
    neighbour.destroy("measured").map_err(text)?;
    close(&set)?;
    let mut felt = Row::new(format!("{NEIGHBOUR}.{}", attack.name), Unit::Microseconds, noisy.in_sandbox);
    felt.set_floor(Ok(&quiet.in_sandbox));
    felt.add_tail(QUIET_P99, &quiet.in_sandbox);
    felt.add_tail(HOST_P99, &noisy.on_host);
    felt.add_tail(HOST_QUIET_P99, &quiet.on_host);
    let mut ended = Row::new(format!("{DESTROY}.{}", attack.name), Unit::Microseconds, destroy);
    ended.set_floor(Ok(&destroy_idle));
    Ok(vec![felt, ended])
}

/// Row `linux.destroy`.
pub(crate) fn destroy(quick: bool) -> Result<Row, Failure> {
    let set = new_set(SandboxSpec::default(), 8)?;
    let events = set.events(64).map_err(text)?;
    let mut samples = Samples::new();
    for _ in 0..if quick { 20 } else { 200 } {
        let sandbox = get(&set, Acquire::FreshOnly)?;
        samples.time(|| destroyed(&sandbox, &events));
    }
    close(&set)?;
    Ok(Row::new(DESTROY, Unit::Microseconds, samples))
}

/// Destroys a sandbox and waits until nothing of it is left.
fn destroyed(sandbox: &SandboxRef, events: &EventStream) -> Result<(), Failure> {
    let id = sandbox.id();
    sandbox.destroy("measured").map_err(text)?;
    while let Some(event) = events.next(PATIENCE) {
        if event.sandbox_id == id && matches!(event.kind, EventKind::Destroy(_)) {
            return Ok(());
        }
    }
    Err("it is not destroyed".into())
}

impl Beside {
    fn new() -> Self {
        Beside { in_sandbox: Samples::new(), on_host: Samples::new() }
    }

    fn sample(&mut self, sandbox: &SandboxRef, program: &Program) {
        for _ in 0..EXECS {
            self.in_sandbox.time(|| exec_true(sandbox));
            self.on_host.time(|| program.spawn_and_wait().map_err(text));
        }
    }
}

/// Starts an attack and waits until it is on its way.
fn start(sandbox: &SandboxRef, attack: &Attack) -> Result<sandboxset::Process, Failure> {
    let process = sandbox.spawn(&Command::new(attack.args())).map_err(text)?;
    let started = Instant::now();
    while sandbox.read_file(Path::new(STARTED), 1).is_err() {
        if started.elapsed() > PATIENCE {
            return Err(format!("{} does not start", attack.name));
        }
        std::thread::yield_now();
    }
    Ok(process)
}
