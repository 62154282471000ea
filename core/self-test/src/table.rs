//! Which probe is for which row of the checklist, with what arguments, and what its negative control is.

use self::Control::{Maybe, None, Odd, Plain, User, Weakened};

/// One probe: an attempt, and the same attempt where it must succeed. Arguments in braces stand for what was laid as bait.
pub struct Probe {
    /// The rows of the checklist.
    pub rows: &'static [u32],
    /// Name and arguments inside; after `|` the arguments outside, if others.
    pub line: &'static str,
    /// Its negative control.
    pub control: Control,
}

/// Where the same attempt must succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Outside, by whoever runs the tests.
    Plain,
    /// Outside, by an ordinary user, where it cannot hurt.
    User,
    /// Outside, with namespaces of its own or the like.
    Weakened(&'static str),
    /// Outside, after an odd start.
    Odd,
    /// Outside, where it may be refused too by a setting of the machine, or needs more rights than are harmless.
    Maybe,
    /// It cannot be tried outside without harm, or there is no outside to it: why.
    None(&'static str),
}

const fn probe(rows: &'static [u32], line: &'static str, control: Control) -> Probe {
    Probe { rows, line, control }
}

/// What is not tried outside for real.
const HARMFUL: Control = None("outside it would change the machine");

// The limits of the sandboxes; a probe that gets beyond them has escaped.

/// Memory, in bytes.
pub const MEMORY: u64 = 64 << 20;
/// Processes.
pub const PIDS: u64 = 32;
/// Bytes of each tmpfs.
pub const SCRATCH_BYTES: u64 = 8 << 20;
/// Inodes of each tmpfs.
pub const SCRATCH_INODES: u64 = 200;

/// All of them.
pub const PROBES: &[Probe] = &[
    probe(&[1], "fds", Odd),
    probe(&[2], "cwd", Weakened("outside")),
    probe(&[3], "selfexe", Plain),
    probe(&[4], "race-join 1500", Plain),
    probe(&[5], "env {prefix}", Plain),
    probe(&[6, 7, 11], "attrs", Odd),
    probe(&[8, 42], "caps", Plain),
    probe(&[8], "file-caps /privileged/caps|file-caps {privileged}/caps", User),
    probe(&[9], "nnp", Plain),
    probe(&[9, 18], "setuid-program /privileged/setuid|setuid-program {privileged}/setuid", User),
    probe(
        &[18],
        "overlay-attributes / /usr /usr/lib/os-release /privileged /scratch|overlay-attributes {dir}",
        Plain,
    ),
    probe(&[40], "seccomp", Plain),
    probe(&[10], "tiocsti", Plain),
    probe(&[11], "core", Maybe),
    probe(&[13], "chroot-break {canary}", Weakened("root={dir}")),
    probe(&[13], "host-files {canary} /etc/shadow /etc/hostname|host-files {canary}", Plain),
    probe(&[13, 20, 21], "write-root / /usr /etc /proc /dev /sys /privileged /code|write-root {dir}", Plain),
    probe(&[20], "mknod", Plain),
    probe(&[20], "devices", Plain),
    probe(&[21], "proc-write", Plain),
    probe(&[22], "proc-leaks", Plain),
    probe(&[23], "sysfs", Weakened("mount")),
    probe(&[24], "cgroupfs", Weakened("mount")),
    probe(&[24], "cgroup-names", Maybe),
    probe(&[25], "umount", Weakened("mount")),
    probe(&[28], "locks {shared}", Plain),
    probe(&[28], "inotify {shared}", Plain),
    probe(&[28], "shm {shm}", Plain),
    probe(&[31, 42], "userns-unshare", Plain),
    probe(&[31], "userns-clone", Plain),
    probe(&[31], "userns-clone3", Plain),
    probe(&[31], "userns-sysctl", Maybe),
    probe(&[31], "setns", Plain),
    probe(&[41, 42], "mounts", Weakened("mount")),
    probe(&[32], "syscall-sweep", Maybe),
    probe(&[32, 39], "x32", HARMFUL),
    probe(&[33], "ptrace 1|ptrace", Plain),
    probe(&[34], "keyring", Plain),
    probe(&[35], "bpf", Plain),
    probe(&[35], "perf", Plain),
    probe(&[36], "io-uring", Plain),
    probe(&[37], "userfaultfd", Plain),
    probe(&[38], "sockets", Plain),
    probe(&[39], "int80", Plain),
    probe(&[42], "setuid", Plain),
    probe(&[43], "uid-map", Plain),
    probe(&[43], "groups", Maybe),
    probe(&[45], "hostname", Weakened("uts")),
    probe(&[45], "host-name {hostname}", Plain),
    probe(&[47], "fork-bomb 32", Plain),
    probe(&[48], "memory 96", Plain),
    probe(&[50], "descriptors 1024", Plain),
    probe(&[50], "ptys 17", Plain),
    probe(&[50], "inotify-instances 9", Plain),
    probe(&[50], "inotify-watches 4097 /usr", Plain),
    probe(&[50], "queues 2", Plain),
    probe(&[27], "tmpfs-bytes 8454144 /scratch /tmp /dev/shm|tmpfs-bytes 8454144 {dir}", Plain),
    probe(&[27], "tmpfs-inodes 201 /scratch /tmp /dev/shm|tmpfs-inodes 201 {dir}", Plain),
    probe(&[29], "sysv {sysv}", Plain),
    probe(&[29], "mqueue {mqueue}", Plain),
    probe(&[54], "zombies 200", Weakened("subreaper")),
    probe(&[3, 33, 43], "init", Plain),
    probe(&[54, 55], "kill-init", None("outside it would kill what is not ours")),
    probe(&[55], "signals-outside {pid}", Plain),
    probe(&[55], "host-processes {name}", Plain),
    probe(&[57], "tcp4 {tcp4}", Plain),
    probe(&[57], "tcp6 {tcp6}", Plain),
    probe(&[57], "abstract-socket {name}", Plain),
    probe(&[57, 58], "path-socket {socket} /var/run/docker.sock", Plain),
    probe(&[57], "metadata", None("only clouds have it")),
    probe(&[57], "netlink", Plain),
    probe(&[57], "netlink-change", Weakened("net")),
    probe(&[22], "proc-masks", Plain),
    // All zeros, so that outside nothing happens; what needs no right to be answered is the control.
    probe(&[34, 41], "call add_key", User),
    probe(&[34], "call keyctl", User),
    probe(&[34], "call request_key", User),
    probe(&[35], "call bpf", Maybe),
    probe(&[35], "call perf_event_open", User),
    probe(&[36], "call io_uring_setup", User),
    probe(&[36], "call io_uring_enter", User),
    probe(&[36], "call io_uring_register", User),
    probe(&[37], "call userfaultfd", Maybe),
    probe(&[50], "call io_setup", Maybe),
    probe(&[50], "call io_submit", Maybe),
    probe(&[33], "call ptrace", User),
    probe(&[33], "call process_vm_readv", User),
    probe(&[33], "call process_vm_writev", User),
    probe(&[33], "call process_madvise", User),
    probe(&[33], "call pidfd_getfd", User),
    probe(&[33], "call kcmp", Maybe),
    probe(&[41], "call acct", HARMFUL),
    probe(&[41, 45], "call adjtimex", User),
    probe(&[41, 45], "call clock_adjtime", User),
    probe(&[41, 45], "call clock_settime", HARMFUL),
    probe(&[41, 45], "call settimeofday", HARMFUL),
    probe(&[41], "call delete_module", HARMFUL),
    probe(&[41], "call init_module", HARMFUL),
    probe(&[41], "call finit_module", HARMFUL),
    probe(&[41], "call kexec_load", HARMFUL),
    probe(&[41], "call kexec_file_load", HARMFUL),
    probe(&[41], "call reboot", HARMFUL),
    probe(&[41], "call swapon", HARMFUL),
    probe(&[41], "call swapoff", HARMFUL),
    probe(&[41], "call syslog", HARMFUL),
    probe(&[41], "call vhangup", HARMFUL),
    probe(&[41], "call quotactl", Maybe),
    probe(&[41], "call quotactl_fd", Maybe),
    probe(&[41], "call ioperm", Maybe),
    probe(&[41], "call iopl", Maybe),
    probe(&[41], "call fanotify_init", Maybe),
    probe(&[41], "call fanotify_mark", User),
    probe(&[41], "call name_to_handle_at", User),
    probe(&[41], "call open_by_handle_at", Maybe),
    probe(&[41], "call move_pages", User),
    probe(&[41], "call migrate_pages", Maybe),
    probe(&[41], "call mbind", User),
    probe(&[41], "call get_mempolicy", User),
    probe(&[41], "call set_mempolicy", User),
    probe(&[41], "call memfd_secret", Maybe),
    probe(&[41], "call lookup_dcookie", Maybe),
    probe(&[41], "call nfsservctl", Maybe),
    probe(&[41], "call _sysctl", Maybe),
    probe(&[41], "call uselib", Maybe),
    probe(&[41], "call ustat", User),
    probe(&[41], "call modify_ldt", User),
    probe(&[41], "call mount", Maybe),
    probe(&[25, 41], "call umount2", Maybe),
    probe(&[25, 41], "call mount_setattr", User),
    probe(&[25, 41], "call move_mount", Maybe),
    probe(&[41], "call open_tree", Maybe),
    probe(&[41], "call fsopen", Maybe),
    probe(&[41], "call fsconfig", User),
    probe(&[41], "call fsmount", Maybe),
    probe(&[41], "call fspick", Maybe),
    probe(&[41], "call pivot_root", Maybe),
    probe(&[41], "call chroot", User),
    probe(&[45], "call sethostname", Maybe),
    probe(&[45], "call setdomainname", Maybe),
    probe(&[31], "call setns", User),
    probe(&[31], "call unshare", User),
];

/// The probes whose controls look only at themselves, at their own children or at what was laid for them, so that
/// they can be run on anybody's host.
pub const HARMLESS: &[&str] = &[
    "fds",
    "env",
    "attrs",
    "caps",
    "nnp",
    "seccomp",
    "host-files",
    "write-root",
    "shm",
    "userns-unshare",
    "userns-clone",
    "userns-clone3",
    "ptrace",
    "perf",
    "io-uring",
    "int80",
    "uid-map",
    "host-name",
    "fork-bomb",
    "memory",
    "descriptors",
    "inotify-instances",
    "queues",
    "tmpfs-bytes",
    "tmpfs-inodes",
    "sysv",
    "mqueue",
    "signals-outside",
    "host-processes",
    "tcp4",
    "tcp6",
    "abstract-socket",
];

impl Probe {
    /// Its name; that of a bare system call has two words.
    pub fn name(&self) -> &'static str {
        let line = self.inside();
        if line.starts_with("call ") { line } else { line.split(' ').next().unwrap_or_default() }
    }

    /// Name and arguments inside.
    pub fn inside(&self) -> &'static str {
        self.line.split('|').next().unwrap_or_default()
    }

    /// Name and arguments outside.
    pub fn outside(&self) -> &'static str {
        self.line.rsplit('|').next().unwrap_or_default()
    }
}

/// Working directories that must not lead outside.
pub const DIRS: &[&str] = &[
    "/proc/self/fd/7",
    "/proc/self/fd/3",
    "/proc/self/cwd",
    "/proc/1/cwd",
    "/proc/1/root",
    "/proc/self/root",
];
