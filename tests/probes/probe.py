"""Attempts that a sandbox must refuse. Exit code: 0 refused, 1 succeeded, 2 cannot be tried here.

Run inside a sandbox every one must be refused; run on the host, as the negative control, it must succeed.
Usage: probe.py NAME [ARGUMENT]
"""

import ctypes
import errno
import os
import signal
import socket
import sys

REFUSED, SUCCEEDED, NOT_HERE = 0, 1, 2
libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS = 0x20000, 0x10000000, 0x4000000
PTRACE_ATTACH = 16


def status(key):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(key + ":"))


def called(result):
    """What a system call's result means; any failure is a refusal, and is named."""
    if result >= 0:
        return SUCCEEDED
    print(errno.errorcode.get(ctypes.get_errno(), ctypes.get_errno()))
    return REFUSED


def attempt(function, *arguments):
    """The same for a Python function."""
    try:
        function(*arguments)
    except OSError as error:
        print(error)
        return REFUSED
    return SUCCEEDED


def in_child(function):
    """Tries something that would change the caller in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(function())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def capabilities(_):
    sets = {key: status(key) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    print(sets)
    return REFUSED if all(int(bits, 16) == 0 for bits in sets.values()) else SUCCEEDED


def new_privileges(_):
    return REFUSED if status("NoNewPrivs") == "1" else SUCCEEDED


def unfiltered(_):
    return REFUSED if status("Seccomp") == "2" else SUCCEEDED


def descriptors(_):
    inherited = set()
    # Whatever is still open when the list was read and closed; the interpreter itself keeps none.
    for name in os.listdir("/proc/self/fd"):
        try:
            inherited.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            pass
    print(sorted(inherited))
    return REFUSED if {number for number, _ in inherited} <= {0, 1, 2} else SUCCEEDED


def environment(_):
    print(sorted(os.environ))
    return REFUSED if set(os.environ) <= {"PATH", "HOME", "LANG"} else SUCCEEDED


def tcp(port):
    return attempt(socket.create_connection, ("127.0.0.1", int(port)), 10)


def abstract_socket(name):
    client = socket.socket(socket.AF_UNIX)
    return attempt(client.connect, "\0" + name)


def packet_socket(_):
    return attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)


def netlink_change(_):
    """Adding an address to the loopback interface, in a network namespace that the caller owns on the host."""

    def add():
        if os.geteuid() == 0:
            libc.unshare(0x40000000)
        try:
            link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        except OSError as error:
            print(error)
            return REFUSED
        # RTM_NEWADDR, request with acknowledgement: 10.1.2.3/8 on interface 1.
        body = bytes([2, 8, 0, 0, 1, 0, 0, 0]) + b"\x08\x00\x02\x00\x0a\x01\x02\x03"
        head = (16 + len(body)).to_bytes(4, sys.byteorder) + b"\x14\x00\x05\x06" + bytes(8)
        link.send(head + body)
        code = int.from_bytes(link.recv(4096)[16:20], sys.byteorder, signed=True)
        print("netlink answered", code)
        return SUCCEEDED if code == 0 else REFUSED

    return in_child(add)


def host_file(path):
    ways = [path, "/proc/1/root" + path, "/proc/self/root/../.." + path, "/proc/self/cwd/../../../.." + path]
    outcomes = [attempt(lambda way=way: open(way).close()) for way in ways]
    return SUCCEEDED if SUCCEEDED in outcomes else REFUSED


def host_process(mark):
    """Whether some process has `mark` in its command line, other than those that look for it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as command_line:
                arguments = command_line.read().split(b"\0")
        except OSError:
            continue
        if mark.encode() in arguments and b"probe.py" not in b" ".join(arguments):
            return SUCCEEDED
    return REFUSED


def signal_host(pid):
    return attempt(os.kill, int(pid), 0)


def user_namespace(_):
    return in_child(lambda: called(libc.unshare(CLONE_NEWUSER)))


def user_namespace_by_clone(_):
    # No memory, no stack: a plain fork into a new namespace.
    def clone():
        pid = libc.syscall(56, CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid > 0:
            os.waitpid(pid, 0)
        return called(pid)

    return in_child(clone) if os.uname().machine == "x86_64" else NOT_HERE


def mount(_):
    def try_it():
        libc.unshare(CLONE_NEWNS)
        # Private first, so that nothing of the attempt reaches the host.
        libc.mount(None, b"/", None, 0x44000, None)
        return called(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))

    return in_child(try_it)


def host_name(_):
    def try_it():
        libc.unshare(CLONE_NEWUTS)
        return called(libc.sethostname(b"taken", 5))

    return in_child(try_it)


def ptrace(_):
    child = os.fork()
    if child == 0:
        signal.pause()
    outcome = called(libc.ptrace(PTRACE_ATTACH, child, None, None))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return outcome


def init_memory(_):
    """Pid 1 of the sandbox holds the descriptors through which it is controlled."""
    outcomes = [
        attempt(lambda: open("/proc/1/mem", "rb").close()),
        attempt(os.listdir, "/proc/1/fd"),
        attempt(os.readlink, "/proc/1/exe"),
        attempt(lambda: open("/proc/1/environ", "rb").close()),
    ]
    return SUCCEEDED if SUCCEEDED in outcomes else REFUSED


def kill_init(_):
    """The kernel answers success, but an init that has not asked for a signal never gets it from inside."""
    attempt(os.kill, 1, signal.SIGKILL)
    attempt(os.kill, 1, signal.SIGSTOP)
    return REFUSED


def system_call(number):
    """A system call with nothing but zeros: refused by a filter, or merely not happy with its arguments."""
    if os.uname().machine != "x86_64":
        return NOT_HERE

    def call():
        result = libc.syscall(int(number), 0, 0, 0, 0, 0, 0)
        code = ctypes.get_errno() if result < 0 else 0
        print(errno.errorcode.get(code, code))
        return REFUSED if code in (errno.EPERM, errno.ENOSYS) else SUCCEEDED

    return in_child(call)


def write_root(directory):
    def create():
        name = os.path.join(directory, "probe-was-here")
        open(name, "w").close()
        os.unlink(name)

    return attempt(create)


def device(_):
    """Making a device node: the memory of the machine."""
    name = "probe-device"

    def make():
        os.mknod(name, 0o600 | 0o020000, os.makedev(1, 1))
        os.unlink(name)

    return attempt(make)


def kernel_setting(_):
    """Opened for writing only; nothing is written."""
    return attempt(lambda: open("/proc/sys/kernel/core_pattern", "r+b", buffering=0).close())


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else ""))
