//! Things of which the kernel has so many for a user or for the machine: terminals, watches, queues, pipes. Whoever
//! takes all it can get takes nothing from others.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command as HostCommand, Stdio};

use sandboxset::{Command, OutputStream, Process, SandboxRef, SandboxSpec, Stdin};
use sandboxset_tests::machine::{User, is_root, ordinary_user};

use crate::support::{Guarded, HANG, run};

/// What can be used up: `hold` takes what it can get and says how much that is, `use` takes one and says what it got.
const OBJECTS: &str = r#"
import ctypes, fcntl, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
PTMX, INOTIFY_INIT, INOTIFY_ADD_WATCH, MQ_OPEN, MQ_UNLINK, IO_SETUP = "/dev/ptmx", 294, 254, 240, 241, 206
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
held = []
def terminal():
    held.append(os.open(sys.argv[3] if len(sys.argv) > 3 else PTMX, os.O_RDWR | os.O_NOCTTY))
def instance():
    held.append(call(INOTIFY_INIT, 0))
files, watched = [], set()
def watch():
    if not files:
        for directory, _, names in os.walk("/usr"):
            files.extend(os.path.join(directory, name) for name in names)
            if len(files) > 20000:
                break
        held.append(call(INOTIFY_INIT, 0))
        held.append(iter(files))
    # What is there under two names is watched once.
    before = len(watched)
    while len(watched) == before:
        watched.add(call(INOTIFY_ADD_WATCH, held[0], next(held[1]).encode(), 0x2000020))
def queue():
    name = b"objects-%d-%d" % (os.getpid(), len(held))
    attributes = struct.pack("8q", 0, 10, 8192, 0, 0, 0, 0, 0)
    held.append(call(MQ_OPEN, name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, attributes))
    call(MQ_UNLINK, name)
def pipe():
    ends = os.pipe()
    held.append(ends)
    return fcntl.fcntl(ends[0], F_GETPIPE_SZ)
def large_pipe():
    pipe()
    fcntl.fcntl(held[-1][0], F_SETPIPE_SZ, 1 << 20)
polls = []
def poll():
    if not polls:
        held.extend(os.pipe() for _ in range(200))
    if not polls or len(polls[-1][1]) == 0:
        polls.append((select.epoll(), [end for pair in held for end in pair]))
    polls[-1][0].register(polls[-1][1].pop(), 0)
def asynchronous():
    call(IO_SETUP, 1024, ctypes.byref(ctypes.c_ulong(0)))
deed = {"terminals": terminal, "instances": instance, "watches": watch, "queues": queue, "pipes": pipe,
        "polls": poll, "asynchronous": asynchronous}[sys.argv[2]]
if sys.argv[1] == "use":
    print("used", deed())
else:
    deed = large_pipe if deed is pipe else deed
    count, why = 0, "no end of it"
    try:
        # More than any limit that is meant to be reached.
        while count < 100000:
            deed()
            count += 1
    except OSError as error:
        why = error
    print("held", count, why, flush=True)
    sys.stdin.readline()
"#;

/// Each kind, and how many of it a sandbox gets at most.
const KINDS: [(&str, usize); 7] = [
    ("terminals", 16),
    ("instances", 8),
    ("watches", 4096),
    ("queues", 1),
    // By descriptors, memory and the kernel's limit for its user.
    ("pipes", 511),
    ("polls", 100_000),
    ("asynchronous", 0),
];

fn args<'a>(deed: &'a str, kind: &'a str) -> [&'a str; 5] {
    ["/usr/bin/python3", "-c", OBJECTS, deed, kind]
}

/// Takes all that a sandbox can get of a kind, and holds it.
fn hold(sandbox: &SandboxRef, kind: &str) -> (Process, usize) {
    let mut command = Command::new(args("hold", kind));
    command.stdin = Stdin::Stream;
    command.timeout = HANG;
    let process = sandbox.spawn(&command).unwrap();
    let mut said = String::new();
    while !said.ends_with('\n') {
        let mut buffer = [0; 100];
        let length = process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap();
        assert!(length > 0, "{kind}: it ended: {:?}", process.wait(HANG, None));
        said.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    println!("{kind}: {}", said.trim());
    (process, number(&said))
}

/// How many are held, of what was said about that.
fn number(said: &str) -> usize {
    let count = said.split_whitespace().nth(1).and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("{said:?}"))
}

/// The same on the host.
fn on_host(words: &[&str], user: Option<User>) -> HostCommand {
    let mut command = HostCommand::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Takes one on the host; an error is what it said.
fn use_on_host(words: &[&str], user: Option<User>) -> Result<String, String> {
    let output = on_host(words, user).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn what_one_sandbox_uses_up_its_neighbours_and_the_host_still_have() {
    let set = Guarded::new(SandboxSpec::default());
    let (greedy, neighbour) = (set.get(), set.get());
    for (kind, most) in KINDS {
        let (process, held) = hold(&greedy, kind);
        assert!(held <= most, "{kind}: {held} of {most}");
        assert!(held > 0 || most == 0, "{kind}: none at all, so this shows nothing");
        let on_host = use_on_host(&args("use", kind), None);
        if kind == "asynchronous" {
            // Nobody in a sandbox has it, because the kernel's number of them is the machine's.
            assert!(!run(&neighbour, &args("use", kind)).success());
            println!("  on the host: {on_host:?}");
        } else {
            let output = run(&neighbour, &args("use", kind));
            assert!(output.success(), "{kind}: {output:?}");
            let on_host = on_host.unwrap_or_else(|error| panic!("{kind}: {error}"));
            if kind == "pipes" && is_root() {
                // As large as ever, too.
                assert_eq!((&*output.stdout.text(), &*on_host), ("used 65536\n", "used 65536\n"));
            }
        }
        process.kill().unwrap();
        process.wait(HANG, None).unwrap();
    }
    greedy.put().unwrap();
    neighbour.put().unwrap();
}

/// Who holds something on the host until it is dropped.
struct Holder(Child);

impl Holder {
    fn start(words: &[&str], user: Option<User>) -> (Self, usize) {
        let mut child = on_host(words, user).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        (Holder(child), number(&said))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The control: outside a sandbox one process of a user can take from the next what is counted for users, and in one
/// file system of terminals all there are.
#[test]
fn outside_a_sandbox_a_process_can_use_up_what_others_of_its_user_want() {
    let Some(user) = ordinary_user() else {
        println!(
            "SKIPPED: only root can use up what belongs to another user than those who run programs here"
        );
        return;
    };
    for kind in ["instances", "queues", "pipes"] {
        let (_holder, held) = Holder::start(&args("hold", kind), Some(user));
        let used = use_on_host(&args("use", kind), Some(user));
        println!("{kind}: {held} held, then {used:?}");
        let got = used.as_deref();
        assert!(got.is_err() || (kind == "pipes" && got != Ok("used 65536\n")), "{kind}: {used:?}");
    }
    let script = "mount -t devpts -o newinstance,max=4,ptmxmode=0666 none /mnt && exec \"$@\"";
    let words =
        [&["unshare", "--mount", "sh", "-c", script, "sh"], &args("hold", "terminals")[..], &["/mnt/ptmx"]];
    let (_holder, held) = Holder::start(&words.concat(), None);
    assert_eq!(held, 4, "terminals");
}
