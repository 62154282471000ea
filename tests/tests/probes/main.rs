//! Every probe inside sandboxes that root made and that an ordinary user made, with its negative control outside;
//! and SECURITY.md says no more than that.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod checklist;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use sandboxset_tests::census::{TemporaryDir, temporary_dir};
use sandboxset_tests::machine::{User, is_root, ordinary_user};
use serde_json::{Value, json};

use sandboxset_self_test::table::{Control, DIRS, PROBES, Probe};
use sandboxset_self_test::{Bait, copy_privileged};

/// What a host has in its environment that no sandbox may see.
const SECRETS: usize = 50;
const PREFIX: &str = "SANDBOXSET_SECRET";

/// Ends only what hangs.
const HANG: &str = "300s";

/// Bait, and the directory that it is in.
struct Laid {
    bait: Bait,
    dir: TemporaryDir,
}

fn lay(program: &Path, user: Option<User>) -> Laid {
    let dir = temporary_dir("probes");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let name = format!("probes-{}-{}", std::process::id(), user.is_some());
    let mut command = bounded(program);
    let bait = Bait::lay(as_user(&mut command, user), dir.path(), &name, PREFIX).unwrap();
    assert!(bait.places.contains_key("pid"), "{:?}", bait.places);
    Laid { bait, dir }
}

/// A program that is killed when it hangs: a test must end also when what it tests does not.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--signal=KILL", HANG]).arg(program);
    command
}

fn as_user(command: &mut Command, user: Option<User>) -> &mut Command {
    match user {
        Some(user) => command.uid(user.uid).gid(user.gid),
        None => command,
    }
}

/// The program where everybody can run it, and twice more, setuid root and with a capability.
fn privileged_copies() -> TemporaryDir {
    let dir = temporary_dir("probes-privileged");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    copy_privileged(&dir.path().join("copies")).unwrap();
    dir
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What one probe came to.
#[derive(Debug)]
struct Answer {
    code: Option<i64>,
    said: String,
}

/// The name of the fork server among the privileged copies.
const SERVER: &str = "probe_zygote";

/// Compiles the fork server whose forks run probes; false if there is no compiler.
fn compile_server(privileged: &Path) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-Werror", "-static", "-I"]).arg(here.join("../include"));
    command.arg(here.join("src/probe_zygote.c")).arg("-o").arg(privileged.join(SERVER));
    match command.stdin(Stdio::null()).status() {
        Ok(status) => {
            assert!(status.success(), "the fork server does not compile");
            true
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: probes in forked sandboxes: cc: {error}");
            false
        }
    }
}

/// Runs all probes in sandboxes that `user` made, who is as odd as a host can be: as commands, or in forked ones by
/// what was forked.
fn inside(
    program: &Path,
    privileged: &Path,
    bait: &Bait,
    user: Option<User>,
    server: Option<&str>,
) -> (Vec<Answer>, bool) {
    let lines = PROBES.iter().map(|probe| bait.fill(probe.inside()));
    let jobs = lines.map(|line| json!({"args": words(&line)}));
    let dirs = DIRS.iter().map(|dir| json!({"args": ["cwd"], "cwd": dir}));
    let jobs: Vec<_> = jobs.chain(dirs).collect();
    let order = json!({"privileged": privileged, "server": server, "jobs": jobs});
    let mut command = bounded(program);
    command.arg("odd-start").arg(env!("CARGO_BIN_EXE_prober")).current_dir("/");
    command.envs((0..SECRETS).map(|number| (format!("{PREFIX}_{number}"), "secret")));
    let library = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = library
        .lines()
        .find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("libc.so")));
    command.envs(library.map(|path| ("LD_PRELOAD", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut prober = as_user(&mut command, user).spawn().unwrap();
    prober.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
    let (mut answers, mut disjoint) = (Vec::new(), false);
    for line in BufReader::new(prober.stdout.take().unwrap()).lines() {
        let Ok(value) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        match value["disjoint"].as_bool() {
            Some(answer) => disjoint = answer,
            None => answers.push(Answer {
                code: value["code"].as_i64(),
                said: value["said"].as_str().unwrap_or_default().trim().to_owned(),
            }),
        }
    }
    let status = prober.wait().unwrap();
    assert!(status.success(), "the prober ended with {status} after {} probes", answers.len());
    assert_eq!(answers.len(), PROBES.len() + DIRS.len());
    (answers, disjoint)
}

/// The same attempt outside; `None` if it cannot be made by who runs the tests.
fn control(program: &Path, privileged: &Path, laid: &Laid, probe: &Probe) -> Option<Answer> {
    let line = probe.outside().replace("{privileged}", privileged.to_str().unwrap());
    let line = laid.bait.fill(&line);
    let mut command = bounded(program);
    let user = ordinary_user();
    match probe.control {
        Control::Plain => {}
        Control::Odd => drop(command.arg("odd-start").arg(program)),
        Control::Weakened(flags) => drop(command.args(["weakened", &laid.bait.fill(flags)])),
        // Nothing that needs a right is ever done with it, but by choice.
        Control::User | Control::Maybe => drop(as_user(&mut command, Some(user?))),
        Control::None(_) => return None,
    }
    command.args(words(&line)).current_dir(laid.dir.path()).env(PREFIX, "secret").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(Answer { code: output.status.code().map(i64::from), said })
}

/// Keeps a lock on a file, and opens it again and again, until it is told to stop.
fn use_a_file(path: &Path, stop: &AtomicBool) {
    let file = std::fs::File::open(path).unwrap();
    file.lock().unwrap();
    while !stop.load(Ordering::Relaxed) {
        drop(std::fs::File::open(path).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn every_probe_is_refused_inside_and_succeeds_outside() {
    let copies = privileged_copies();
    let privileged = copies.path().join("copies");
    let program = privileged.join("probe");
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut failures = Vec::new();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();

    let stop = AtomicBool::new(false);
    let shared = std::fs::canonicalize("/usr/lib/os-release").unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| use_a_file(&shared, &stop));
        let _stop = StopWhenDone(&stop);
        let mut makers = vec![("this user", None, None)];
        makers.extend(ordinary_user().map(|user| ("an ordinary user", Some(user), None)));
        if compile_server(&privileged) {
            makers.push(("this user, by forking,", None, Some(SERVER)));
            let user = ordinary_user();
            makers.extend(user.map(|user| ("an ordinary user, by forking,", Some(user), Some(SERVER))));
        }
        for (who, user, server) in makers {
            let mut laid = lay(&program, user);
            laid.bait.places.insert("shared".into(), shared.to_str().unwrap().into());
            let (answers, disjoint) = inside(&program, &privileged, &laid.bait, user, server);
            println!("in sandboxes made by {who}");
            for (probe, answer) in PROBES.iter().zip(&answers) {
                let line = probe.inside();
                let verdict = judge(answer);
                *count.entry(verdict).or_default() += 1;
                println!("  {verdict:15} {:?} {line}", probe.rows);
                if verdict == "ESCAPED" {
                    failures.push(format!("{who}: {line}: {:?} {}", answer.code, answer.said));
                }
            }
            for (dir, answer) in DIRS.iter().zip(&answers[PROBES.len()..]) {
                let verdict = judge(answer);
                *count.entry(verdict).or_default() += 1;
                println!("  {verdict:15} [2] cwd in {dir}");
                if verdict == "ESCAPED" {
                    failures.push(format!("{who}: cwd {dir}: {:?} {}", answer.code, answer.said));
                }
            }
            if is_root() && user.is_none() && !disjoint {
                failures.push("two sandboxes of root are the same user".into());
            }
        }

        println!("controls:");
        let mut laid = lay(&program, None);
        laid.bait.places.insert("shared".into(), shared.to_str().unwrap().into());
        for probe in PROBES {
            let line = probe.outside();
            let answer = control(&program, &privileged, &laid, probe);
            let effective = answer.as_ref().is_some_and(|answer| answer.code == Some(1));
            let not_applicable = answer.as_ref().is_some_and(|answer| answer.code == Some(2));
            let proof = if effective { "effective" } else { "unproven" };
            *count.entry(proof).or_default() += 1;
            println!("  {proof:15} {line} ({:?})", probe.control);
            let declared = !matches!(probe.control, Control::Maybe | Control::None(_));
            if declared && is_root() && !effective && !not_applicable {
                failures.push(format!("the control of {line} answered {answer:?}"));
            }
        }
    });
    let of = |verdict: &str| count.get(verdict).copied().unwrap_or(0);
    println!(
        "probes: {} run, {} blocked, {} controls effective, {} unproven, {} not applicable",
        of("blocked") + of("ESCAPED") + of("not applicable"),
        of("blocked"),
        of("effective"),
        of("unproven"),
        of("not applicable"),
    );
    assert_eq!(mounts(), before, "the mounts of the host changed");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// What an answer means.
fn judge(answer: &Answer) -> &'static str {
    match answer.code {
        Some(0) => "blocked",
        Some(2) => "not applicable",
        _ => "ESCAPED",
    }
}

/// Ends the use of the file also when a test fails.
struct StopWhenDone<'a>(&'a AtomicBool);

impl Drop for StopWhenDone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
