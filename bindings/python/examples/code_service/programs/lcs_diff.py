"""Compares two versions of a sentence word by word through their longest common subsequence."""

import sys


def common_lengths(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            table[i][j] = table[i + 1][j + 1] + 1 if a[i] == b[j] else max(table[i + 1][j], table[i][j + 1])
    return table


def merge(a, b):
    """The words of both, removed ones in [-…-], added ones in {+…+}."""
    table, i, j, out = common_lengths(a, b), 0, 0, []
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            out.append(a[i])
            i, j = i + 1, j + 1
        elif table[i + 1][j] >= table[i][j + 1]:
            out.append(f"[-{a[i]}-]")
            i += 1
        else:
            out.append(f"{{+{b[j]}+}}")
            j += 1
    return out + [f"[-{word}-]" for word in a[i:]] + [f"{{+{word}+}}" for word in b[j:]]


old, new = (line.split() for line in sys.stdin)
print(common_lengths(old, new)[0][0])
print(" ".join(merge(old, new)))
