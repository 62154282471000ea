"""Looks through /proc for processes that are not its own sandbox's, and reads all it can about them."""

import os
import sys

neighbour = sys.argv[1]
seen = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    seen += 1
    for name in ("cmdline", "environ", "maps", "cwd", "exe"):
        path = f"/proc/{pid}/{name}"
        try:
            text = os.readlink(path) if name in ("cwd", "exe") else open(path, "rb").read(5000)
        except OSError:
            continue
        print(path, text)
for path in ("/proc/1/mem", f"/proc/{neighbour}/mem"):
    try:
        with open(path, "r+b", buffering=0) as file:
            print("opened for writing", path, file)
    except OSError:
        pass
try:
    os.kill(int(neighbour), 0)
    # A process of this number may well be one of our own; only another name would be the neighbour.
    print("signalled", open(f"/proc/{neighbour}/cmdline").read())
except OSError:
    pass
print(f"processes={seen}")
