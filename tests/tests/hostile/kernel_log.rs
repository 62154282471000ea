//! What a sandbox can make the kernel write to its log, which is everybody's: nothing for what is denied, and of crashes
//! no more than the kernel lets through.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use sandboxset::{Command, Limits, Output, SandboxRef, SandboxSpec};
use sandboxset_self_test::PROGRAM;

use crate::support::{Guarded, python, run};

const DENIED: usize = 10_000;
const CRASHES: usize = 300;
const FOREIGN: usize = 200;
const OUT_OF_MEMORY: usize = 5;

/// The kernel's log from now on, read beside everybody else who reads it.
struct Log(File);

impl Log {
    /// An error says why it cannot be read.
    fn open() -> std::io::Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut file = File::options().read(true).custom_flags(nonblocking).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Log(file))
    }

    /// The lines since the last time that mention a name. What others write is nobody's business here.
    fn since(&mut self, name: &str) -> Vec<String> {
        let (mut found, mut record) = (Vec::new(), [0; 8192]);
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let line = String::from_utf8_lossy(&record[..length]);
                    found.extend(line.contains(name).then(|| line.into_owned()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return found,
                // Lines were lost before they were read; the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Python code that runs under a name of its own.
fn named_code(name: &str, code: &str) -> String {
    format!("import ctypes, os, sys\nlibc = ctypes.CDLL(None)\nlibc.prctl(15, b'{name}', 0, 0, 0)\n{code}")
}

fn named(sandbox: &SandboxRef, name: &str, code: &str) -> Output {
    python(sandbox, &named_code(name, code))
}

fn number(path: &str) -> u64 {
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn what_is_denied_is_not_logged_and_crashes_are_only_as_far_as_the_kernel_limits_them() {
    let mut log = match Log::open() {
        Ok(log) => log,
        Err(error) => {
            println!("SKIPPED: the kernel's log cannot be read here: {error}");
            return;
        }
    };
    if number("/proc/sys/kernel/print-fatal-signals") != 0 {
        println!("SKIPPED: kernel.print-fatal-signals is set, and so every crash is logged");
        return;
    }
    let name = format!("flood-{}", std::process::id());
    let spec = SandboxSpec {
        limits: Limits { memory_bytes: 64 << 20, ..Limits::default() },
        ..SandboxSpec::default()
    };
    let set = Guarded::new(spec);
    let sandbox = set.get();

    // ptrace, mount, unshare, bpf, an internet socket, clone3.
    let code = format!(
        "for number in range({DENIED}):\n    libc.syscall((101, 165, 272, 321, 41, 435)[number % 6], 2, 1, 0, 0, 0)"
    );
    assert!(named(&sandbox, &name, &code).success());
    assert_eq!(log.since(&name), Vec::<String>::new(), "denied calls");

    // Calls of another architecture, for which the caller is ended.
    sandbox.write_file(name.as_ref(), PROGRAM, 0o755).unwrap();
    let script =
        format!("i=0; while [ $i -lt {FOREIGN} ]; do ./{name} int80 >/dev/null || exit 1; i=$((i+1)); done");
    let output = run(&sandbox, &["/bin/sh", "-c", &script]);
    assert!(output.success(), "{output:?}");
    assert_eq!(log.since(&name), Vec::<String>::new(), "calls of another architecture");

    let start = Instant::now();
    let code = format!(
        "
for number in range({CRASHES}):
    child = os.fork()
    if child == 0:
        ctypes.string_at(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 11"
    );
    let output = named(&sandbox, &name, &code);
    assert!(output.success(), "{output:?}");
    let crashes = log.since(&name);
    let (interval, burst) =
        (number("/proc/sys/kernel/printk_ratelimit"), number("/proc/sys/kernel/printk_ratelimit_burst"));
    // An interval may have begun before, and one be left behind.
    let intervals = start.elapsed().as_secs() / interval.max(1) + 2;
    println!(
        "{CRASHES} crashes in {:.1?}: {} lines of at most {}",
        start.elapsed(),
        crashes.len(),
        intervals * burst
    );
    assert!(crashes.len() as u64 <= intervals * burst, "{crashes:#?}");

    // Said, not limited: the kernel writes at least a line for each process that it kills for want of memory.
    for _ in 0..OUT_OF_MEMORY {
        let code = named_code(&name, "blocks = []\nwhile True: blocks.append(b'x' * (1 << 20))");
        // That it is contained is for another test to say.
        let _ = sandbox.exec(&Command::new(["/usr/bin/python3", "-c", &code]));
    }
    println!("{OUT_OF_MEMORY} times out of memory: {} lines", log.since(&name).len());
    drop(sandbox);

    // The control: what is written under that name is found.
    match File::options()
        .write(true)
        .open("/dev/kmsg")
        .and_then(|mut log| log.write_all(format!("{name}: a test of the log\n").as_bytes()))
    {
        Ok(()) => assert_eq!(log.since(&name).len(), 1, "the control"),
        Err(error) => println!("SKIPPED: no control: the kernel's log cannot be written here: {error}"),
    }
}
