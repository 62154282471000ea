//! Guests: Debian's kernel under emulation, with nothing in it but our program and its libraries.
//!
//! Emulated also where the processor could help: that takes 2 s to boot, needs no device of the host, and is the
//! same everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cpio::newc;

/// A boot and all checks take about half a minute; a guest that takes so long hangs.
const HANG: Duration = Duration::from_secs(300);

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TERMINAL: u32 = 0o020_600;

/// What every guest is started from.
pub(crate) struct Guest {
    kernel: PathBuf,
    archive: PathBuf,
}

impl Guest {
    /// The guest, made by the first test that needs it; `None`, said loudly, where one cannot be had.
    pub(crate) fn get() -> Option<&'static Guest> {
        static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
        match GUEST.get_or_init(Guest::make) {
            Ok(guest) => Some(guest),
            Err(reason) => {
                skip(reason);
                None
            }
        }
    }

    fn make() -> Result<Guest, String> {
        if std::env::consts::ARCH != "x86_64" {
            return Err("guests are x86-64 machines".into());
        }
        if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
            return Err(format!("{QEMU} is not installed"));
        }
        // Where make/guest puts it.
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let kernel = scratch.parent().unwrap().join("guest/vmlinuz");
        if !kernel.exists() {
            return Err(format!("there is no kernel {}; `make prerequisites` fetches it", kernel.display()));
        }
        let archive = scratch.join("guest.cpio");
        write_archive(&archive);
        Ok(Guest { kernel, archive })
    }

    /// Boots a world, and answers all that the guest said until it switched itself off.
    pub(crate) fn boot(&self, world: &str) -> String {
        let mut qemu = Command::new(QEMU);
        // With a thread for each processor of the guest, one can go on executing what another has patched: a kernel
        // that switches its freezer on and off, as v1 cgroups have it do, then meets a breakpoint that is there no
        // longer, for ever.
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "512",
        ]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.archive);
        // Without its check of the timer, which takes a host that is busy for a broken one. What follows the dashes is
        // for the first process.
        let options = "console=ttyS0 loglevel=1 panic=-1 reboot=t no_timer_check nowatchdog";
        qemu.args(["-append", &format!("{options} -- {world}")]);
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let deadline = Instant::now() + HANG;
        let mut console = String::new();
        let hung = loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => console += &format!("{}\n", line.trim_end()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break false,
                Err(mpsc::RecvTimeoutError::Timeout) => break true,
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        assert!(!hung, "the guest {world} hangs:\n{console}");
        console
    }
}

const QEMU: &str = "qemu-system-x86_64";

/// Our two programs, one of them the first process, with their libraries where they look for them.
fn write_archive(path: &Path) {
    let mut out = fs::File::create(path).unwrap();
    for dir in ["dev", "bin", "lib", "lib64", "lib/x86_64-linux-gnu"] {
        write_entry(&mut out, newc::Builder::new(dir).mode(DIRECTORY), &[]);
    }
    write_entry(&mut out, newc::Builder::new("dev/console").mode(TERMINAL).rdev_major(5).rdev_minor(1), &[]);
    let guest = Path::new(env!("CARGO_BIN_EXE_guest"));
    let inside = Path::new(env!("CARGO_BIN_EXE_inside"));
    let mut files = BTreeMap::new();
    for program in [guest, inside] {
        files.extend(libraries(program).into_iter().map(|library| (library.clone(), library)));
    }
    files.extend(
        [(guest, "/bin/guest"), (inside, "/bin/inside")]
            .map(|(program, target)| (target.into(), program.into())),
    );
    for (target, source) in files {
        let name = target.strip_prefix("/").unwrap().to_str().unwrap();
        write_entry(&mut out, newc::Builder::new(name).mode(PROGRAM), &without_debug_information(&source));
    }
    write_entry(&mut out, newc::Builder::new("init").mode(0o120_777), b"bin/guest");
    newc::trailer(out).unwrap();
}

fn write_entry(out: &mut fs::File, entry: newc::Builder, contents: &[u8]) {
    let mut writer = entry.write(out, contents.len() as u32);
    writer.write_all(contents).unwrap();
    writer.finish().unwrap();
}

/// What a program is linked with.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}

/// The guest has little memory, and nobody debugs there.
fn without_debug_information(file: &Path) -> Vec<u8> {
    let stripped = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest.stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(file).status();
    assert!(status.unwrap().success(), "strip {}", file.display());
    fs::read(stripped).unwrap()
}

/// Says that a test was skipped, past the test harness, which swallows what a passing test prints; and counts it.
fn skip(reason: &str) {
    static SKIPPED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = SKIPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED ({count} so far): {name}: {reason}");
}
