//! What of the file system is visible, writable, or shared.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::sys::{address, address_mut, call, in_child};
use crate::{Verdict, argument};

fn terminated(path: &str) -> CString {
    CString::new(path).unwrap_or_default()
}

fn at(path: &CString) -> usize {
    address(path.as_bytes_with_nul())
}

/// `chroot-break CANARY`: the classic way out of a chroot: another one, below the working directory.
pub(crate) fn chroot_break(arguments: &[String]) -> Verdict {
    let canary = argument(arguments, 0).trim_start_matches('/').to_owned();
    in_child(|| {
        let deeper = "break-out";
        let _ = fs::create_dir(deeper);
        let rooted = call(libc::SYS_chroot, &[at(&terminated(deeper))]);
        println!("chroot: {rooted:?}");
        let _ = fs::remove_dir(deeper);
        for _ in 0..64 {
            let _ = std::env::set_current_dir("..");
        }
        Verdict::refused("read the canary from above", fs::read(canary))
    })
}

/// `host-files PATH…`: files of the host, by every way there might be.
pub(crate) fn host_files(arguments: &[String]) -> Verdict {
    let ways = arguments.iter().flat_map(|path| {
        let up = "../".repeat(40);
        [
            path.clone(),
            format!("/proc/1/root{path}"),
            format!("/proc/1/cwd{path}"),
            format!("/proc/self/root/../..{path}"),
            format!("/proc/self/cwd/{up}{path}"),
            format!("/proc/self/task/1/root{path}"),
        ]
    });
    Verdict::worst(ways.map(|way| Verdict::refused(&way, fs::File::open(&way))))
}

/// `write-root DIR…`: nothing can be made there.
pub(crate) fn write_root(arguments: &[String]) -> Verdict {
    Verdict::worst(arguments.iter().map(|dir| {
        let path = Path::new(dir).join("probe-was-here");
        let made = fs::File::create(&path);
        let _ = fs::remove_file(&path);
        Verdict::refused(&format!("make a file in {dir}"), made)
    }))
}

/// Device nodes of memory, null, disks, fuse and kvm, by both calls.
pub(crate) fn mknod(_: &[String]) -> Verdict {
    let devices = [
        (libc::S_IFCHR, 1, 3),
        (libc::S_IFCHR, 1, 1),
        (libc::S_IFBLK, 8, 0),
        (libc::S_IFBLK, 254, 0),
        (libc::S_IFCHR, 10, 229),
        (libc::S_IFCHR, 10, 232),
    ];
    Verdict::worst(devices.map(|(kind, major, minor)| {
        let path = terminated("probe-device");
        let (mode, device) = ((kind | 0o600) as usize, libc::makedev(major, minor) as usize);
        let current = libc::AT_FDCWD as usize;
        let made = call(libc::SYS_mknodat, &[current, at(&path), mode, device]);
        #[cfg(target_arch = "x86_64")]
        let made = made.or_else(|_| call(libc::SYS_mknod, &[at(&path), mode, device]));
        let _ = fs::remove_file("probe-device");
        Verdict::refused(&format!("make device {major}:{minor}"), made)
    }))
}

/// `/dev` holds what is listed here, and none of the devices of the machine.
pub(crate) fn devices(_: &[String]) -> Verdict {
    const KNOWN: &[&str] = &[
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "console", "shm", "mqueue", "fd",
        "stdin", "stdout", "stderr", "core",
    ];
    const MACHINE: &[&str] =
        &["mem", "kmsg", "kvm", "fuse", "net/tun", "vda", "sda", "loop-control", "userfaultfd", "port"];
    let names: Vec<String> = fs::read_dir("/dev")
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    println!("{names:?}");
    let listed = Verdict::holds("only known names", names.iter().all(|name| KNOWN.contains(&name.as_str())));
    let opened = MACHINE
        .iter()
        .map(|name| format!("/dev/{name}"))
        .map(|path| Verdict::refused(&path, fs::metadata(&path)));
    Verdict::worst(opened.chain([listed]))
}

/// No setting of the kernel can be opened for writing; nothing is written but what was read.
pub(crate) fn proc_write(_: &[String]) -> Verdict {
    let (mut looked, mut writable) = (0, Vec::new());
    let mut left = vec!["/proc/sys".into(), "/proc/irq".into(), "/proc/bus".into(), "/proc/fs".into()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir::<std::path::PathBuf>(dir).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() && writable.len() < 3 {
                looked += 1;
                // Everybody may open this one, but not write it.
                let open_to_all = entry.path().ends_with("kernel/ns_last_pid");
                if !open_to_all && fs::OpenOptions::new().write(true).open(entry.path()).is_ok() {
                    writable.push(entry.path());
                }
            }
        }
    }
    println!("{looked} files looked at");
    let last_pid = "/proc/sys/kernel/ns_last_pid";
    if writable.is_empty() && fs::read(last_pid).is_ok_and(|own| fs::write(last_pid, own).is_ok()) {
        writable.push(last_pid.into());
    }
    for path in ["/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/1/mem"] {
        if fs::OpenOptions::new().write(true).open(path).is_ok() {
            writable.push(path.into());
        }
    }
    Verdict::holds(&format!("writable: {writable:?}"), writable.is_empty())
}

/// Whether a file of `/proc` says nothing: not there, not readable, empty, or nothing but zeros.
fn says_nothing(path: &str) -> bool {
    let Ok(file) = fs::File::open(path) else { return true };
    let mut buffer = [0; 4096];
    match file.read_at(&mut buffer, 0) {
        Ok(length) => length == 0,
        Err(_) => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
    }
}

/// Whether the kernel's log cannot be had: it does not open, or something else was put over it. It is not read: who
/// reads it takes it from others, and waits when it is empty.
fn log_is_silent() -> bool {
    let Ok(log) = fs::File::open("/proc/kmsg").and_then(|log| log.metadata()) else { return true };
    fs::metadata("/proc").is_ok_and(|proc| proc.dev() != log.dev())
}

/// The memory of the machine, the log and the addresses of its kernel.
pub(crate) fn proc_leaks(_: &[String]) -> Verdict {
    let log = Verdict::holds("/proc/kmsg says nothing", log_is_silent());
    let secret = ["kcore", "kpagecount", "kpageflags", "vmallocinfo", "slabinfo", "pagetypeinfo"];
    let silent = secret
        .map(|name| format!("/proc/{name}"))
        .map(|path| Verdict::holds(&format!("{path} says nothing"), says_nothing(&path)));
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let addresses = symbols.lines().any(|line| !line.starts_with("0000000000000000"));
    let symbols = Verdict::holds("/proc/kallsyms has no addresses", !addresses);
    Verdict::worst(silent.into_iter().chain([log, symbols]))
}

/// What container engines mask beyond that.
pub(crate) fn proc_masks(_: &[String]) -> Verdict {
    let masked = [
        "acpi",
        "asound",
        "interrupts",
        "keys",
        "key-users",
        "latency_stats",
        "sched_debug",
        "scsi",
        "timer_list",
        "timer_stats",
    ];
    Verdict::worst(
        masked
            .map(|name| format!("/proc/{name}"))
            .map(|path| Verdict::holds(&format!("{path} says nothing"), says_nothing(&path))),
    )
}

/// The mount table, as (mount point, file system).
fn mounts() -> Vec<(String, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            Some((mount.split(' ').nth(4)?.to_owned(), kind.split(' ').next()?.to_owned()))
        })
        .collect()
}

fn none_mounted(kinds: &[&str]) -> Verdict {
    let found: Vec<_> = mounts().into_iter().filter(|(_, kind)| kinds.contains(&kind.as_str())).collect();
    Verdict::holds(&format!("none of {kinds:?} is mounted: {found:?}"), found.is_empty())
}

fn cannot_mount(kinds: &[&str]) -> Verdict {
    let target = terminated("/tmp");
    Verdict::worst(kinds.iter().map(|kind| {
        let name = terminated(kind);
        let result = in_child(|| {
            Verdict::refused(
                &format!("mount {kind}"),
                call(libc::SYS_mount, &[at(&name), at(&target), at(&name), 0, 0]),
            )
        });
        // The next attempt sees the same directory as this one did.
        let _ = call(libc::SYS_umount2, &[at(&target), libc::MNT_DETACH as usize]);
        result
    }))
}

/// The devices and drivers of the machine.
pub(crate) fn sysfs(_: &[String]) -> Verdict {
    let kinds = ["sysfs", "debugfs", "tracefs", "bpf", "efivarfs", "securityfs", "configfs", "pstore"];
    Verdict::worst([none_mounted(&kinds), cannot_mount(&["sysfs", "debugfs", "tracefs"])])
}

/// The cgroup trees, where limits could be raised.
pub(crate) fn cgroupfs(_: &[String]) -> Verdict {
    Verdict::worst([none_mounted(&["cgroup", "cgroup2"]), cannot_mount(&["cgroup2", "cgroup"])])
}

/// Where in the trees of the host we are is not told.
pub(crate) fn cgroup_names(_: &[String]) -> Verdict {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths: Vec<&str> = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    println!("{paths:?}");
    // Of a command's own cgroup below the sandbox's there may be one name.
    let told = paths.iter().any(|path| path.trim_start_matches("/..").matches('/').count() > 1);
    Verdict::holds("no path of the host", !told)
}

/// Taking off, changing or moving any mount there is.
pub(crate) fn umount(_: &[String]) -> Verdict {
    let current = libc::AT_FDCWD as usize;
    let mut points: Vec<String> = mounts().into_iter().map(|(point, _)| point).collect();
    points.reverse();
    for point in &points {
        let path = terminated(point);
        let flags = (libc::MS_REMOUNT | libc::MS_BIND) as usize;
        // struct mount_attr: nothing to set, read-only to clear.
        let attributes = [0u64, 1, 0, 0];
        let attempts = [
            ("remount", call(libc::SYS_mount, &[0, at(&path), 0, flags, 0])),
            ("change", call(libc::SYS_mount_setattr, &[current, at(&path), 0, address(&attributes), 32])),
            ("move", call(libc::SYS_move_mount, &[current, at(&path), current, at(&terminated("/tmp")), 0])),
            ("unmount", call(libc::SYS_umount2, &[at(&path), libc::MNT_DETACH as usize])),
        ];
        for (what, result) in attempts {
            if result.is_ok() {
                return Verdict::refused(&format!("{what} {point}"), result);
            }
        }
    }
    Verdict::holds(&format!("nothing changed at {points:?}"), !points.is_empty())
}

/// `locks FILE`: the host holds a lock on a file of the root, which must not be felt.
pub(crate) fn locks(arguments: &[String]) -> Verdict {
    let Ok(file) = fs::File::open(argument(arguments, 0)) else { return Verdict::NotApplicable };
    let locked = file.try_lock();
    Verdict::holds(&format!("nobody else's lock is felt: {locked:?}"), locked.is_ok())
}

/// `inotify FILE`: the host opens a file of the root again and again, which must not be noticed.
pub(crate) fn inotify(arguments: &[String]) -> Verdict {
    let path = terminated(argument(arguments, 0));
    let Ok(queue) = call(libc::SYS_inotify_init1, &[0]) else { return Verdict::Blocked };
    let watch = call(libc::SYS_inotify_add_watch, &[queue as usize, at(&path), libc::IN_OPEN as usize]);
    println!("watch: {watch:?}");
    let mut poll = libc::pollfd { fd: queue as i32, events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let ready = call(libc::SYS_ppoll, &[address_mut(&mut poll), 1, address(&timeout), 0, 8]);
    Verdict::holds(&format!("nobody else's access is noticed: {ready:?}"), ready == Ok(0))
}

/// `overlay-attributes PATH…`: what tells an overlay that a file is deleted, hidden or somewhere else.
pub(crate) fn overlay_attributes(arguments: &[String]) -> Verdict {
    let names = ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy"];
    let attempts = arguments.iter().flat_map(|path| names.map(|name| (path, name)));
    Verdict::worst(attempts.map(|(path, name)| {
        let (path_at, name_at) = (terminated(path), terminated(name));
        let value = b"y";
        let set = call(libc::SYS_setxattr, &[at(&path_at), at(&name_at), address(value), 1, 0]);
        Verdict::refused(&format!("set {name} of {path}"), set)
    }))
}

/// `shm PATH`: a shared memory file of the host.
pub(crate) fn shm(arguments: &[String]) -> Verdict {
    let path = argument(arguments, 0);
    Verdict::refused(path, fs::File::open(path))
}
