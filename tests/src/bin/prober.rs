//! Runs probes inside sandboxes: reads what to run as JSON from its standard input, and answers a line of JSON each.
//!
//! Its own start may be as odd as it likes; nothing of that may show inside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, GetOptions, Limits, Outcome, SandboxRef, SandboxSet, SandboxSpec,
};
use serde_json::{Value, json};

const PROBE: &str = "/scratch/probe";
/// Ends only what hangs.
const HANG: Duration = Duration::from_secs(60);

fn main() {
    let order: Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let program = std::fs::read(text(&order["program"])).unwrap();
    let privileged =
        Bind { source: text(&order["privileged"]).into(), target: "/privileged".into(), writable: false };
    let number = |name: &str| order[name].as_u64().unwrap();
    let limits = Limits {
        memory_bytes: number("memory"),
        pids: number("pids") as u32,
        scratch_bytes: number("scratch_bytes"),
        scratch_inodes: number("scratch_inodes"),
        ..Limits::default()
    };
    let spec = SandboxSpec { binds: vec![privileged], limits, ..SandboxSpec::default() };
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let set = SandboxSet::new(backend, spec, Config::default()).unwrap();

    let mut sandbox = fresh(&set, &program);
    for job in order["jobs"].as_array().unwrap() {
        let (code, mut said) = attempt(&sandbox, job, order["while_starting"].as_u64().unwrap());
        // Whoever destroyed the sandbox got further than a probe may, unless it used up its own memory.
        let alive = attempt(&sandbox, &json!({"args": ["true"]}), 0).0 == Some(0);
        let code = if alive || code == Some(OUT_OF_MEMORY) { code } else { Some(1) };
        if !alive {
            said.push_str("\nthe sandbox is dead");
            let _ = sandbox.destroy("a probe killed it");
            sandbox = fresh(&set, &program);
        }
        println!("{}", json!({"code": code.map(|code| code % OUT_OF_MEMORY), "said": said}));
    }
    println!("{}", json!({"disjoint": disjoint(&set, &program, sandbox)}));
    assert!(set.close(HANG).unwrap().survivors.is_empty());
}

/// Ended by the limit on memory: refused. A multiple of no exit code.
const OUT_OF_MEMORY: i32 = 1000;

fn fresh(set: &SandboxSet, program: &[u8]) -> SandboxRef {
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    sandbox.write_file("probe".as_ref(), program, 0o755).unwrap();
    sandbox
}

/// Runs one probe, `count` others beside it if it wants to see how commands start.
fn attempt(sandbox: &SandboxRef, job: &Value, count: u64) -> (Option<i32>, String) {
    let args = job["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned());
    let mut command = Command::new([PROBE.to_owned()].into_iter().chain(args));
    command.timeout = HANG;
    command.cwd = job["cwd"].as_str().map(Into::into);
    let result = std::thread::scope(|threads| {
        let run = threads.spawn(|| sandbox.exec(&command));
        if job["args"][0] == "race-join" {
            for _ in 0..count {
                let _ = sandbox.exec(&Command::new([PROBE, "true"]));
            }
        }
        run.join().unwrap()
    });
    match result {
        // A directory that cannot be entered is as good as one that leads nowhere.
        Err(error) if command.cwd.is_some() => (Some(0), format!("refused: {error}")),
        Err(error) => (None, error.to_string()),
        Ok(output) => {
            let said = format!("{}{}", output.stdout.text(), output.stderr.text());
            match output.outcome {
                Outcome::Exited(code) => (Some(code), said),
                Outcome::OutOfMemory => (Some(OUT_OF_MEMORY), said),
                outcome => (None, format!("{said}{outcome:?}")),
            }
        }
    }
}

/// Whether two living sandboxes are different users of the host.
fn disjoint(set: &SandboxSet, program: &[u8], one: SandboxRef) -> bool {
    let other = fresh(set, program);
    let map = |sandbox: &SandboxRef| {
        let output = sandbox.exec(&Command::new(["cat", "/proc/self/uid_map"])).unwrap();
        assert!(output.success(), "{output:?}");
        output.stdout.text().split_whitespace().nth(1).map(str::to_owned)
    };
    assert!(Path::new("/proc/self/uid_map").exists());
    map(&one) != map(&other)
}
