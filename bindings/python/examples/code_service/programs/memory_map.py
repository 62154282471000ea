"""Shares memory between processes through a mapped file, counts with a record lock, and reads it back as a struct."""

import fcntl
import mmap
import os
import struct

WORKERS, ROUNDS = 4, 500
with open("shared.bin", "wb") as file:
    file.truncate(4096)


def work(number):
    with open("shared.bin", "r+b") as file, mmap.mmap(file.fileno(), 4096) as memory:
        for _ in range(ROUNDS):
            fcntl.lockf(file, fcntl.LOCK_EX)
            (total,) = struct.unpack_from("<Q", memory, 0)
            struct.pack_into("<Q", memory, 0, total + 1)
            fcntl.lockf(file, fcntl.LOCK_UN)
        struct.pack_into("<Q", memory, 8 * (number + 1), os.getpid())


children = []
for number in range(WORKERS):
    pid = os.fork()
    if pid == 0:
        work(number)
        os._exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

total, *pids = struct.unpack_from(f"<{WORKERS + 1}Q", open("shared.bin", "rb").read())
print("exit codes", *codes)
print("counted", total, "signed by all", pids == children)
