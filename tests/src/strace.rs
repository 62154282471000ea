//! Runs of a host program in which one system call fails, is delayed or kills, injected by strace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Backend, Config, GetOptions, SandboxSet, SandboxSpec};

use crate::census::{Census, Scope, TemporaryDir, lines, temporary_dir};

/// The name of the keeper beside the program that stands in for it.
pub const KEEPER: &str = "sandboxset-keeper";
/// The name of the file with the arguments of strace.
pub const ARGUMENTS: &str = "arguments";
/// The name of the file that the first keeper makes.
pub const TRACED: &str = "traced";

/// The effect that ends the caller.
const KILL: &str = "signal=KILL";
/// Long enough that only a hang reaches it: a life is bounded by its own timeouts.
const HANG: Duration = Duration::from_secs(60);

/// Whose calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// All threads of the host process, and the children that become the keeper, until they do.
    Host,
    /// The keeper alone.
    Keeper,
    /// The keeper with its inits, and commands until they run their program: each process counts its own calls.
    Init,
}

/// What happens at the `when`-th such call of each traced thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Whose call.
    pub target: Target,
    /// Which call.
    pub call: String,
    /// In strace's words: `error=ENOMEM`, `signal=KILL`, `delay_enter=1s`.
    pub effect: String,
    /// Which of these calls, from 1.
    pub when: usize,
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the host said, line by line.
    pub said: Vec<String>,
    /// How often the injection took effect.
    pub hits: usize,
    /// Calls of the traced processes, by process and name, if nothing was injected.
    pub calls: BTreeMap<String, usize>,
    /// What is wrong, if anything.
    pub faults: Vec<String>,
}

/// Where runs happen, one after the other.
#[derive(Debug)]
pub struct Stage {
    strace: PathBuf,
    life: PathBuf,
    dir: TemporaryDir,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {} when={}", self.target, self.call, self.effect, self.when)
    }
}

/// Where strace is, if it is and may look at other processes; else why not.
pub fn strace() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("strace")).find(|file| file.is_file());
    let strace = found.ok_or("strace is not installed")?;
    let tried = Command::new(&strace).args(["-qq", "-o", "/dev/null", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => {}
        other => return Err(format!("strace cannot trace here: {other:?}")),
    }
    if !crate::machine::is_root() {
        return Err("only root may trace what makes itself undumpable".into());
    }
    Ok(strace)
}

/// Copies the keeper that the library carries, from one that runs for this process.
pub fn copy_keeper(to: &Path) {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let set = SandboxSet::new(backend, SandboxSpec::default(), Config::default()).unwrap();
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    let keepers = Scope::own().keepers();
    let keeper = keepers.first().expect("a keeper");
    fs::copy(format!("/proc/{}/exe", keeper.pid), to).unwrap();
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sandbox.destroy("copied").unwrap();
    assert!(set.close(HANG).unwrap().survivors.is_empty());
}

impl Stage {
    /// Prepares a directory with a keeper that is traced.
    pub fn new(strace: &Path, life: &Path, stand_in: &Path, keeper: &Path) -> Self {
        let dir = temporary_dir("strace");
        fs::copy(stand_in, dir.path().join("stand-in")).unwrap();
        fs::copy(keeper, dir.path().join(KEEPER)).unwrap();
        Stage { strace: strace.to_owned(), life: life.to_owned(), dir }
    }

    /// A life with an injection, or without one, to see which calls there are.
    pub fn run(&self, target: Target, injection: Option<&Injection>) -> Run {
        let log = self.dir.path().join("log");
        let _ = fs::remove_file(&log);
        let _ = fs::remove_file(self.dir.path().join(TRACED));
        let mut arguments: Vec<String> = vec!["-o".into(), log.to_str().unwrap().into()];
        if let Some(Injection { call, effect, when, .. }) = injection {
            arguments.push(format!("--trace={call}"));
            arguments.push(format!("--inject={call}:{effect}:when={when}"));
        }
        let follow = ["-f", "-b", "execve"].map(String::from);
        let (mut host, tracer) = match target {
            Target::Host => {
                arguments.extend(follow);
                let host = Host::start(&self.life, None);
                let tracer = self.attach(&arguments, host.child.id());
                (host, Some(tracer))
            }
            Target::Keeper | Target::Init => {
                arguments.insert(0, self.strace.to_str().unwrap().into());
                arguments.push("-D".into());
                if target == Target::Init {
                    arguments.extend(follow);
                }
                fs::write(self.dir.path().join(ARGUMENTS), arguments.join("\n")).unwrap();
                (Host::start(&self.life, Some(&self.dir.path().join("stand-in"))), None)
            }
        };
        let before = host.resources();
        host.go();
        let mut faults = Vec::new();
        let finished = host.await_line("finished");
        let killed =
            injection.is_some_and(|injection| injection.target == Target::Host && injection.effect == KILL);
        match &finished {
            Ok(()) => faults.extend(host.leaks(&before)),
            Err(_) if killed => {}
            Err(fault) => faults.push(fault.clone()),
        }
        let said = std::mem::take(&mut host.said);
        let scope = host.scope.clone();
        match host.end() {
            Ok(status) if status.success() || killed => {}
            Ok(status) => faults.push(format!("the host ended with {status}")),
            Err(hang) => faults.push(hang),
        }
        if let Err(leaks) = scope.settle(&Census::default(), HANG) {
            faults.push(format!("left behind:\n{}", lines(&leaks)));
        }
        if let Some(mut tracer) = tracer {
            tracer.wait().unwrap();
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        faults.extend(crashes(&log));
        faults.extend(said.iter().filter(|line| line.starts_with("survivor")).cloned());
        Run { said, hits: hits(&log, injection), calls: count(&log), faults }
    }

    fn attach(&self, arguments: &[String], pid: u32) -> Child {
        let mut tracer = Command::new(&self.strace)
            .args(arguments)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        // It says more than a pipe holds.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        tracer
    }
}

/// The host program while it runs.
struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<String>,
    said: Vec<String>,
    scope: Scope,
}

impl Host {
    fn start(life: &Path, keeper: Option<&Path>) -> Self {
        let mut command = Command::new(life);
        command.args(keeper).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, output) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let errors = sender.clone();
        // These threads end with the streams.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| drop(errors.send(format!("stderr {line}"))));
        });
        let first = output.recv_timeout(HANG).unwrap();
        let scope = Scope::of(first.strip_prefix("owner ").unwrap_or_else(|| panic!("said {first:?}")));
        Host { stdin: child.stdin.take(), child, output, said: Vec::new(), scope }
    }

    fn go(&mut self) {
        use std::io::Write;
        // The call in which it waits for this may be the one that ends it.
        let _ = self.stdin.as_mut().unwrap().write_all(b"\n");
    }

    /// Waits for a line; an error says why it did not come.
    fn await_line(&mut self, wanted: &str) -> Result<(), String> {
        let until = Instant::now() + HANG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(line) => {
                    let reached = line == wanted;
                    self.said.push(line);
                    if reached {
                        return Ok(());
                    }
                }
                Err(error) => return Err(format!("no {wanted:?} ({error}); said {:#?}", self.said)),
            }
        }
    }

    /// Its descriptors and its threads of ours.
    fn resources(&self) -> (BTreeSet<String>, usize) {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let entries = |dir: &str| fs::read_dir(proc.join(dir)).into_iter().flatten().flatten();
        let fds = entries("fd").filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some(format!("{} -> {}", entry.file_name().display(), target.display()))
        });
        let threads = entries("task").filter(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("sandboxset"))
        });
        (fds.collect(), threads.count())
    }

    /// What is left of a life while the host lives on, when everything had time to go.
    fn leaks(&self, before: &(BTreeSet<String>, usize)) -> Vec<String> {
        let start = Instant::now();
        loop {
            let mut found = Vec::new();
            let now = self.resources();
            found.extend(now.0.difference(&before.0).map(|fd| format!("descriptor {fd}")));
            if now.1 > 0 {
                found.push(format!("{} threads", now.1));
            }
            found.extend(self.scope.take().leaks_since(&Census::default()).iter().map(ToString::to_string));
            if found.is_empty() || start.elapsed() > Duration::from_secs(15) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets it end.
    fn end(mut self) -> Result<ExitStatus, String> {
        drop(self.stdin.take());
        let until = Instant::now() + HANG;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("the host does not end".into())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls that were begun, by process and name.
fn count(log: &str) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for line in log.lines() {
        let line = line.trim_start();
        let (process, call) = match line.split_once(' ') {
            Some((pid, rest)) if pid.bytes().all(|byte| byte.is_ascii_digit()) => (pid, rest.trim_start()),
            _ => ("0", line),
        };
        let Some((name, _)) = call.split_once('(') else { continue };
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *calls.entry(format!("{process} {name}")).or_default() += 1;
        }
    }
    calls
}

/// How often an injection took effect. A kill leaves no mark of its own.
fn hits(log: &str, injection: Option<&Injection>) -> usize {
    let marks = log.matches("(INJECTED").count() + log.matches("(DELAYED)").count();
    let killed =
        injection.is_some_and(|injection| injection.effect == KILL) && log.contains("killed by SIGKILL");
    marks + usize::from(killed)
}

/// Ends of traced processes that no call of theirs should lead to.
fn crashes(log: &str) -> Vec<String> {
    let crash = ["SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP", "SIGSYS", "SIGFPE"];
    let ends = log.lines().filter(|line| line.contains("+++ killed by"));
    ends.filter(|line| crash.iter().any(|signal| line.contains(signal))).map(str::to_owned).collect()
}
