"""Plants links, pipes and devices where the host will look for a result, hoping that it follows or hangs."""

import os
import socket
import sys

canary = sys.argv[1]
for name, target in (
    ("report.txt", canary),
    ("shadow.txt", "/etc/shadow"),
    ("passwd.txt", "/etc/passwd"),
    ("up.txt", "../../../../../.." + canary),
    ("magic.txt", "/proc/self/root" + canary),
):
    os.symlink(target, name)
os.symlink(os.path.dirname(canary), "folder")
try:
    os.mkfifo("fifo.txt")
except PermissionError:
    # Then at least a socket, which is no file to read either.
    socket.socket(socket.AF_UNIX).bind("fifo.txt")
os.symlink("loop.txt", "loop.txt")
with open("endless.txt", "w") as file:
    # Without a single block of its own, and larger than any machine's memory.
    os.truncate(file.fileno(), 1 << 42)
with open("honest.txt", "w") as file:
    file.write("an honest result\n")
print("planted")
