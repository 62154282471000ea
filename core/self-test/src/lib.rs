//! Attempts to break out of a sandbox: one static program, carried inside, with a sub-command for each; the table of
//! all of them; and [`self_test`], which runs them on a user's own host.

mod bait;
mod inside;
mod report;
pub mod table;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{error, fs, io};

pub use self::bait::Bait;
pub use self::inside::{Answer, Job, inside, inside_forks};
pub use self::report::{Entry, Report, Verdict};
use self::table::{Control, DIRS, HARMLESS, PROBES, Probe};

/// Why something could not be tried.
pub type Failure = Box<dyn error::Error + Send + Sync>;

/// The program with all probes, static, for Linux.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sandboxset-probes"));

/// How often a command is started while a probe watches how commands start.
pub const STARTS: u64 = 300;

/// Ends only what hangs.
const HANG_SECONDS: &str = "60";

/// The variable of the host that no sandbox may see.
const PREFIX: &str = "SANDBOXSET_SECRET";

/// Makes every attempt in sandboxes on this host, and those outside too that hurt nobody.
///
/// Outside nothing is looked at but what is laid for that: files below the directory for temporary files, sockets,
/// shared memory and a message queue, all of which are gone afterwards.
pub fn self_test() -> Result<Report, Failure> {
    let place = Place::new()?;
    let program = place.privileged.join("probe");
    let name = format!("sandboxset-self-test-{}", std::process::id());
    let bait = Bait::lay(&mut bounded(&program), &place.bait, &name, PREFIX)?;
    let tried: Vec<&Probe> = PROBES.iter().filter(|probe| is_tried(probe)).collect();
    let attempts = tried.iter().map(|probe| Job { args: words(&bait.fill(probe.inside())), cwd: None });
    let dirs = DIRS.iter().map(|dir| Job { args: vec!["cwd".to_owned()], cwd: Some(dir.into()) });
    let jobs: Vec<Job> = attempts.chain(dirs).collect();
    let mut answers = Vec::new();
    let disjoint = inside(PROGRAM, &place.privileged, &jobs, STARTS, |answer| answers.push(answer))?;
    let mut answers = answers.into_iter();
    let mut entries = Vec::new();
    for probe in PROBES {
        let answer = is_tried(probe).then(|| answers.next()).flatten();
        let control = control(&program, &bait, probe);
        entries.push(entry(probe.rows.to_vec(), probe.name().to_owned(), answer, control));
    }
    for (dir, answer) in DIRS.iter().zip(answers) {
        entries.push(entry(vec![2], format!("cwd {dir}"), Some(answer), None));
    }
    let users = rustix::process::geteuid()
        .is_root()
        .then(|| Answer { code: Some(i32::from(!disjoint)), said: String::new() });
    entries.push(entry(vec![43], "two sandboxes are two users".to_owned(), users, None));
    Ok(Report { entries })
}

/// A file of the host that somebody else uses is not laid.
fn is_tried(probe: &Probe) -> bool {
    !probe.line.contains("{shared}")
}

fn entry(rows: Vec<u32>, name: String, answer: Option<Answer>, control: Option<bool>) -> Entry {
    let verdict = match answer.as_ref().map(|answer| answer.code) {
        None | Some(Some(2)) => Verdict::NotApplicable,
        Some(Some(0)) => Verdict::Blocked,
        Some(_) => Verdict::Escaped,
    };
    let detail = match (verdict, answer) {
        (Verdict::Escaped, Some(answer)) => answer.said,
        _ => String::new(),
    };
    Entry { rows, name, verdict, control, detail }
}

/// The same attempt outside, if it is harmless: whether it succeeded.
fn control(program: &Path, bait: &Bait, probe: &Probe) -> Option<bool> {
    if !is_tried(probe) || !HARMLESS.contains(&probe.name()) {
        return None;
    }
    let mut command = bounded(program);
    match probe.control {
        Control::Plain => {}
        Control::Odd => drop(command.arg("odd-start").arg(program)),
        _ => return None,
    }
    command.args(words(&bait.fill(probe.outside()))).current_dir("/").env(PREFIX, "secret");
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(output.status.code() == Some(1))
}

/// A program that is killed when it hangs.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--signal=KILL", HANG_SECONDS]).arg(program);
    command
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A directory for the bait and the program, removed when dropped.
struct Place {
    dir: PathBuf,
    bait: PathBuf,
    privileged: PathBuf,
}

impl Place {
    fn new() -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("sandboxset-self-test-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let place = Place { bait: dir.join("bait"), privileged: dir.join("closed/privileged"), dir };
        fs::create_dir(&place.bait)?;
        // Nobody else of the host may come by a program with rights of ours.
        let closed = place.dir.join("closed");
        fs::create_dir(&closed)?;
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o700))?;
        copy_privileged(&place.privileged)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Makes a directory with the program where everybody in a sandbox can run it, and twice more: setuid, and with a
/// capability if we may give it one.
pub fn copy_privileged(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
    for (name, mode) in [("probe", 0o755), ("setuid", 0o4755), ("caps", 0o755)] {
        let copy = dir.join(name);
        fs::write(&copy, PROGRAM)?;
        fs::set_permissions(&copy, PermissionsExt::from_mode(mode))?;
    }
    // struct vfs_cap_data: revision 2, effective; CAP_NET_RAW permitted.
    let value: Vec<u8> =
        [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let flags = rustix::fs::XattrFlags::empty();
    let given = rustix::fs::setxattr(dir.join("caps"), "security.capability", &value, flags);
    // Only root may.
    given.or_else(|errno| if rustix::process::geteuid().is_root() { Err(errno.into()) } else { Ok(()) })
}
