//! A host program that runs out of something, more and more of it each time, and has enough again after each time:
//! `scarce descriptors [alone]`, `scarce processes CGROUP`, `scarce cgroups CGROUP`, `scarce namespaces`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, Error, ErrorCode, GetOptions, Outcome, Result, SandboxSet, SandboxSpec,
};
use sandboxset_keeper::Owner;
use sandboxset_tests::kernel;

/// Bounds every call, so that what hangs shows as a timeout, and a timeout that does not end as a hang.
const BOUND: Duration = Duration::from_secs(5);
/// With fewer no program can be started that sorts its descriptors first.
const LEAST_DESCRIPTORS: u64 = 24;
/// Sandboxes that are held at once: more than are prepared ahead.
const AT_ONCE: usize = 4;

/// What there is too little of.
enum Scarce {
    Descriptors { plenty: u64 },
    Processes { max: PathBuf, current: PathBuf },
    Cgroups { max: PathBuf, stat: PathBuf },
    Namespaces { max: PathBuf },
}

impl Scarce {
    fn new(mut args: impl Iterator<Item = String>) -> Self {
        let what = args.next().unwrap();
        let mut dir = || PathBuf::from(args.next().unwrap());
        match &*what {
            "descriptors" => Scarce::Descriptors { plenty: getrlimit(Resource::Nofile).current.unwrap() },
            "processes" => {
                let dir = dir();
                Scarce::Processes { max: dir.join("pids.max"), current: dir.join("pids.current") }
            }
            "cgroups" => {
                let dir = dir();
                Scarce::Cgroups { max: dir.join("cgroup.max.descendants"), stat: dir.join("cgroup.stat") }
            }
            "namespaces" => Scarce::Namespaces { max: "/proc/sys/user/max_user_namespaces".into() },
            other => panic!("{other}"),
        }
    }

    /// Up to how many more are tried. Beyond that there are enough for one life.
    fn most(&self) -> u64 {
        match self {
            Scarce::Descriptors { .. } => 70,
            Scarce::Processes { .. } => 16,
            Scarce::Cgroups { .. } => 20,
            Scarce::Namespaces { .. } => 30,
        }
    }

    /// Leaves no more than so many.
    fn tighten(&self, more: u64) {
        match self {
            // The new limit is a number, not a count, but this program has no holes in its table.
            Scarce::Descriptors { .. } => {
                limit_descriptors((open_descriptors() + more).max(LEAST_DESCRIPTORS))
            }
            Scarce::Processes { max, current } => {
                let current: u64 = std::fs::read_to_string(current).unwrap().trim().parse().unwrap();
                std::fs::write(max, (current + more).to_string()).unwrap();
            }
            Scarce::Cgroups { max, stat } => {
                let stat = std::fs::read_to_string(stat).unwrap();
                let current = stat.lines().find_map(|line| line.strip_prefix("nr_descendants ")).unwrap();
                std::fs::write(max, (current.parse::<u64>().unwrap() + more).to_string()).unwrap();
            }
            Scarce::Namespaces { max } => std::fs::write(max, more.to_string()).unwrap(),
        }
    }

    fn lift(&self) {
        match self {
            Scarce::Descriptors { plenty } => limit_descriptors(*plenty),
            Scarce::Processes { max, .. } | Scarce::Cgroups { max, .. } => {
                std::fs::write(max, "max").unwrap()
            }
            Scarce::Namespaces { max } => std::fs::write(max, "1000").unwrap(),
        }
    }
}

fn limit_descriptors(count: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).unwrap();
}

fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

fn main() {
    println!("owner {}", Owner::current().unwrap());
    let scarce = Scarce::new(std::env::args().skip(1));
    // Without one that stands, also the keeper has to be started when there is too little.
    let alone = std::env::args().next_back().is_some_and(|word| word == "alone");
    // One life first, so that what is opened once and kept is there.
    let mut tally = BTreeMap::new();
    new_life(&mut tally, || {}).unwrap();
    settle(&BTreeMap::new());
    let before = kernel::own_descriptors();
    // This one holds a sandbox all the time.
    let standing = (!alone).then(|| {
        let set = new_set();
        let held = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        assert!(held.exec(&Command::new(["true"])).unwrap().success());
        (set, held)
    });
    tally.clear();
    for more in (0..=scarce.most()).step_by(if alone { 7 } else { 3 }) {
        let began = Instant::now();
        scarce.tighten(more);
        let result = new_life(&mut tally, || scarce.lift());
        scarce.lift();
        let took = began.elapsed();
        println!(
            "{more} more, {took:.1?}: {}",
            result.map_or_else(|error| error.to_string(), |()| "enough".into())
        );
        assert!(took < 12 * BOUND, "hung for {took:?}");
        // There is enough again: everything works at once, and what was held was held on to.
        new_life(&mut BTreeMap::new(), || {}).unwrap();
        if let Some((_, held)) = &standing {
            assert_eq!(held.exec(&Command::new(["true"])).unwrap().outcome, Outcome::Exited(0));
        }
    }
    if let Some((set, held)) = standing {
        held.put().unwrap();
        assert!(set.close(BOUND).unwrap().survivors.is_empty());
    }
    settle(&before);
    println!("tally {tally:?}");
}

/// Waits until no more descriptors are open than before, if before says any, and no thread of ours is left.
fn settle(before: &BTreeMap<String, usize>) {
    let start = Instant::now();
    loop {
        let now = kernel::own_descriptors();
        let more: Vec<_> = now
            .iter()
            .filter(|(kind, count)| !before.is_empty() && **count > before.get(*kind).copied().unwrap_or(0))
            .collect();
        let threads = kernel::own_threads("sandboxset");
        if more.is_empty() && threads.is_empty() {
            return;
        }
        assert!(start.elapsed() < 4 * BOUND, "left: {more:?} {threads:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn new_set() -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { get_timeout: BOUND, create_timeout: BOUND, ..Config::default() };
    SandboxSet::new(backend, SandboxSpec::default(), config).unwrap()
}

/// A new set, some sandboxes at once, a command in each; then, after `lift`, the end of all that.
fn new_life(tally: &mut BTreeMap<String, usize>, lift: impl FnOnce()) -> Result<()> {
    let set = new_set();
    let mut first_error = Ok(());
    let mut note = |step: &str, error: Error| {
        // Never a riddle, never a panic: somebody who reads the code can tell that it is no fault of the sandbox.
        assert!(error.code() != ErrorCode::Internal, "{step}: {error:?}");
        *tally.entry(format!("{step} {:?}", error.code())).or_insert(0usize) += 1;
        if first_error.is_ok() {
            first_error = Err(error);
        }
    };
    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        match set.get_or_create_unpaused(&GetOptions::default()) {
            Ok(sandbox) => held.push(sandbox),
            Err(error) => note("get", error),
        }
    }
    for sandbox in &held {
        let mut command = Command::new(["echo", "hello"]);
        command.timeout = BOUND;
        match sandbox.exec(&command) {
            // The sandbox's own processes may be what cannot be started.
            Ok(output) => assert!(!output.success() || output.stdout.text() == "hello\n", "{output:?}"),
            Err(error) => note("exec", error),
        }
        if let Err(error) = sandbox.write_file("file".as_ref(), b"contents", 0o600) {
            note("write", error);
        }
    }
    for sandbox in held {
        sandbox.put().unwrap();
    }
    if let Err(error) =
        set.get_or_create_unpaused(&GetOptions::default()).and_then(|sandbox| sandbox.destroy("used"))
    {
        note("reuse", error);
    }
    lift();
    let report = set.close(2 * BOUND).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    first_error
}
