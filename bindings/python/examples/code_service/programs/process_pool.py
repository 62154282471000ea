"""Spreads a search over a pool of processes: the number below a limit with the longest Collatz sequence."""

import multiprocessing
import os

LIMIT, PART = 30_000, 3_000


def longest(start):
    """(steps, number) of the best number in one part of the range."""
    best = (0, 0)
    for number in range(max(start, 1), start + PART):
        steps, n = 0, number
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        best = max(best, (steps, number))
    return (*best, os.getpid())


if __name__ == "__main__":
    # Fork is named because other start methods would import this file by a path that a sandbox need not have.
    with multiprocessing.get_context("fork").Pool(3) as pool:
        results = pool.map(longest, range(0, LIMIT, PART), chunksize=1)
    steps, number, _ = max(results)
    print(f"{number} takes {steps} steps")
    print("done elsewhere", all(pid != os.getpid() for _, _, pid in results))
