"""Sorts a file that does not fit the memory we allow ourselves: sorted runs on disk, then one merge."""

import hashlib
import heapq
import os
import random
import tempfile

LINES, RUN = 120_000, 10_000

numbers = random.Random(7)
with open("large.txt", "w") as file:
    for _ in range(LINES):
        file.write(f"{numbers.getrandbits(48):012x} {numbers.getrandbits(32)}\n")

runs = []
with open("large.txt") as file:
    while True:
        chunk = [line for _, line in zip(range(RUN), file, strict=False)]
        if not chunk:
            break
        chunk.sort()
        run = tempfile.TemporaryFile("w+", dir=".")
        run.writelines(chunk)
        run.seek(0)
        runs.append(run)

digest, count, last, ordered = hashlib.sha256(), 0, "", True
with open("sorted.txt", "w") as out:
    for line in heapq.merge(*runs):
        ordered &= last <= line
        last = line
        count += 1
        digest.update(line.encode())
        out.write(line)
same_size = os.path.getsize("sorted.txt") == os.path.getsize("large.txt")
print(f"runs {len(runs)}, lines {count}, ordered {ordered}, same size {same_size}, {digest.hexdigest()}")
