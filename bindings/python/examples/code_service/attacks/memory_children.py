"""Spreads a hoard over many processes, each of them small enough to pass a limit per process."""

import os
import signal
import socket

MEGABYTES = 40


def hoard(line):
    """What a child does: takes its share, then answers every question, which a dead one cannot."""
    share = bytearray(MEGABYTES << 20)
    for page in range(0, len(share), 4096):
        share[page] = 1
    while line.recv(1):
        line.send(b"x")


def answers(line):
    """Whether the child at the other end still holds its share."""
    try:
        line.send(b"?")
        return line.recv(1) == b"x"
    except OSError:
        return False


children = []
for _ in range(16):
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        for _, line in children:
            line.close()
        hoard(theirs)
        os._exit(0)
    theirs.close()
    children.append((pid, ours))
    # The newest first: it answers when it is full, and only then is it settled who had to die for that.
    alive = sum(answers(line) for _, line in reversed(children))
    os.write(1, f"holding={alive * MEGABYTES}\n".encode())
    if alive < len(children):
        os.write(1, b"child killed\n")
        break
else:
    os.write(1, b"took 640 MiB\n")
for pid, _ in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
