"""Writes the difference of two texts as a unified diff, applies it to the first, and proves to get the second."""

import difflib
import re


def apply(lines, patch):
    """A minimal patch program: enough for the diffs that difflib writes."""
    result, position = [], 0
    for line in patch:
        if line.startswith(("---", "+++")):
            continue
        header = re.match(r"@@ -(\d+)(?:,(\d+))? ", line)
        if header:
            start = int(header.group(1)) - (header.group(2) != "0")
            result += lines[position:start]
            position = start
        elif line.startswith("+"):
            result.append(line[1:])
        else:
            if lines[position] != line[1:]:
                raise SystemExit(f"hunk does not apply at line {position + 1}")
            if line.startswith(" "):
                result.append(line[1:])
            position += 1
    return result + lines[position:]


old = open("declaration.txt", encoding="utf-8").read().splitlines()
new = [line.replace("He has", "The King has") for line in old if not line.startswith("For ")]
new.insert(2, "A DRAFT")
patch = list(difflib.unified_diff(old, new, "old", "new", lineterm="", n=2))
added = sum(line.startswith("+") and not line.startswith("+++") for line in patch)
removed = sum(line.startswith("-") and not line.startswith("---") for line in patch)
print(f"added {added}, removed {removed}, restored {apply(old, patch) == new}")
