//! Things that a sandbox leaves for the host to stumble over.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use sandboxset::{Command, Error, ErrorCode, FileKind, OutputStream, SandboxRef, SandboxSpec, ScratchDirs};
use sandboxset_keeper::Owner;
use sandboxset_tests::census::temporary_dir;
use sandboxset_tests::machine::{is_root, setting};

use crate::support::{Guarded, HANG, python, run};

/// Plants one of each kind in the scratch dir, all of them pointing at `secret` on the host as far as they can point.
fn plant(sandbox: &SandboxRef, secret: &Path) {
    let secret = secret.display();
    let output = python(
        sandbox,
        &format!(
            "
import os
os.chdir('/scratch')
os.symlink('{secret}', 'link')
os.symlink('/proc/1/root{secret}', 'magic')
os.symlink('/proc/self/root', 'self')
os.symlink(os.path.dirname('{secret}'), 'directory')
os.symlink('loop', 'loop')
os.mkfifo('fifo')
os.mkdir('real')
with open('sparse', 'w') as file: file.truncate(1 << 40)
import socket
socket.socket(socket.AF_UNIX).bind('socket')
"
        ),
    );
    assert!(output.success(), "{output:?}");
}

fn deceives_nobody(sandbox: &SandboxRef, secret: &Path) {
    let read = |name: &str| sandbox.read_file(Path::new(name), 1 << 20);
    for name in [
        "link",
        "magic",
        "self/etc/passwd",
        "directory/secret",
        "loop",
        "fifo",
        "socket",
        "real",
        "/proc/1/mem",
    ] {
        let error = read(name).expect_err(name);
        assert_ne!(error.code(), ErrorCode::Internal, "{name}: {error:?}");
        assert_ne!(error.code(), ErrorCode::SandboxDead, "{name}: {error:?}");
    }
    assert_eq!(read("sparse").unwrap_err().code(), ErrorCode::TooBig);

    let kinds = sandbox.list_dir(Path::new("."), 100).unwrap();
    let kind = |name: &str| kinds.iter().find(|entry| entry.name == name).map(|entry| entry.kind);
    assert_eq!(kind("link"), Some(FileKind::Symlink));
    assert_eq!(kind("fifo"), Some(FileKind::Other));
    assert_eq!(kind("sparse"), Some(FileKind::File));

    // Writing replaces what is planted instead of writing through it, and removing removes the link itself.
    for name in ["link", "fifo", "loop"] {
        sandbox.write_file(Path::new(name), b"written", 0o600).unwrap();
        assert_eq!(read(name).unwrap(), b"written", "{name}");
    }
    assert!(sandbox.write_file(Path::new("directory/secret"), b"written", 0o600).is_err());
    sandbox.remove(Path::new("directory")).unwrap();
    assert_eq!(std::fs::read(secret).unwrap(), b"secret");
}

#[test]
fn in_memory() {
    let dir = temporary_dir("hostile-planted");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let set = Guarded::new(SandboxSpec::default());
    let sandbox = set.get();
    plant(&sandbox, &secret);
    deceives_nobody(&sandbox, &secret);
    sandbox.put().unwrap();
}

/// On disk the host itself walks what the sandbox left, when it removes it.
#[test]
fn on_disk() {
    let (dir, base) = (temporary_dir("hostile-planted"), temporary_dir("hostile-scratch"));
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let set = Guarded::with_scratch(SandboxSpec::default(), ScratchDirs::Disk(base.path().into()));
    let sandbox = set.get();
    let scratch = sandbox.host_scratch_dir().unwrap();
    plant(&sandbox, &secret);
    // The control: whoever follows the link on the host does get the secret.
    assert_eq!(std::fs::read(scratch.join("link")).unwrap(), b"secret");
    deceives_nobody(&sandbox, &secret);

    // Deep, locked, and with a link at the end of it all.
    let output = python(
        &sandbox,
        &format!(
            "
import os
os.chdir('/scratch/real')
for depth in range(4000):
    os.mkdir('d'); os.chdir('d')
os.symlink('{}', 'out')
os.chdir('/scratch/real')
os.mkdir('locked'); open('locked/file', 'w').close(); os.chmod('locked', 0)
os.chmod('/scratch/real', 0o500)
",
            dir.path().display()
        ),
    );
    assert!(output.success(), "{output:?}");
    sandbox.destroy("planted enough").unwrap();
    drop(sandbox);
    // While that is removed, others are made and removed as ever.
    for _ in 0..20 {
        let other = set.get();
        assert!(run(&other, &["true"]).success());
        other.destroy("it served").unwrap();
    }
    drop(set);
    let left: Vec<_> = std::fs::read_dir(base.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
}

/// What a dead owner left is removed beside the first create in its directory, not before it.
#[test]
fn a_large_tree_of_a_dead_owner_delays_nobody() {
    let dirs = setting("SANDBOXSET_ORPHANED_DIRS", 2000);
    let base = temporary_dir("hostile-orphaned");
    // This process as it would be if it had started a moment later.
    let owner = Owner::current().unwrap().to_string();
    let (name, start) = owner.rsplit_once('-').unwrap();
    let orphan = base.path().join(format!("{name}-{}-1", start.parse::<u64>().unwrap() + 1));
    for number in 0..dirs {
        std::fs::create_dir_all(orphan.join(format!("{number}/inner"))).unwrap();
    }
    let set = Guarded::with_scratch(SandboxSpec::default(), ScratchDirs::Disk(base.path().into()));
    let start = Instant::now();
    let sandbox = set.get();
    println!("create in {:.1?}, the tree still there: {}", start.elapsed(), orphan.exists());
    let until = Instant::now() + HANG;
    while orphan.exists() {
        assert!(Instant::now() < until, "it was not removed");
        assert!(run(&sandbox, &["true"]).success());
    }
    sandbox.put().unwrap();
}

/// Where every sandbox has a user of its own on the host, a scratch dir is closed to the others.
#[test]
fn a_scratch_dir_on_disk_is_its_sandboxs_own() {
    let base = temporary_dir("hostile-scratch");
    let set = Guarded::with_scratch(SandboxSpec::default(), ScratchDirs::Disk(base.path().into()));
    let (one, two) = (set.get(), set.get());
    let metadata = |sandbox: &SandboxRef| std::fs::metadata(sandbox.host_scratch_dir().unwrap()).unwrap();
    assert_eq!(metadata(&one).permissions().mode() & 0o777, 0o700);
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        assert_ne!(metadata(&one).uid(), metadata(&two).uid());
        assert_ne!(metadata(&one).uid(), 0);
    }
    one.put().unwrap();
    two.put().unwrap();
}

/// The operator removes the directory of all scratch dirs while sandboxes live: nothing is left to be removed.
#[test]
fn a_base_of_scratch_dirs_may_vanish() {
    let base = temporary_dir("hostile-scratch");
    let set = Guarded::with_scratch(SandboxSpec::default(), ScratchDirs::Disk(base.path().into()));
    let (one, two) = (set.get(), set.get());
    drop(base);
    one.destroy("its scratch dir is gone").unwrap();
    two.put().unwrap();
    // That nothing is quarantined, the guard checks when it goes.
    drop((one, two));
}

/// Exchanges a directory and a link until it is killed.
const EXCHANGE: &str = "
import ctypes
libc = ctypes.CDLL(None)
print('begun', flush=True)
while True:
    assert libc.syscall(316, -100, b'/scratch/real', -100, b'/scratch/link', 2) == 0
";

/// What is a directory now is a link to one of the host a moment later, while the host reads, lists, writes and removes.
#[test]
fn a_directory_that_is_exchanged_for_a_link_deceives_nobody() {
    let reads = setting("SANDBOXSET_EXCHANGED_READS", 5_000);
    let (dir, base) = (temporary_dir("hostile-exchanged"), temporary_dir("hostile-scratch"));
    std::fs::write(dir.path().join("file"), "secret").unwrap();
    let set = Guarded::with_scratch(SandboxSpec::default(), ScratchDirs::Disk(base.path().into()));
    let sandbox = set.get();
    let outside = dir.path().display();
    let prepared = format!("mkdir real && echo -n own > real/file && ln -s {outside} link");
    assert!(run(&sandbox, &["/bin/sh", "-c", &prepared]).success());
    let mut command = Command::new(["/usr/bin/python3", "-c", EXCHANGE]);
    command.timeout = 10 * HANG;
    let exchanging = sandbox.spawn(&command).unwrap();
    let mut buffer = [0; 10];
    assert!(exchanging.read(OutputStream::Stdout, &mut buffer, HANG).unwrap() > 0);

    // The control: whoever goes by the path on the host is led to the secret.
    let path = sandbox.host_scratch_dir().unwrap().join("real/file");
    let until = Instant::now() + HANG;
    while std::fs::read(&path).ok().as_deref() != Some(b"secret") {
        assert!(Instant::now() < until, "nobody was led anywhere");
    }
    let (mut own, mut refused) = (0u64, 0u64);
    for round in 0..reads {
        let mut count = |result: Result<(), Error>| match result {
            Ok(()) => own += 1,
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::InvalidArgument, "{error}");
                refused += 1;
            }
        };
        count(sandbox.read_file("real/file".as_ref(), 100).map(|bytes| assert_eq!(bytes, b"own")));
        if round % 50 == 0 {
            count(sandbox.list_dir("real".as_ref(), 100).map(drop));
            count(sandbox.write_file("real/new".as_ref(), b"new", 0o600));
            count(sandbox.remove("real/new".as_ref()));
        }
    }
    println!("{own} calls reached what is the sandbox's own, {refused} were refused");
    let entries: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(entries, ["file"]);
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"secret");
    exchanging.kill().unwrap();
    exchanging.wait(HANG, None).unwrap();
    sandbox.destroy("exchanged enough").unwrap();
}
