"""Jobs that compute; their results are known from elsewhere or recomputed here."""

from __future__ import annotations

import math
import random

from ..checks import differs, first, output, prints
from ..jobs import python_job

FACTORS = ("31415926535897932384626433832795028841971693993751" * 8, "27182818284590452353602874713526624977572" * 9)
CENTRES = ((-4.0, 1.0), (0.0, -3.0), (2.0, 4.0), (6.0, 0.0))


def make_points() -> list[tuple[float, float]]:
    """Clouds around the centres, 150 points each."""
    chance = random.Random(31)
    points = [(chance.gauss(x, 0.5), chance.gauss(y, 0.5)) for x, y in CENTRES for _ in range(150)]
    chance.shuffle(points)
    return points


POINTS = make_points()


def fft(printed: str) -> str | None:
    """The tones that were mixed, and a product of two numbers of some 400 digits."""
    one, other = map(int, FACTORS)
    expected = ["tone 50 amplitude 3.000", "tone 120 amplitude 1.000", "tone 333 amplitude 0.500", str(one * other)]
    return differs("result", printed.splitlines(), expected)


def mandelbrot(printed: str) -> str | None:
    """The set is its own mirror image; its heart is inside; the corners are far outside."""
    lines = printed.splitlines()
    return first(
        differs("size", (len(lines), {len(line) for line in lines}), (31, {80})),
        differs("mirror image", lines, lines[::-1]),
        differs("corners", {lines[0][1], lines[0][-2]}, {" "}),
        # Column 53 is the origin, 29 is -1: both are in the set by hand calculation. Column 78 is 1, which is not.
        differs("origin, -1 and 1", [lines[15][column] == "@" for column in (54, 30, 78)], [True, True, False]),
    )


def kmeans(printed: str) -> str | None:
    """Every true centre is found to within a fraction of a cloud's width, with about its own points."""
    found = [tuple(map(float, line.split())) for line in printed.splitlines()]
    if len(found) != len(CENTRES):
        return f"{len(found)} centres instead of {len(CENTRES)}"
    for (x, y), (a, b, count) in zip(sorted(CENTRES), found, strict=False):
        if math.dist((x, y), (a, b)) > 0.2 or abs(count - 150) > 3:
            return f"the cloud at {x}, {y} was taken for {a}, {b} with {count} points"
    return None


def queue_simulation(printed: str) -> str | None:
    """The simulated wait is within a tenth of the one that queueing theory proves."""
    served, wait = printed.splitlines()
    simulated = float(wait.split()[2].rstrip(","))
    return first(
        differs("served", served, "served 60000"),
        differs("theory", wait.endswith("in theory 1.0000"), True),
        differs("simulation is close", abs(simulated - 1) < 0.1, True),
    )


MATRIX = """
tiles agree True
associative True
F(300) 222232244629420445529739893461909967206666939096499764990979600
"""
PI = """
3.14159265358979323846264338327950288419716939937510
last 2164201989
six nines at 762
"""
MERSENNE = """
2 3 5 7 13 17 19 31 61 89 107 127 521 607
agree True
carmichael 3215031751 False
"""
CALENDAR = """
1776-04-07 1961-04-02 2000-04-23 2024-03-31 2025-04-20 2026-04-05 2038-04-25
easter is a Sunday True
days agree True
thirteenths by weekday 685 685 687 684 688 684 687
1776-07-04 was a Thursday
J2000 2451545
"""
LEDGER = """
refused: nothing: 0.00 is not a positive amount
ada 1646.98 without rounding 1647.01
blaise 0.00 charles 0.30
audit 0.00 postings 250
audit after forgery 0.01
half even 2.34 2.36 -2.34 2.35
"""

JOBS = [
    python_job("prime_sieve", prints("primes 78498, largest 999983, twins 8169, widest gap 114 after 492113")),
    python_job("matrix_product", prints(MATRIX)),
    python_job("fft", output(fft), stdin="\n".join(FACTORS).encode()),
    python_job("pi_digits", prints(PI)),
    python_job("mersenne", prints(MERSENNE)),
    python_job("calendar_maths", prints(CALENDAR)),
    python_job("ledger", prints(LEDGER)),
    python_job("mandelbrot", output(mandelbrot)),
    python_job("kmeans", output(kmeans), ["4"], stdin="\n".join(f"{x} {y}" for x, y in POINTS).encode()),
    python_job("queue_simulation", output(queue_simulation)),
]
