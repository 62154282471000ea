"""Prints every place where a word occurs, with its surroundings, the word aligned in one column."""

import re
import sys

path, wanted = sys.argv[1:]
WIDTH = 24
text = " ".join(open(path, encoding="utf-8").read().split())

lines = []
for match in re.finditer(rf"\b{re.escape(wanted)}\b", text, re.IGNORECASE):
    left = text[max(0, match.start() - WIDTH) : match.start()]
    right = text[match.end() : match.end() + WIDTH]
    lines.append(f"{left:>{WIDTH}}[{match.group()}]{right}")

# Sorting by what follows brings repeated phrases together.
for line in sorted(lines, key=lambda line: line.partition("]")[2].lower()):
    print(line)
