"""Jobs in sh, awk and C. A host without one of them is told so, job by job."""

from __future__ import annotations

import re
from collections import Counter

from ..checks import differs, output, prints
from ..jobs import Job
from .texts import DECLARATION, SONNETS, read

HOURS = b"""\
ada Mon 8
ada Tue 7.5
grace Mon 6
ada Fri 4.5
grace Thu 9.5
alan Wed 12
nobody
grace Mon 1.5
alan Wed eight
"""
PAYROLL = """
ada      8.0   7.5   0.0   0.0   4.5 |  20.0
alan     0.0   0.0  12.0   0.0   0.0 |  12.0
grace    7.5   0.0   0.0   9.5   0.0 |  17.0
all     15.5   7.5  12.0   9.5   4.5 |  49.0
bad lines 2, sums agree
"""
ROTATION = """
log: 0 lines, first:
log.1: 24 lines, first: day 5 hour 00
log.2: 24 lines, first: day 4 hour 00
log.3: 24 lines, first: day 3 hour 00
nothing older
cleaned up
"""
CRC = """
123456789 cbf43926
The quick brown fox jumps over the lazy dog 414fa339
no arguments: exit 2
"""


def word_frequency(printed: str) -> str | None:
    """The ranking of words, where everything but a letter ends a word."""
    counts = Counter(re.findall("[a-z]+", read(DECLARATION).lower()))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    expected = [f"{word} {count}" for word, count in ranked] + [f"total {sum(counts.values())}"]
    return differs("result", printed.splitlines(), expected)


def line_lengths(printed: str) -> str | None:
    """The bars are as long as there are lines of that length."""
    lengths = [len(line) for line in read(SONNETS).splitlines()]
    expected = []
    for low in range(0, max(lengths) + 1, 10):
        count = sum(low <= length < low + 10 for length in lengths)
        expected.append(f"{low:2}-{low + 9:2} {count:3} {'*' * count}")
    expected.append(f"lines {len(lengths)}, longest {max(lengths)}")
    return differs("result", printed.splitlines(), expected)


def rotation(printed: str) -> str | None:
    """Compared line by line, because one of them ends in a blank."""
    lines = [line.rstrip() for line in printed.splitlines()]
    return differs("result", lines, ROTATION.strip().splitlines())


JOBS = [
    Job(
        "word_frequency",
        ("sh", "word_frequency.sh", "declaration.txt"),
        output(word_frequency),
        files=("programs/word_frequency.sh", DECLARATION),
    ),
    Job("log_rotation", ("sh", "log_rotation.sh"), output(rotation), files=("programs/log_rotation.sh",)),
    Job("payroll", ("awk", "-f", "payroll.awk"), prints(PAYROLL), files=("programs/payroll.awk",), stdin=HOURS),
    Job(
        "line_lengths",
        ("awk", "-f", "line_lengths.awk", "sonnets.txt"),
        output(line_lengths),
        files=("programs/line_lengths.awk", SONNETS),
    ),
    Job("build_c", ("sh", "build_c.sh"), prints(CRC), files=("programs/build_c.sh", "programs/crc.c"), needs="gcc"),
]
