//! Running attempts inside sandboxes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, GetOptions, Limits, Outcome, SandboxRef, SandboxSet, SandboxSpec,
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

/// Runs all jobs in sandboxes that have the directory `privileged`, with `starts` other commands beside those that
/// watch how commands start. Answers whether two sandboxes are two users of the host.
pub fn inside(
    program: &[u8],
    privileged: &Path,
    jobs: &[Job],
    starts: u64,
    mut answer: impl FnMut(Answer),
) -> Result<bool, Failure> {
    let limits = Limits {
        memory_bytes: MEMORY,
        pids: PIDS as u32,
        scratch_bytes: SCRATCH_BYTES,
        scratch_inodes: SCRATCH_INODES,
        ..Limits::default()
    };
    let bind = Bind { source: privileged.into(), target: "/privileged".into(), writable: false };
    let spec = SandboxSpec { binds: vec![bind], limits, ..SandboxSpec::default() };
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default())?);
    let set = SandboxSet::new(backend, spec, Config::default())?;
    let mut sandbox = fresh(&set, program)?;
    let nothing = Job { args: vec!["true".to_owned()], cwd: None };
    for job in jobs {
        let (mut result, out_of_memory) = attempt(&sandbox, job, starts);
        // Whoever destroyed the sandbox got further than a probe may, unless it used up its own memory.
        if attempt(&sandbox, &nothing, 0).0.code != Some(0) {
            result.said.push_str("\nthe sandbox is dead");
            if !out_of_memory {
                result.code = Some(1);
            }
            let _ = sandbox.destroy("a probe killed it");
            sandbox = fresh(&set, program)?;
        }
        answer(result);
    }
    let other = fresh(&set, program)?;
    let disjoint = host_user(&sandbox)? != host_user(&other)?;
    drop((sandbox, other));
    let survivors = set.close(HANG)?.survivors;
    if survivors.is_empty() { Ok(disjoint) } else { Err(format!("left behind: {survivors:?}").into()) }
}

fn fresh(set: &SandboxSet, program: &[u8]) -> Result<SandboxRef, Failure> {
    let sandbox = set.get_or_create_unpaused(&GetOptions::default())?;
    sandbox.write_file("probe".as_ref(), program, 0o755)?;
    Ok(sandbox)
}

/// Runs one job; also says whether the limit on memory ended it.
fn attempt(sandbox: &SandboxRef, job: &Job, starts: u64) -> (Answer, bool) {
    let mut command = Command::new([PROBE.to_owned()].into_iter().chain(job.args.iter().cloned()));
    command.timeout = HANG;
    command.cwd = job.cwd.clone();
    let result = std::thread::scope(|threads| {
        if job.args.first().is_some_and(|name| name == "race-join") {
            threads.spawn(|| {
                for _ in 0..starts {
                    let _ = sandbox.exec(&Command::new([PROBE, "true"]));
                }
            });
        }
        sandbox.exec(&command)
    });
    let answer = |code, said| (Answer { code, said }, false);
    match result {
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

/// Whom of the host the sandbox's user is.
fn host_user(sandbox: &SandboxRef) -> Result<Option<String>, Failure> {
    let output = sandbox.exec(&Command::new(["cat", "/proc/self/uid_map"]))?;
    Ok(output.stdout.text().split_whitespace().nth(1).map(str::to_owned))
}
