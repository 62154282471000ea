//! Files of a sandbox, also those that were planted to deceive the host.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sandboxset::{Bind, ErrorCode, FileKind, Limits, SandboxSpec, ScratchDirs};

use crate::support::{sandbox, sandbox_of, sh};

#[test]
fn files_round_trip_and_relative_paths_begin_at_scratch() {
    let Some(sandbox) = sandbox() else { return };
    let bytes: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    sandbox.write_file(Path::new("data"), &bytes, 0o640).unwrap();
    assert_eq!(sandbox.read_file(Path::new("/scratch/data"), 1_000_000).unwrap(), bytes);
    assert_eq!(sh(&sandbox, "stat -c %a data; wc -c < data").stdout.text(), "640\n1000000\n");
    sandbox.write_file(Path::new("/tmp/empty"), b"", 0o600).unwrap();
    assert_eq!(sandbox.read_file(Path::new("/tmp/empty"), 0).unwrap(), b"");
    sandbox.write_file(Path::new("data"), b"new", 0o600).unwrap();
    assert_eq!(sandbox.read_file(Path::new("data"), 3).unwrap(), b"new");
    sandbox.remove(Path::new("data")).unwrap();
    let error = sandbox.read_file(Path::new("data"), 3).unwrap_err();
    assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("path")));
    assert!(error.message().contains("No such file"), "{error}");
}

#[test]
fn directories_are_listed_in_order_with_their_kinds_and_within_the_cap() {
    let Some(sandbox) = sandbox() else { return };
    let made = sh(
        &sandbox,
        "mkdir /scratch/l; cd /scratch/l; touch b; mkdir a; ln -s /etc/passwd c; ln /scratch/l/b d",
    );
    assert!(made.success(), "{made:?}");
    let entries = sandbox.list_dir(Path::new("l"), 4).unwrap();
    let listed: Vec<_> = entries.iter().map(|entry| (entry.name.as_bytes(), entry.kind)).collect();
    let expected: [(&[u8], FileKind); 4] = [
        (b"a", FileKind::Directory),
        (b"b", FileKind::File),
        (b"c", FileKind::Symlink),
        (b"d", FileKind::File),
    ];
    assert_eq!(listed, expected);
    assert_eq!(sandbox.list_dir(Path::new("l"), 3).unwrap_err().code(), ErrorCode::TooBig);
    assert_eq!(sandbox.list_dir(Path::new("l/b"), 3).unwrap_err().field(), Some("path"));
    sandbox.remove(Path::new("l")).unwrap();
    assert_eq!(sandbox.list_dir(Path::new("l"), 3).unwrap_err().code(), ErrorCode::InvalidArgument);
}

#[test]
fn planted_links_fifos_devices_and_endless_files_deceive_nobody() {
    // A sandbox may make no FIFO itself; one in a bind is as good.
    let base = std::env::temp_dir().join(format!("linux-planted-{}", std::process::id()));
    std::fs::create_dir(&base).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, base.join("fifo"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
    let secret = base.join("secret");
    std::fs::write(&secret, b"host secret").unwrap();
    deceive(&base, &secret);
    assert_eq!(std::fs::read(&secret).unwrap(), b"host secret");
    std::fs::remove_dir_all(&base).unwrap();
}

fn deceive(base: &Path, secret: &Path) {
    let bind = Bind { source: base.to_owned(), target: "/mnt/planted".into(), writable: false };
    let spec = SandboxSpec { binds: vec![bind], ..SandboxSpec::default() };
    let Some(sandbox) = sandbox_of(spec, ScratchDirs::Tmpfs) else { return };
    let planted = sandbox.list_dir(Path::new("/mnt/planted"), 10).unwrap();
    assert_eq!(planted[0].kind, FileKind::Other);
    let script = format!(
        "cd /scratch; ln -s {} link; ln -s /proc/1/root{} magic; truncate -s 1T sparse; ln -s loop loop; mkdir dir",
        secret.display(),
        secret.display()
    );
    let planted = sh(&sandbox, &script);
    assert!(planted.success(), "{planted:?}");
    for name in ["link", "magic", "/mnt/planted/fifo", "loop", "dir", "/dev/zero"] {
        let error = sandbox.read_file(Path::new(name), 1 << 20).unwrap_err();
        assert!(
            matches!(error.code(), ErrorCode::InvalidArgument | ErrorCode::PermissionDenied),
            "{name}: {error}"
        );
    }
    assert_eq!(sandbox.read_file(Path::new("sparse"), 1 << 20).unwrap_err().code(), ErrorCode::TooBig);
    // Writing replaces a link instead of following it.
    sandbox.write_file(Path::new("link"), b"mine", 0o600).unwrap();
}

#[test]
fn a_full_scratch_dir_and_a_read_only_root_say_so() {
    let limits = Limits { scratch_bytes: 1 << 20, scratch_inodes: 64, ..Limits::default() };
    let Some(sandbox) = sandbox_of(SandboxSpec { limits, ..SandboxSpec::default() }, ScratchDirs::Tmpfs)
    else {
        return;
    };
    let error = sandbox.write_file(Path::new("big"), &vec![1; 2 << 20], 0o600).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoCapacity, "{error}");
    assert!(sandbox.list_dir(Path::new("/scratch"), 10).unwrap().is_empty(), "a partial file was left");
    let output = sh(
        &sandbox,
        "dd if=/dev/zero of=/scratch/fill bs=64k; rm /scratch/fill; i=0; while touch f$i; do i=$((i+1)); done",
    );
    assert!(output.stderr.text().contains("No space left"), "{output:?}");
    assert!(sandbox.list_dir(Path::new("/scratch"), 1000).unwrap().len() < 64);
    for path in ["/usr/new", "/new"] {
        let error = sandbox.write_file(Path::new(path), b"x", 0o600).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PermissionDenied, "{error}");
    }
}

#[test]
fn code_and_binds_are_there_as_ordered() {
    let base = std::env::temp_dir().join(format!("linux-binds-{}", std::process::id()));
    for dir in ["code", "shared"] {
        std::fs::create_dir_all(base.join(dir)).unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(base.join(dir), everyone).unwrap();
    }
    std::fs::write(base.join("code/app.txt"), b"code").unwrap();
    let bind = |target: &str, writable| Bind { source: base.join("shared"), target: target.into(), writable };
    let spec = SandboxSpec {
        code_dir: Some(base.join("code")),
        binds: vec![bind("/mnt/rw", true), bind("/mnt/ro", false)],
        ..SandboxSpec::default()
    };
    if let Some(sandbox) = sandbox_of(spec, ScratchDirs::Tmpfs) {
        assert_eq!(sandbox.read_file(Path::new("/code/app.txt"), 100).unwrap(), b"code");
        let output = sh(
            &sandbox,
            "echo hi > /mnt/rw/f; cat /mnt/ro/f; touch /mnt/ro/g || touch /code/g || echo refused",
        );
        assert_eq!(output.stdout.text(), "hi\nrefused\n", "{output:?}");
        assert_eq!(std::fs::read(base.join("shared/f")).unwrap(), b"hi\n");
    }
    std::fs::remove_dir_all(&base).unwrap();
}
