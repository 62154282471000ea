"""Tries to gain rights: user ids, namespaces, mounts, devices, kernel settings, forgotten system calls."""

import ctypes
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
NUMBERS = {
    "x86_64": {
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "add_key": 248,
        "init_module": 175,
        "kexec_load": 246,
        "open_by_handle_at": 304,
    },
    "aarch64": {
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "io_uring_setup": 425,
        "add_key": 217,
        "init_module": 105,
        "kexec_load": 104,
        "open_by_handle_at": 265,
    },
}.get(platform.machine(), {})


def attempt(label, act):
    try:
        act()
        print(f"{label}=GAINED")
    except OSError as error:
        print(f"{label}=errno {error.errno}")


def call(function, *arguments):
    def act():
        if function(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return act


def write(path, text):
    def act():
        with open(path, "w") as file:
            file.write(text)

    return act


attempt("setuid", lambda: os.setuid(0))
attempt("setgroups", lambda: os.setgroups([0]))
attempt("chroot", lambda: os.chroot("/scratch"))
attempt("mknod", lambda: os.mknod("/scratch/disk", 0o60600, os.makedev(8, 0)))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -10))
attempt("unshare user", call(libc.unshare, CLONE_NEWUSER))
attempt("unshare mount", call(libc.unshare, CLONE_NEWNS))
attempt("mount", call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None))
attempt("umount", call(libc.umount2, b"/usr", 2))
attempt("sethostname", call(libc.sethostname, b"evil", 4))
for name, number in NUMBERS.items():
    attempt(name, call(libc.syscall, number, 0, 0, 0, 0, 0))
for path in (
    "/usr/bin/evil",
    "/bin/evil",
    "/lib/evil",
    "/etc/evil",
    "/evil",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/sys/fs/cgroup/cgroup.procs",
    "/proc/1/oom_score_adj",
):
    attempt("write " + path, write(path, "1"))
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
print(
    "uid",
    os.getuid(),
    "effective",
    os.geteuid(),
    *(f"{name}={status[name]}" for name in ("CapPrm", "CapEff", "CapBnd")),
)
