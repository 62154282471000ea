"""Fills every writable place with bytes, and says how many fitted."""

import os

block = os.urandom(1 << 16)
for place in ("/scratch", "/tmp", "/dev/shm", "/var/tmp", "/run", "/"):
    written = 0
    path = os.path.join(place, "filler")
    try:
        with open(path, "wb", buffering=0) as file:
            while written < 1 << 30:
                written += file.write(block)
        ended = "no limit"
    except OSError as error:
        ended = f"errno={error.errno}"
    print(f"place={place} bytes={written} {ended}", flush=True)
    if written:
        os.unlink(path)  # One place at a time: all of them together would only show the memory limit.
