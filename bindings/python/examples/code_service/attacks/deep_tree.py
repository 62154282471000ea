"""Builds a tree so deep that whoever removes it by recursion dies of it, and blocks it with modes and names."""

import os

depth = 0
os.makedirs("deep", exist_ok=True)
os.chdir("deep")
try:
    while depth < 100_000:
        name = "d" * 200
        os.mkdir(name)
        os.chdir(name)
        depth += 1
except OSError as error:
    print(f"refused errno={error.errno}", end=" ")
print(f"depth={depth}")
os.chdir("/scratch")
for name in (b"\xff\xfe not utf-8", b"new\nline", b"-rf", b"\x1b]0;title\x07"):
    try:
        with open(name, "w"):
            pass
    except OSError:
        pass
os.chmod("deep", 0)
