//! Every probe inside sandboxes that root made and that an ordinary user made, with its negative control outside;
//! and SECURITY.md says no more than that.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod checklist;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use sandboxset_tests::census::{TemporaryDir, temporary_dir};
use sandboxset_tests::machine::{User, is_root, ordinary_user};
use serde_json::{Value, json};

use self::table::{Control, DIRS, MEMORY, PIDS, PROBES, Probe, SCRATCH_BYTES, SCRATCH_INODES};

/// What a host has in its environment that no sandbox may see.
const SECRETS: usize = 50;
const PREFIX: &str = "SANDBOXSET_SECRET";

/// Ends only what hangs.
const HANG: &str = "300s";

/// How often a command is started while a probe watches.
const STARTS: u64 = 300;

/// Things of the host, laid by a process of its own.
struct Bait {
    process: Child,
    dir: TemporaryDir,
    places: HashMap<String, String>,
}

impl Bait {
    fn lay(program: &Path, user: Option<User>) -> Self {
        let dir = temporary_dir("probes");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let dir_name = dir.path().to_str().unwrap().to_owned();
        let canary = dir.path().join("canary");
        std::fs::write(&canary, "canary").unwrap();
        let name = format!("probes-{}-{}", std::process::id(), user.is_some());
        let mut command = bounded(program);
        command.args(["bait", &dir_name, &name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // The name is an argument of its own, by which the process can be found.
        let mut process = as_user(&mut command, user).spawn().unwrap();
        let mut places = HashMap::from([
            ("dir".to_owned(), dir_name),
            ("canary".to_owned(), canary.to_str().unwrap().to_owned()),
            ("name".to_owned(), name),
            ("prefix".to_owned(), PREFIX.to_owned()),
            ("hostname".to_owned(), rustix::system::uname().nodename().to_str().unwrap().to_owned()),
        ]);
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let (key, value) = line.split_once(' ').unwrap();
            assert_ne!(key, "failed", "{line}");
            if key == "laid" {
                break;
            }
            places.insert(key.to_owned(), value.to_owned());
        }
        assert!(places.contains_key("pid"), "{places:?}");
        Bait { process, dir, places }
    }

    /// Puts places into a line of arguments.
    fn fill(&self, line: &str) -> String {
        self.places
            .iter()
            .fold(line.to_owned(), |line, (key, value)| line.replace(&format!("{{{key}}}"), value))
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
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

/// Builds the probes as one static program, with flags of its own and not with those of the tests.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probes");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--offline", "--manifest-path"]);
    cargo
        .arg(root.join("probes/Cargo.toml"))
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir);
    cargo.args(["--config", "profile.release.panic='abort'", "--config", "profile.release.strip=true"]);
    for name in [
        "RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "RUSTC_WORKSPACE_WRAPPER",
        "LLVM_PROFILE_FILE",
    ] {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target_dir.join(target).join("release/sandboxset-probes")
}

/// The program where everybody can run it, and twice more, setuid root and with a capability.
fn privileged_copies(program: &Path) -> TemporaryDir {
    let dir = temporary_dir("probes-privileged");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (name, mode) in [("probe", 0o755), ("setuid", 0o4755), ("caps", 0o755)] {
        let copy = dir.path().join(name);
        std::fs::copy(program, &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(mode)).unwrap();
    }
    if is_root() {
        // struct vfs_cap_data: revision 2, effective; CAP_NET_RAW permitted.
        let words = [0x0200_0001u32, 1 << 13, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(dir.path().join("caps"), "security.capability", &value, flags).unwrap();
    }
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

/// Runs all probes in sandboxes that `user` made, who is as odd as a host can be.
fn inside(program: &Path, privileged: &Path, bait: &Bait, user: Option<User>) -> (Vec<Answer>, bool) {
    let lines = PROBES.iter().map(|probe| bait.fill(probe.line.split('|').next().unwrap()));
    let jobs = lines.map(|line| json!({"args": words(&line)}));
    let dirs = DIRS.iter().map(|dir| json!({"args": ["cwd"], "cwd": dir}));
    let order = json!({
        "program": program, "privileged": privileged, "jobs": jobs.chain(dirs).collect::<Vec<_>>(),
        "memory": MEMORY, "pids": PIDS, "scratch_bytes": SCRATCH_BYTES, "scratch_inodes": SCRATCH_INODES,
        "while_starting": STARTS,
    });
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
fn control(program: &Path, privileged: &Path, bait: &Bait, probe: &Probe) -> Option<Answer> {
    let line = probe.line.rsplit('|').next().unwrap().replace("{privileged}", privileged.to_str().unwrap());
    let line = bait.fill(&line);
    let mut command = bounded(program);
    let user = ordinary_user();
    match probe.control {
        Control::Plain => {}
        Control::Odd => drop(command.arg("odd-start").arg(program)),
        Control::Weakened(flags) => drop(command.args(["weakened", &bait.fill(flags)])),
        // Nothing that needs a right is ever done with it, but by choice.
        Control::User | Control::Maybe => drop(as_user(&mut command, Some(user?))),
        Control::None(_) => return None,
    }
    command.args(words(&line)).current_dir(bait.dir.path()).env(PREFIX, "secret").stdin(Stdio::null());
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
    let program = build();
    let privileged = privileged_copies(&program);
    let program = privileged.path().join("probe");
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut failures = Vec::new();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();

    let stop = AtomicBool::new(false);
    let shared = std::fs::canonicalize("/usr/lib/os-release").unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| use_a_file(&shared, &stop));
        let _stop = StopWhenDone(&stop);
        let mut makers = vec![("this user", None)];
        makers.extend(ordinary_user().map(|user| ("an ordinary user", Some(user))));
        for (who, user) in makers {
            let mut bait = Bait::lay(&program, user);
            bait.places.insert("shared".into(), shared.to_str().unwrap().into());
            let (answers, disjoint) = inside(&program, privileged.path(), &bait, user);
            println!("in sandboxes made by {who}:");
            for (probe, answer) in PROBES.iter().zip(&answers) {
                let line = probe.line.split('|').next().unwrap();
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
        let mut bait = Bait::lay(&program, None);
        bait.places.insert("shared".into(), shared.to_str().unwrap().into());
        for probe in PROBES {
            let line = probe.line.rsplit('|').next().unwrap();
            let answer = control(&program, privileged.path(), &bait, probe);
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
