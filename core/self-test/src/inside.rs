//! Running attempts inside sandboxes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, GetOptions, Limits, Outcome, Runtime, SandboxRef, SandboxSet, SandboxSpec,
};

use crate::Failure;
use crate::table::{MEMORY, PIDS, SCRATCH_BYTES, SCRATCH_INODES};

/// One attempt.
#[derive(Clone, Debug)]
pub struct Job {
    /// The name of the probe, and its arguments.
    pub args: Vec<String>,
    /// The working directory, if not the usual one.
    pub cwd: Option<PathBuf>,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 refused, 1 escaped, 2 not applicable; anything else is an escape too.
    pub code: Option<i32>,
    /// What the probe said.
    pub said: String,
}

const PROBE: &str = "/scratch/probe";
/// Ends only what hangs.
const HANG: Duration = Duration::from_secs(60);
/// Ended by the limit on memory: refused.
const OUT_OF_MEMORY: Answer = Answer { code: Some(0), said: String::new() };

/// Where attempts are made.
struct Sandboxes {
    set: SandboxSet,
    /// Whose sandboxes are forked to make those of the set. Attempts are then made by what was forked.
    parents: Option<SandboxSet>,
}

/// Runs all jobs as commands in sandboxes that have the directory `privileged`, with `starts` other commands beside
/// those that watch how commands start. Answers whether two sandboxes are two users of the host.
pub fn inside(
    program: &[u8],
    privileged: &Path,
    jobs: &[Job],
    starts: u64,
    answer: impl FnMut(Answer),
) -> Result<bool, Failure> {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default())?);
    let set = SandboxSet::new(backend, spec(privileged), Config::default())?;
    Sandboxes { set, parents: None }.try_all(program, jobs, starts, answer)
}

/// The same in forked sandboxes, by processes that what was forked starts: it is a copy of `server`, a fork server with
/// this name below `/privileged` which runs what it is asked for. What looks at other processes is run as a command.
pub fn inside_forks(
    program: &[u8],
    privileged: &Path,
    server: &str,
    jobs: &[Job],
    starts: u64,
    answer: impl FnMut(Answer),
) -> Result<bool, Failure> {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default())?);
    let mut runtime = Runtime::new([format!("/privileged/{server}")]);
    runtime.forks = true;
    let parent = SandboxSpec { runtime: Some(runtime), ..spec(privileged) };
    let parents = SandboxSet::new(Arc::clone(&backend), parent, Config::default())?;
    let config = Config { parent: Some(parents.clone()), ..Config::default() };
    let set = SandboxSet::new(backend, spec(privileged), config)?;
    Sandboxes { set, parents: Some(parents) }.try_all(program, jobs, starts, answer)
}

fn spec(privileged: &Path) -> SandboxSpec {
    let limits = Limits {
        memory_bytes: MEMORY,
        pids: PIDS as u32,
        scratch_bytes: SCRATCH_BYTES,
        scratch_inodes: SCRATCH_INODES,
        ..Limits::default()
    };
    let bind = Bind { source: privileged.into(), target: "/privileged".into(), writable: false };
    SandboxSpec { binds: vec![bind], limits, ..SandboxSpec::default() }
}

impl Sandboxes {
    fn try_all(
        &self,
        program: &[u8],
        jobs: &[Job],
        starts: u64,
        mut answer: impl FnMut(Answer),
    ) -> Result<bool, Failure> {
        let mut sandbox = self.fresh(program)?;
        let nothing = Job { args: vec!["true".to_owned()], cwd: None };
        for job in jobs {
            let (mut result, out_of_memory) = self.attempt(&sandbox, job, starts);
            // Whoever destroyed the sandbox got further than a probe may, unless it used up its own memory.
            let (after, _) = self.attempt(&sandbox, &nothing, 0);
            if after.code != Some(0) {
                result.said = format!("{}\nafterwards nothing can be run: {}", result.said, after.said);
                if !out_of_memory {
                    result.code = Some(1);
                }
                let _ = sandbox.destroy("a probe killed it");
                sandbox = self.fresh(program)?;
            }
            answer(result);
        }
        let other = self.fresh(program)?;
        let disjoint = host_user(&sandbox)? != host_user(&other)?;
        drop((sandbox, other));
        for set in std::iter::once(&self.set).chain(&self.parents) {
            let survivors = set.close(HANG)?.survivors;
            if !survivors.is_empty() {
                return Err(format!("left behind: {survivors:?}").into());
            }
        }
        Ok(disjoint)
    }

    fn fresh(&self, program: &[u8]) -> Result<SandboxRef, Failure> {
        let sandbox = self.set.get_or_create_unpaused(&GetOptions::default())?;
        sandbox.write_file("probe".as_ref(), program, 0o755)?;
        Ok(sandbox)
    }

    /// Runs one job; also says whether the limit on memory ended it.
    fn attempt(&self, sandbox: &SandboxRef, job: &Job, starts: u64) -> (Answer, bool) {
        std::thread::scope(|threads| {
            if job.args.first().is_some_and(|name| name == "race-join") {
                threads.spawn(|| {
                    for _ in 0..starts {
                        let _ = sandbox.exec(&Command::new([PROBE, "true"]));
                    }
                });
            }
            match job.args.first().map(String::as_str) {
                // It ends its own runtime, and its sandbox with it, which is nobody else's business.
                Some("kill-init") if self.parents.is_some() => not_applicable("it ends its own runtime"),
                // These look at what another process is; the runtime is no other one to what it started.
                Some("selfexe" | "race-join") => execute(sandbox, job),
                _ if self.parents.is_some() => ask(sandbox, job),
                _ => execute(sandbox, job),
            }
        })
    }
}

fn not_applicable(why: &str) -> (Answer, bool) {
    (Answer { code: Some(2), said: why.to_owned() }, false)
}

/// Runs one job as a command.
fn execute(sandbox: &SandboxRef, job: &Job) -> (Answer, bool) {
    let mut command = Command::new([PROBE.to_owned()].into_iter().chain(job.args.iter().cloned()));
    command.timeout = HANG;
    command.cwd = job.cwd.clone();
    let answer = |code, said| (Answer { code, said }, false);
    match sandbox.exec(&command) {
        // A directory that cannot be entered is as good as one that leads nowhere.
        Err(error) if command.cwd.is_some() => answer(Some(0), format!("refused: {error}")),
        Err(error) => answer(None, error.to_string()),
        Ok(output) => {
            let said = format!("{}{}", output.stdout.text(), output.stderr.text());
            match output.outcome {
                Outcome::Exited(code) => answer(Some(code), said),
                Outcome::OutOfMemory => (Answer { said, ..OUT_OF_MEMORY }, true),
                outcome => answer(None, format!("{said}{outcome:?}")),
            }
        }
    }
}

/// Has what was forked run one job.
fn ask(sandbox: &SandboxRef, job: &Job) -> (Answer, bool) {
    let cwd = job.cwd.as_ref().map(|cwd| cwd.to_string_lossy().into_owned()).unwrap_or_default();
    let words = [cwd, PROBE.to_owned()].into_iter().chain(job.args.iter().cloned());
    let request: Vec<u8> = words.flat_map(|word| word.into_bytes().into_iter().chain([0])).collect();
    let of_memory = job.args.first().is_some_and(|name| name == "memory");
    let said = match sandbox.call(&request, HANG, None) {
        Ok(said) => String::from_utf8_lossy(&said).into_owned(),
        // The kernel may well have ended the runtime for it.
        Err(error) if of_memory => return (Answer { said: error.to_string(), ..OUT_OF_MEMORY }, true),
        Err(error) => return (Answer { code: None, said: error.to_string() }, false),
    };
    let (end, said) = said.split_once('\n').unwrap_or((&said, ""));
    match end.split_once(' ') {
        Some(("exited", code)) => (Answer { code: code.parse().ok(), said: said.to_owned() }, false),
        Some(("signaled", "9")) if of_memory => (Answer { said: said.to_owned(), ..OUT_OF_MEMORY }, true),
        _ => (Answer { code: None, said: format!("{end}: {said}") }, false),
    }
}

/// Whom of the host the sandbox's user is.
fn host_user(sandbox: &SandboxRef) -> Result<Option<String>, Failure> {
    let output = sandbox.exec(&Command::new(["cat", "/proc/self/uid_map"]))?;
    Ok(output.stdout.text().split_whitespace().nth(1).map(str::to_owned))
}
