//! Attempts to use up what belongs to all. A neighbour in the same set is served all the while.

use std::path::Path;
use std::time::Duration;

use sandboxset::{Command, Limits, OnOverflow, Outcome, SandboxRef, SandboxSpec};

use crate::support::{Guarded, HANG, python, run};

fn limited(limits: Limits) -> Guarded {
    Guarded::new(SandboxSpec { limits, ..SandboxSpec::default() })
}

/// Runs an attack while the neighbour works, and answers how the attack ended and how often the neighbour was served.
fn beside_a_neighbour(set: &Guarded, attack: &Command) -> (SandboxRef, sandboxset::Output, u32) {
    let (attacker, neighbour) = (set.get(), set.get());
    let mut served = 0;
    let output = std::thread::scope(|threads| {
        let attack = threads.spawn(|| attacker.exec(attack).unwrap());
        loop {
            let over = attack.is_finished();
            assert_eq!(run(&neighbour, &["echo", "served"]).stdout.text(), "served\n");
            served += 1;
            if over {
                break attack.join().unwrap();
            }
        }
    });
    neighbour.put().unwrap();
    (attacker, output, served)
}

#[test]
fn a_fork_bomb_is_contained() {
    let set = limited(Limits { pids: 32, ..Limits::default() });
    let mut bomb = Command::new([
        "/usr/bin/python3",
        "-c",
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    ]);
    bomb.timeout = Duration::from_secs(2);
    let (attacker, output, served) = beside_a_neighbour(&set, &bomb);
    assert_eq!(output.outcome, Outcome::TimedOut, "{output:?}");
    // All of it died with its command, and the sandbox can start others again.
    assert!(run(&attacker, &["true"]).success());
    println!("fork bomb: neighbour served {served} times");
    attacker.destroy("attacked").unwrap();

    // The control: as many processes as are allowed are possible, and more are not.
    let many = "import os,signal,sys\nfor n in range(100):\n try: pid = os.fork()\n except OSError: print(n); sys.exit()\n if pid == 0: signal.pause()";
    let sandbox = set.get();
    let forked: u32 = python(&sandbox, many).stdout.text().trim().parse().unwrap();
    assert!((20..32).contains(&forked), "{forked}");
    sandbox.put().unwrap();
}

#[test]
fn a_memory_bomb_is_contained() {
    let set = limited(Limits { memory_bytes: 64 << 20, ..Limits::default() });
    let bomb =
        Command::new(["/usr/bin/python3", "-c", "blocks = []\nwhile True: blocks.append(b'x' * (1 << 20))"]);
    let (attacker, output, served) = beside_a_neighbour(&set, &bomb);
    if set.has_cgroup("memory") {
        assert_eq!(output.outcome, Outcome::OutOfMemory, "{output:?}");
    } else {
        assert!(!output.success(), "{output:?}");
    }
    println!("memory bomb: {:?}, neighbour served {served} times", output.outcome);
    attacker.put().unwrap();

    // The control: what fits is allowed.
    let sandbox = set.get();
    let output = python(&sandbox, "print(len(b'x' * (24 << 20)))");
    assert_eq!(output.stdout.text(), format!("{}\n", 24 << 20), "{output:?}");
    sandbox.put().unwrap();
}

#[test]
fn an_output_flood_is_bounded() {
    let set = limited(Limits::default());
    let mut flood = Command::new(["yes"]);
    flood.timeout = Duration::from_secs(2);
    flood.output_bytes = 64 << 10;
    let (attacker, output, served) = beside_a_neighbour(&set, &flood);
    assert_eq!(output.outcome, Outcome::TimedOut);
    assert_eq!(output.stdout.bytes.len(), 64 << 10);
    assert!(output.stdout.dropped > 0);
    println!("output flood: {} MiB dropped, neighbour served {served} times", output.stdout.dropped >> 20);
    attacker.put().unwrap();

    let sandbox = set.get();
    flood.on_overflow = OnOverflow::Kill;
    flood.timeout = HANG;
    assert_eq!(sandbox.exec(&flood).unwrap().outcome, Outcome::OutputLimit);
    sandbox.put().unwrap();
}

#[test]
fn a_daemon_dies_with_its_command() {
    let set = limited(Limits::default());
    let sandbox = set.get();
    // Away from its parent, its session, its group and its streams.
    let daemon = "
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
        os.mkdir('/scratch/alive')
        while True: signal.pause()
    os._exit(0)
import time
os.wait()
while not os.path.exists('/scratch/alive'): time.sleep(0.001)
# The control: it is there as long as this command is.
print(len([pid for pid in os.listdir('/proc') if pid.isdigit()]))
";
    let output = python(&sandbox, daemon);
    assert_eq!(output.stdout.text(), "3\n", "{output:?}");
    let count = python(&sandbox, "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))");
    assert_eq!(count.stdout.text(), "2\n", "only the init and who asks");
    sandbox.put().unwrap();
}

#[test]
fn scratch_is_limited_in_bytes_and_files() {
    let set = limited(Limits { scratch_bytes: 4 << 20, scratch_inodes: 100, ..Limits::default() });
    let (sandbox, neighbour) = (set.get(), set.get());
    for dir in ["/scratch", "/tmp", "/dev/shm"] {
        let fill = format!(
            "
import errno, os
written = 0
try:
    with open('{dir}/big', 'wb', buffering=0) as file:
        while True: written += file.write(b'x' * 65536)
except OSError as error: print(errno.errorcode[error.errno], written)
os.unlink('{dir}/big')
made = 0
try:
    while True:
        open(f'{dir}/{{made}}', 'w').close()
        made += 1
except OSError as error: print(errno.errorcode[error.errno], made)
"
        );
        let output = python(&sandbox, &fill);
        let text = output.stdout.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!((words.len(), words[0], words[2]), (4, "ENOSPC", "ENOSPC"), "{dir}: {output:?}");
        let (bytes, files): (u64, u64) = (words[1].parse().unwrap(), words[3].parse().unwrap());
        assert!((3 << 20..=4 << 20).contains(&bytes), "{dir}: {bytes} bytes");
        assert!((80..=100).contains(&files), "{dir}: {files} files");
        // The neighbour has its own.
        let name = Path::new(dir).join("mine");
        neighbour.write_file(&name, &[0; 1 << 20], 0o600).unwrap();
    }
    sandbox.put().unwrap();
    neighbour.put().unwrap();
}
